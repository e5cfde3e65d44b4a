"""Work in blocks: who does which, what is missing, what is refused, and what is left behind."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import BlockFolder, Shard, count_rows
from fairseq_kd.storage.settings import differences
from fairseq_kd.storage.structured import read_json

SETTINGS: dict[str, Any] = {"models": ["a" * 64], "rows": 7, "block_rows": 3, "options": {"nbest": 1}}


def folder(output: Path, prefix: str = "", **changes: Any) -> BlockFolder:
    return BlockFolder(output, "decode", {**SETTINGS, **changes}, output / "parts", (".src", ".tsv"), prefix)


def write(found: BlockFolder, numbers: set[int]) -> None:
    found.claim()
    for block in found.blocks:
        if block.number in numbers:
            for path in block.paths:
                path.write_text(f"{block.rows}\n")


@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 5))
def test_the_shards_share_all_rows_and_none_twice(rows: int, block_rows: int, shards: int) -> None:
    made = folder(Path("out"), rows=rows, block_rows=block_rows)
    shares = [made.share(Shard(number, shards, block_rows)) for number in range(shards)]
    blocks = sorted((block for share in shares for block in share), key=lambda block: block.number)
    assert [row for block in blocks for row in block.rows] == list(range(rows))
    assert all(1 <= len(block.rows) <= block_rows for block in blocks)
    assert sum(count_rows(share) for share in shares) == rows


def test_of_two_runs_with_other_settings_one_is_refused(tmp_path: Path) -> None:
    """Both look before either has written."""
    barrier = threading.Barrier(2, timeout=20)
    told = []

    class Together(BlockFolder):
        looked = False

        def check(self) -> None:
            super().check()
            if not self.looked:
                self.looked = True
                barrier.wait()

    def claim(engine: str) -> None:
        settings = {**SETTINGS, "options": {"nbest": 1, "engine": engine}}
        try:
            Together(tmp_path, "decode", settings, tmp_path / "parts", ()).claim()
        except UserError as error:
            told.append(str(error))

    threads = [threading.Thread(target=claim, args=(engine,)) for engine in ("fairseq", "ctranslate2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1 and "has other settings than this decode: options.engine is" in told[0]


def test_names_hold_the_prefix_and_the_number(tmp_path: Path) -> None:
    names = [path.name for block in folder(tmp_path, "test.a-").blocks for path in block.paths]
    assert names == [f"test.a-0000{number}{ending}" for number in range(3) for ending in (".src", ".tsv")]


def test_a_block_is_done_when_all_its_files_are_there(tmp_path: Path) -> None:
    made = folder(tmp_path)
    write(made, {0, 1})
    made.blocks[1].paths[1].unlink()
    assert [block.done for block in made.blocks] == [True, False, False]
    with pytest.raises(UserError, match="2 of 3 blocks are missing: 1, 2; run their shards again"):
        made.refuse_gaps()
    write(made, {1, 2})
    made.refuse_gaps()


def test_of_many_missing_blocks_the_first_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="20 of 20 blocks are missing: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …;"):
        folder(tmp_path, rows=60).refuse_gaps()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"options": {"nbest": 2}}, r"options\.nbest is 1 there, 2 here"),
        ({"models": ["b" * 64]}, r"models\.0 is aaaaaaaaaaaa there, bbbbbbbbbbbb here"),
        ({"models": ["a" * 64, "c" * 64]}, r"models\.1 is absent there, cccccccccccc here"),
        ({"models": []}, r"models\.0 is aaaaaaaaaaaa there, absent here"),
    ],
)
def test_a_folder_keeps_to_its_settings(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    folder(tmp_path).claim()
    before = (tmp_path / "parts" / "signature.json").stat().st_mtime_ns
    folder(tmp_path).claim()
    assert (tmp_path / "parts" / "signature.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=f"{tmp_path} has other settings than this decode: {told}; give another"):
        folder(tmp_path, **changes).claim()


def test_the_settings_of_finished_work_count_too(tmp_path: Path) -> None:
    made = folder(tmp_path)
    write(made, {0, 1, 2})
    made.finish([], {"versions": {}})
    (tmp_path / "parts" / "signature.json").unlink()
    with pytest.raises(UserError, match="block_rows is 3 there, 4 here"):
        folder(tmp_path, block_rows=4).check()
    folder(tmp_path).check()


def test_a_folder_that_cannot_be_made_and_settings_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="a part of this path is a file; give a folder"):
            folder(output).claim()
    if os.geteuid():
        (tmp_path / "read-only").mkdir(mode=0o500)
        with pytest.raises(UserError, match="read-only: cannot be written"):
            folder(tmp_path / "read-only").claim()
    folder(tmp_path).claim()
    (tmp_path / "parts" / "signature.json").write_text("{")
    with pytest.raises(UserError, match=r"parts/signature\.json: cannot be read .*; delete its folder and run"):
        folder(tmp_path).claim()


def test_finished_work_has_the_files_that_its_signature_says(tmp_path: Path) -> None:
    made, output = folder(tmp_path), tmp_path / "train.de"
    assert made.finished([output]) is None
    output.write_text("text\n")
    assert made.finished([output]) is None
    signature = made.finish([output], {"lines": 1})
    assert list(signature) == [*SETTINGS, "lines", "sha256"] and signature["sha256"].keys() == {"train.de"}
    assert made.finished([output]) == signature == read_json(tmp_path / "signature.json")
    output.write_text("cut")
    assert made.finished([output]) is None
    output.unlink()
    assert made.finished([output]) is None


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    made, output = folder(tmp_path), tmp_path / "train[1].de"
    write(made, {0, 1, 2})
    output.write_text("text\n")
    left = [tmp_path / "parts" / "00001.tsv.7.tmp", tmp_path / "parts" / "signature.json.7.tmp"]
    left += [tmp_path / "signature.json.7.tmp", tmp_path / "train[1].de.7.tmp"]
    kept = {*tmp_path.rglob("*"), tmp_path / "train1.de.7.tmp"}
    for path in (*left, tmp_path / "train1.de.7.tmp"):
        path.touch()
    made.sweep([output])
    assert set(tmp_path.rglob("*")) == kept


def test_finished_work_keeps_no_leftover(tmp_path: Path) -> None:
    """Files like those of an earlier signature, as where a merge was killed while it wrote the same signature again."""
    made = folder(tmp_path)
    output = tmp_path / "text"
    output.write_text("a\n")
    made.claim()
    made.finish([output], {})
    for name in ("signature.json.new.tmp", "text.new.tmp"):
        (tmp_path / name).touch()
    assert made.finished([output])
    assert not list(tmp_path.glob("*.tmp"))


def test_differences_name_what_both_sides_have(tmp_path: Path) -> None:
    assert differences({"a": 1, "more": 2}, {"a": 1}) == ""
    assert differences({"a": {"b": 1}}, {"a": {"b": None}}) == "a.b is 1 there, absent here"
    assert differences({}, {"a": [1]}) == "a.0 is absent there, 1 here"
    assert differences({"a": {"b": 1}}, {"a": None}) == "a.b is 1 there, absent here"
    assert differences({"a": None}, {"a": {"b": 1}}) == "a.b is absent there, 1 here"
    # Only a checksum is cut short, and no value is invisible
    assert differences({"a": "0123456789abcdef" * 4}, {"a": ""}) == "a is 0123456789ab there, empty here"
    assert differences({"a": "sentence-bleu"}, {"a": "sentence-chrf"}) == "a is sentence-bleu there, sentence-chrf here"
