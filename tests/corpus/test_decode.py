"""Decoding without a model: batches, options, blocks and merging."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd import cli
from fairseq_kd.corpus.distilled.decode import decode
from fairseq_kd.corpus.distilled.decoded_blocks import decode_folder, output_paths, write_block
from fairseq_kd.corpus.distilled.merge import merge
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis, batches
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Shard
from fairseq_kd.storage.structured import read_json

SETTINGS: dict[str, Any] = {
    "models": ["a" * 64],
    "subset": "train",
    "source": "en",
    "target": "de",
    "rows": 7,
    "options": {"beam": 2, "nbest": 1},
    "block_rows": 3,
}


def settings(nbest: int = 1, **changes: Any) -> dict[str, Any]:
    return {**SETTINGS, "options": {"beam": 2, "nbest": nbest}, **changes}


def is_merged(folder: Path, made: dict[str, Any]) -> bool:
    return decode_folder(folder, made).finished(output_paths(folder, made).values()) is not None


def write_blocks(folder: Path, made: dict[str, Any], numbers: set[int] | None = None) -> None:
    """Row 1 has an empty source, row 4 one that is too long."""
    made_folder = decode_folder(folder, made)
    made_folder.claim()
    for block in made_folder.blocks:
        if numbers is not None and block.number not in numbers:
            continue
        sources = ["" if row == 1 else f"s {row}" for row in block.rows]
        nbest = made["options"]["nbest"]
        translations = [
            [NOT_TRANSLATED] * nbest if row in (1, 4) else [Hypothesis(f"t {row} {k}", -k / 3) for k in range(nbest)]
            for row in block.rows
        ]
        write_block(block, sources, translations)


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 60))
def test_batches_hold_every_sentence_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    made = list(batches(dict(enumerate(lengths)), max_tokens))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        in_batch = [lengths[i] for i in batch]
        assert len(batch) == 1 or len(batch) * max(in_batch) <= max_tokens
        assert in_batch == sorted(in_batch, reverse=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"beam": 0}, "--beam 0"),
        ({"nbest": 0}, "--nbest 0"),
        ({"beam": 2, "nbest": 3}, "--nbest 3"),
        ({"max_len_a": -1.0}, "--max-len-a -1"),
        ({"max_len_a": float("nan")}, "--max-len-a nan"),
        ({"max_len_b": 0}, "--max-len-b 0"),
        ({"max_tokens": -5}, "--max-tokens -5"),
    ],
)
def test_decoding_options_out_of_range_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        DecodingOptions(**wrong)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--shards 2 --shard 2", "--shard 2"),
        ("--shard -1", "--shard -1"),
        ("--shards 0", "--shards 0"),
        ("--block-rows 0", "--block-rows 0"),
        ("--model :", "path of a checkpoint"),
        ("--model none.pt", "none.pt: no such file"),
        ("--beam 2 --nbest 4", "--nbest 4"),
    ],
)
def test_command_line_mistakes_are_told_before_anything_is_written(words: str, told: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    fixed = ["--model", str(tmp_path / "none.pt"), "--data", str(tmp_path), "--output", str(output)]
    with pytest.raises(UserError, match=told):
        cli.main(["decode", *fixed, *words.split()])
    assert not output.exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "none.pt: no such file"),
        ({"seed": -1, "sampling": Sampling()}, "--seed -1"),
        ({"engine": "ctranslate2", "sampling": Sampling()}, "--sampling draws with fairseq"),
    ],
)
def test_the_function_refuses_what_it_cannot_decode(wrong: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        decode(str(tmp_path / "none.pt"), tmp_path, tmp_path / "out", DecodingOptions(), **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [(0, 0), (2, 2), (-1, 1), (0, 1, 0)])
def test_a_share_out_of_range_is_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="give"):
        Shard(*wrong)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="choose from auto, ctranslate2, fairseq"):
        choose_engine("none", "float32", [], None)


@pytest.mark.parametrize(
    ("options", "source_length", "positions", "longest"),
    [
        ({}, 7, 1024, 200),
        ({"max_len_a": 1.2, "max_len_b": 10}, 7, 1024, 18),
        ({"max_len_a": 0.0, "max_len_b": 1}, 7, 1024, 1),
        ({"max_len_a": 2.0, "max_len_b": 10}, 7, 20, 19),
    ],
)
def test_the_longest_hypothesis_is_fairseqs(
    options: dict[str, Any], source_length: int, positions: int, longest: int
) -> None:
    assert DecodingOptions(**options).longest(source_length, positions) == longest


def test_the_settings_of_a_merged_folder_hold_without_its_parts(tmp_path: Path) -> None:
    write_blocks(tmp_path, settings())
    merge(tmp_path)
    (tmp_path / "parts" / "signature.json").unlink()
    with pytest.raises(UserError, match=r"block_rows is 3 there, 4 here"):
        decode_folder(tmp_path, settings(block_rows=4)).claim()


def test_the_files_are_where_older_versions_put_them(tmp_path: Path) -> None:
    """Bytes that version 0.1.0 wrote before a kill, spelled out: the decode goes on from there."""
    made, parts = settings(), tmp_path / "parts"
    parts.mkdir()
    (parts / "signature.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    (parts / "train-00001.src").write_text("s 3\ns 4\ns 5\n")
    (parts / "train-00001.tsv").write_text("3\t1\t0.000000\tt 3 0\n4\t1\t0.000000\t\n5\t1\t0.000000\tt 5 0\n")
    (parts / "train-00002.src").write_text("s 6\n")
    before = {path.name: path.read_bytes() for path in parts.iterdir() if path.name != "train-00002.src"}
    folder = decode_folder(tmp_path, made)
    folder.claim()
    assert [block.number for block in folder.blocks if not block.done] == [0, 2]
    write_blocks(tmp_path, made, {0, 2})
    assert {name: (parts / name).read_bytes() for name in before} == before
    names = [f"train-0000{number}.{ending}" for number in range(3) for ending in ("src", "tsv")]
    assert sorted(path.name for path in parts.iterdir()) == ["signature.json", *names]
    assert merge(tmp_path)["sha256"].keys() == {"train.en", "train.de"}


def test_merge_keeps_rows_aligned_and_counts_what_was_not_translated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_blocks(tmp_path, settings())
    (tmp_path / "parts" / "train-00001.tsv.77.tmp").write_text("3\t1\t")
    returned = merge(tmp_path)
    assert (tmp_path / "train.en").read_text() == "s 0\n\ns 2\ns 3\ns 4\ns 5\ns 6\n"
    assert (tmp_path / "train.de").read_text() == "t 0 0\n\nt 2 0\nt 3 0\n\nt 5 0\nt 6 0\n"
    assert not (tmp_path / "train.nbest.tsv").exists()
    signature = read_json(tmp_path / "signature.json")
    assert returned == signature == merge(tmp_path)
    assert signature["skipped"] == {"empty_source": [1], "too_long_source": [4]}
    assert signature["lines"] == {"train.en": 7, "train.de": 7}
    assert signature["block_rows"] == 3 and "torch" in signature["versions"]
    assert "1 empty and 1 too long" in caplog.text
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_empty_translation_is_no_skipped_row(tmp_path: Path) -> None:
    """A model may choose nothing; its score tells this from a source that it never saw."""
    made = settings(rows=2)
    folder = decode_folder(tmp_path, made)
    folder.claim()
    write_block(folder.blocks[0], ["s 0", "s 1"], [[Hypothesis("", -2.5)], [NOT_TRANSLATED]])
    assert merge(tmp_path)["skipped"] == {"empty_source": [], "too_long_source": [1]}


def test_merge_writes_all_translations_where_there_are_several(tmp_path: Path) -> None:
    write_blocks(tmp_path, settings(nbest=2))
    merge(tmp_path)
    lines = (tmp_path / "train.nbest.tsv").read_text().splitlines()
    assert lines[:3] == ["0\t1\t0.000000\tt 0 0", "0\t2\t-0.333333\tt 0 1", "1\t1\t0.000000\t"]
    assert len(lines) == 14
    assert (tmp_path / "train.de").read_text().splitlines()[2] == "t 2 0"


def test_subwords_that_hold_line_separators_stay_on_their_line(tmp_path: Path) -> None:
    made = settings(rows=1)
    folder = decode_folder(tmp_path, made)
    folder.claim()
    write_block(folder.blocks[0], ["a\u2028b \x0c"], [[Hypothesis("c\u0085d\r e\tf", -1.0)]])
    merge(tmp_path)
    assert (tmp_path / "train.en").read_bytes().decode() == "a\u2028b \x0c\n"
    assert (tmp_path / "train.de").read_bytes().decode() == "c\u0085d\r e\tf\n"


def test_merge_names_the_missing_blocks(tmp_path: Path) -> None:
    write_blocks(tmp_path, settings(), {1})
    with pytest.raises(UserError, match="2 of 3 blocks are missing: 0, 2;"):
        merge(tmp_path)
    assert not (tmp_path / "train.en").exists() and not (tmp_path / "signature.json").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train-00001.tsv", "3\t1\t-0.1\tt\n4\t1\t-0.1\tt\n"),
        ("train-00001.tsv", "3\t1\t-0.1\tt\n4\t1\t-0.1\tt\n5\t2\t-0.1\tt\n"),
        ("train-00001.tsv", "3\t1\t-0.1\tt\n4\t1\t-0.1\tt\n5\t1\t-0.1\tt"),
        ("train-00001.tsv", "3\t1\t-0.1\tt\n4\t1\n5\t1\t-0.1\tt\n"),
        ("train-00001.src", "s\ns\n"),
        ("train-00001.src", b"\xff\ns\ns\n"),
    ],
)
def test_merge_refuses_a_damaged_block_and_writes_nothing(name: str, content: str | bytes, tmp_path: Path) -> None:
    write_blocks(tmp_path, settings())
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "parts" / name).write_bytes(data)
    with pytest.raises(UserError, match=r"train-00001.*delete train-00001.tsv"):
        merge(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_merge_again_mends_a_damaged_output_and_else_does_nothing(tmp_path: Path) -> None:
    write_blocks(tmp_path, settings())
    merge(tmp_path)
    assert is_merged(tmp_path, settings())
    before = (tmp_path / "train.de").stat().st_mtime_ns
    merge(tmp_path)
    assert (tmp_path / "train.de").stat().st_mtime_ns == before
    (tmp_path / "train.de").write_text("cut")
    assert not is_merged(tmp_path, settings())
    merge(tmp_path)
    assert is_merged(tmp_path, settings())


def test_merge_of_a_folder_that_no_decode_wrote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the --output of fairseq-kd decode"):
        merge(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "signature.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        merge(tmp_path)


@pytest.mark.parametrize("name", ["/../../x", "../x", "a/b", "..", "/etc/x"])
@pytest.mark.parametrize("role", ["subset", "source", "target"])
def test_a_name_in_a_signature_leads_to_no_other_folder(role: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"as {role}, which is no name"):
        decode_folder(tmp_path, SETTINGS | {role: name})
