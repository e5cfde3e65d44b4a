"""`fairseq-kd filter`: each rule on rows made for it, and the comparisons beside plain loops in float64."""

import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.corpus.filtering.filter import filter_corpus
from fairseq_kd.corpus.filtering.reverse_model import ReverseModel
from fairseq_kd.corpus.filtering.rules import DUPLICATE, NAMES, SCORE, Rules, most_repeats
from fairseq_kd.corpus.filtering.verdicts import RECORD, Verdicts, write_records
from fairseq_kd.corpus.recut import recut
from fairseq_kd.data.databins.databin import read_dictionary, translation_task
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.storage.block_folder import BlockFolder, Shard
from fairseq_kd.storage.structured import read_json
from tests.support.commands import run_command
from tests.support.files import contents
from tests.support.subwords import cut, write_syllables
from tests.support.training import train_model

GOOD = ("ein Haus am See", "a house by the lake")
ROWS: list[tuple[str, str, str]] = [
    (*GOOD, "kept"),
    ("", "a house", "empty"),
    ("ein Haus", "  ", "empty"),
    ("Haus", "a house by the lake", "length_ratio"),
    ("ein Haus am See in den Bergen", "a house", "length_ratio"),
    ("Guten Morgen , Berlin", "guten Morgen , Berlin", "copy"),
    ("sehr gut , danke", "very very very very", "repetition"),
    ("ich gehe heute nach Haus", "I go I go I go I go home", "repetition"),
    ("nein nein nein nein !", "no no no no !", "kept"),
    ("das ist sehr sehr gut", "that is very very good", "kept"),
    (*GOOD, "duplicate"),
    ("ein Haus am See", "a lake house", "kept"),
    (*GOOD, "duplicate"),
]


def write(folder: Path, rows: list[tuple[str, str, str]] = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, side in enumerate(("de", "en")):
        (folder / f"train.{side}").write_text("".join(row[place] + "\n" for row in rows))
    return folder / "train"


@pytest.mark.parametrize(
    ("text", "most"),
    [("a b c", 1), ("", 1), ("a a", 2), ("x a b a b a b y", 3), ("a b c d e f g h " * 3, 3), ("a a b a a b a a b", 3)],
)
def test_repeats_are_counted(text: str, most: int) -> None:
    assert most_repeats(text.split()) == most


def test_each_rule_and_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix, other = write(tmp_path / "text"), tmp_path / "gold.txt"
    other.write_text("".join(f"gold {row}\n" for row in range(len(ROWS))))
    words = ["filter", "--input", prefix, "--source-lang", "de", "--target-lang", "en", "--along", other]
    cli.main([*map(str, words), "--output", str(tmp_path / "out"), "--block-rows", "4"])
    kept = [number for number, row in enumerate(ROWS) if row[2] == "kept"]
    for place, side in enumerate(("de", "en")):
        assert (tmp_path / "out" / f"train.{side}").read_text() == "".join(ROWS[row][place] + "\n" for row in kept)
    assert (tmp_path / "out" / "gold.txt").read_text() == "".join(f"gold {row}\n" for row in kept)
    assert (tmp_path / "out" / "rows.txt").read_text().split() == list(map(str, kept))
    report = read_json(tmp_path / "out" / "report.json")
    assert (report["rows"], report["kept"]) == (len(ROWS), len(kept))
    for name in NAMES[1:]:
        rows = [number for number, row in enumerate(ROWS) if row[2] == name]
        assert report["dropped"][name]["rows"] == len(rows)
        assert [one["row"] for one in report["dropped"][name]["examples"]] == rows
    told = capsys.readouterr().out.splitlines()
    assert "repetition               2   15.4%  row 6: sehr gut , danke ||| very very very very" in told
    assert told[-1].split() == ["kept", "4", "30.8%"]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Rules(length_ratio=0), {"length_ratio"}),
        (Rules(copies=False), {"copy"}),
        (Rules(repeats=0), {"repetition"}),
        (Rules(duplicates=False), {"duplicate"}),
    ],
)
def test_a_rule_can_be_left_out(rules: Rules, kept: set[str], tmp_path: Path) -> None:
    report = filter_corpus(write(tmp_path / "text"), tmp_path / "out", rules, languages=("de", "en"))
    assert report is not None
    assert report["kept"] == sum(row[2] in {"kept", *kept} for row in ROWS)


def test_lengths_in_characters(tmp_path: Path) -> None:
    """Chinese has no spaces: its four characters are one token."""
    prefix = write(
        tmp_path / "text", [("你好世界", "hello big world", "kept"), ("你好世界", "hello there big world", "")]
    )
    by = {}
    for unit in ("tokens", "characters"):
        report = filter_corpus(prefix, tmp_path / unit, Rules(4, unit), languages=("de", "en"))
        by[unit] = report and report["dropped"]["length_ratio"]["rows"]
    assert by == {"tokens": 0, "characters": 1}


def test_shards_and_a_run_that_goes_on_give_the_same(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [draw.choice(ROWS) for _ in range(500)]
    prefix = write(tmp_path / "text", rows)
    whole = filter_corpus(prefix, tmp_path / "whole", languages=("de", "en"), shard=Shard(block_rows=60))
    parts = [
        filter_corpus(prefix, tmp_path / "parts", languages=("de", "en"), shard=Shard(number, 2, 60))
        for number in (1, 0)
    ]
    assert parts == [None, whole]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    for name in ("signature.json", "report.json", "parts/00003.npy"):
        (tmp_path / "parts" / name).unlink()
    before = (tmp_path / "parts" / "parts" / "00002.npy").stat().st_mtime_ns
    filter_corpus(prefix, tmp_path / "parts", languages=("de", "en"), shard=Shard(block_rows=60))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert (tmp_path / "parts" / "parts" / "00002.npy").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"filter.repeats is 4 there, 3 here"):
        filter_corpus(prefix, tmp_path / "whole", Rules(repeats=3), languages=("de", "en"), shard=Shard(block_rows=60))


@pytest.mark.parametrize("changed", ["text/train.de", "text/train.en", "along"])
def test_blocks_of_other_text_are_not_taken(changed: str, tmp_path: Path) -> None:
    prefix = write(tmp_path / "text")
    (tmp_path / "along").write_text("a\n" * len(ROWS))
    filter_corpus(prefix, tmp_path / "out", languages=("de", "en"), along=[tmp_path / "along"])
    lines = (tmp_path / changed).read_text().splitlines(keepends=True)
    (tmp_path / changed).write_text("".join([lines[-1], *lines[1:-1], "another\n"]))
    with pytest.raises(UserError, match="out has other settings than this filter"):
        filter_corpus(prefix, tmp_path / "out", languages=("de", "en"), along=[tmp_path / "along"])


def verdicts(folder: Path, records: np.ndarray, size: int) -> Verdicts:
    settings = {"rows": len(records), "block_rows": size}
    made = BlockFolder(folder, "filter", settings, folder / "parts", (".npy",))
    for block in made.blocks:
        write_records(block, records[block.rows.start : block.rows.stop])
    return Verdicts(made.blocks, len(records))


@pytest.mark.parametrize("at_once", [10**6, 50])
def test_duplicates_beside_a_plain_loop(at_once: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    records = np.zeros(400, RECORD)
    records["rule"] = draw.integers(0, 2, 400)
    records["key"] = draw.integers(0, 120, 400, dtype=np.uint64) * np.uint64(2**57 + 11)
    found = verdicts(tmp_path, records, 90)
    found.drop_duplicates(at_once)
    seen, expected = set(), []
    for rule, key in zip(records["rule"].tolist(), records["key"].tolist(), strict=True):
        expected.append(DUPLICATE if rule == 0 and key in seen else rule)
        if rule == 0:
            seen.add(key)
    assert found.rules.tolist() == expected and expected.count(DUPLICATE) > 50


@pytest.mark.parametrize("lowest", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.333, 0.97])
def test_the_worst_share_beside_a_plain_sort(lowest: bool, share: float, tmp_path: Path) -> None:
    """Equal values among them, and rows without one."""
    draw = np.random.default_rng(4)
    records = np.zeros(300, RECORD)
    records["rule"] = draw.integers(0, 3, 300)
    records["score"] = draw.integers(-20, 9, 300) * draw.choice([1.0, 1e-30, 0.0, -0.0, 3.1e7], 300)
    records["score"][1:9:3] = -np.inf, np.inf, np.inf
    records["score"][::7] = np.nan
    found = verdicts(tmp_path, records, 64)
    threshold, unscored = found.drop_share("score", SCORE, share, lowest)
    usable = [row for row in range(300) if records["rule"][row] == 0 and not np.isnan(records["score"][row])]
    sign = 1 if lowest else -1
    worst = sorted(usable, key=lambda row: (sign * float(records["score"][row]), row))[: round(share * len(usable))]
    assert sorted(np.flatnonzero(found.rules == SCORE)) == sorted(worst)
    assert unscored == sum(records["rule"][row] == 0 for row in range(0, 300, 7))
    assert threshold == (float(records["score"][worst[-1]]) if worst else None)


def test_the_teachers_score(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    decoded = tmp_path / "decoded"
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--output", decoded, "--beam", 2, "--max-len-b", 20]
    cli.main(["decode", *map(str, words), "--block-rows", "70", "--nbest", "2"])
    rules = ["--length-ratio", "0", "--repeats", "0", "--keep-duplicates", "--score-share", "0.2"]
    words = ["--input", decoded, "--output", tmp_path / "out", "--post-process", "none", *rules, "--block-rows", 70]
    cli.main(["filter", *map(str, words)])
    best = [line.split("\t") for line in (decoded / "train.nbest.tsv").read_text().splitlines()][::2]
    worst = sorted(range(300), key=lambda row: (float(best[row][2]), row))[:60]
    kept = [row for row in range(300) if row not in worst]
    assert (tmp_path / "out" / "rows.txt").read_text().split() == list(map(str, kept))
    assert (tmp_path / "out" / "train.tgt").read_text().splitlines() == [best[row][3] for row in kept]
    # A run that goes on gives the rows of a later block their own scores.
    whole = contents(tmp_path / "out")
    for name in ("signature.json", "report.json", "parts/00003.npy"):
        (tmp_path / "out" / name).unlink()
    cli.main(["filter", *map(str, words)])
    assert contents(tmp_path / "out") == whole
    shutil.rmtree(decoded / "parts")
    with pytest.raises(UserError, match="it has no scores; --score-share needs the output of fairseq-kd decode"):
        cli.main(["filter", *map(str, words)])


@pytest.fixture(scope="module")
def backwards(tiny_text: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from tgt to src, its dictionaries beside it."""
    folder = tmp_path_factory.mktemp("backwards")
    dictionary = tiny_corpus / "dict.src.txt"
    prefixes = ["--trainpref", tiny_text / "train", "--validpref", tiny_text / "valid", "--destdir", folder / "bin"]
    run_command(
        "fairseq-preprocess", "-s", "tgt", "-t", "src", *prefixes, "--srcdict", dictionary, "--tgtdict", dictionary
    )
    for side in ("src", "tgt"):
        shutil.copy(folder / "bin" / f"dict.{side}.txt", folder)
    return train_model(folder / "bin", folder, "--max-update", "60")


def by_definition(path: Path, rows: list[tuple[str, str]]) -> list[float]:
    """−log p(source | target) / tokens, row by row in float64."""
    dictionary = read_dictionary(path.with_name("dict.src.txt"))
    (model,) = build_models([path], translation_task("", "tgt", "src", (dictionary, dictionary)))
    found = []
    for source, target in rows:
        read, written = (dictionary.encode_line(line, add_if_not_exist=False).long()[None] for line in (target, source))
        previous = torch.cat([written[:, -1:], written[:, :-1]], dim=1)
        with torch.no_grad():
            logits = model.double()(read, torch.tensor([read.size(1)]), previous)[0][0]
        found.append(-float(logits.log_softmax(-1).gather(1, written[0][:, None]).mean()))
    return found


def test_the_reverse_model(backwards: Path, tiny_text: Path, tmp_path: Path) -> None:
    rows = list(zip(*((tiny_text / f"test.{side}").read_text().splitlines() for side in ("src", "tgt")), strict=True))
    expected = by_definition(backwards, rows)
    tokens = [(source.split(), target.split()) for source, target in rows]
    found = ReverseModel(backwards, ("src", "tgt"), max_tokens=100).cross_entropies(tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    words = ["--input", tiny_text / "test", "--source-lang", "src", "--target-lang", "tgt", "--keep-duplicates"]
    words += ["--repeats", "0", "--reverse-model", backwards, "--reverse-share", "0.25", "--output", tmp_path / "out"]
    cli.main(["filter", *map(str, words), "--block-rows", "16"])
    worst = sorted(range(40), key=lambda row: -expected[row])[:10]
    kept = [str(row) for row in range(40) if row not in worst]
    assert (tmp_path / "out" / "rows.txt").read_text().split() == kept
    report = read_json(tmp_path / "out" / "report.json")
    assert report["thresholds"]["reverse"] == pytest.approx(expected[worst[-1]], rel=1e-5)


def test_a_reverse_model_with_its_own_subwords_and_recut_after_it(tmp_path: Path) -> None:
    """Raw text is cut for the model; without the sentencepiece model its tokens are unknown to it."""
    text = write_syllables(tmp_path / "text", {"train": 60, "valid": 10, "test": 10})
    data = cut(text, tmp_path / "made", 70)
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for path in data.iterdir():  # fairseq 0.12.2 reads valid even with --disable-validation
        shutil.copy(path, swapped / path.name.replace("src-tgt", "tgt-src"))
    model = train_model(swapped, tmp_path / "model", "--max-update", "2", "--disable-validation")
    words = ["--input", text / "train", "--source-lang", "src", "--target-lang", "tgt", "--reverse-model", model]
    cli.main(["filter", *map(str, words), "--output", str(tmp_path / "out"),
              "--reverse-spm-model", str(tmp_path / "made" / "spm.model")])  # fmt: skip
    report = read_json(tmp_path / "out" / "report.json")
    assert report["dropped"]["reverse"]["rows"] == round(0.05 * (60 - report["dropped"]["duplicate"]["rows"]))
    with pytest.raises(UserError, match=r"source side: \d+\.\d% of its tokens are not in the dictionary of the"):
        cli.main(["filter", *map(str, words), "--output", str(tmp_path / "other")])
    spm = tmp_path / "made" / "spm.model"
    made = recut(tmp_path / "out", data, spm, tmp_path / "recut", post="none", source="decoded")
    assert made["rows"] == report["kept"] < 60


def test_text_of_raw_text_keeps_its_spaces(tmp_path: Path) -> None:
    """`decode --input` writes words: rows that differ in spaces alone are two, whatever the default."""
    rows = [("nirgends", "no where here", "kept"), ("nirgends", "now here here", "kept")]
    folder = write(tmp_path / "text", rows).parent
    made = {"subset": "train", "source": "de", "target": "en", "rows": 2}
    tokenizers = {"source-spm": "a hash", "target-spm": "a hash"}
    (folder / "signature.json").write_text(json.dumps({**made, "tokenizers": tokenizers}))
    cli.main(["filter", "--input", str(folder), "--output", str(tmp_path / "out"), "--length-ratio", "0"])
    assert (tmp_path / "out" / "rows.txt").read_text().split() == ["0", "1"]


def test_compressed_files_along_become_plain_ones(tmp_path: Path) -> None:
    text = write(tmp_path / "text")
    with gzip.open(tmp_path / "gold.de.gz", "wt") as handle:
        handle.writelines(f"g {row}\n" for row in range(len(ROWS)))
    filter_corpus(text, tmp_path / "out", Rules(), languages=("de", "en"), along=[tmp_path / "gold.de.gz"])
    assert not (tmp_path / "out" / "gold.de.gz").exists()
    numbers = (tmp_path / "out" / "rows.txt").read_text().split()
    assert (tmp_path / "out" / "gold.de").read_text().splitlines() == [f"g {number}" for number in numbers]


def test_compressed_text_is_found_and_becomes_plain(tmp_path: Path) -> None:
    text = write(tmp_path / "text")
    plain = filter_corpus(text, tmp_path / "plain", languages=("de", "en"))
    for path in (tmp_path / "text").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert filter_corpus(text, tmp_path / "packed", languages=("de", "en")) == plain
    for name in ("train.de", "train.en", "rows.txt"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    with pytest.raises(UserError, match=r"--source-lang de.gz: give de, and .*train.de.gz is found"):
        filter_corpus(text, tmp_path / "other", languages=("de.gz", "en.gz"))


def test_other_languages_than_the_folders_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "text").parent
    made = {"subset": "train", "source": "de", "target": "en", "rows": len(ROWS)}
    (folder / "signature.json").write_text(json.dumps(made))
    words = ["filter", "--input", str(folder), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"--source-lang fr: .* are de and en, as its signature.json says; leave out"):
        cli.main([*words, "--source-lang", "fr"])
    cli.main([*words, "--source-lang", "de", "--target-lang", "en", "--post-process", "none"])


@pytest.mark.parametrize(
    ("target", "unit", "told"),
    [
        ("我们在学校学习机器翻译。", "tokens", "Chinese"),
        ("私たちは機械翻訳を勉強します。", "tokens", "Japanese"),
        ("เราเรียนการแปลด้วยเครื่องที่โรงเรียน", "tokens", "Thai"),
        ("我们在学校学习机器翻译。", "characters", ""),
        ("我们 在 学校 学习 机器 翻译 。", "tokens", ""),
        ("▁ 我们 在 学校 学习 机器 翻译 。", "tokens", ""),
        ("Wir lernen in der Schule maschinelle Übersetzung.", "tokens", ""),
    ],
)
def test_words_that_no_spaces_separate_are_told(
    target: str, unit: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a sentence is one token, so that length_ratio drops nearly all rows."""
    source = "We study machine translation at school."
    text = write(tmp_path / "text", [(source, target, "kept")])
    filter_corpus(text, tmp_path / "out", Rules(length_unit=unit), languages=("de", "en"), post="none")
    message = f"--length-unit tokens counts {text}.en wrongly, as {told} text has no spaces between words; give"
    assert (message in caplog.text) == bool(told) and ("--length-unit" in caplog.text) == bool(told)


@pytest.mark.parametrize("post", ["sentencepiece", "subword_nmt"])
def test_a_way_of_joining_that_does_not_fit_is_told(
    post: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = write(tmp_path / "text", [("ein@@ e Zei@@ le", "a li@@ ne", "kept")])
    filter_corpus(text, tmp_path / "out", languages=("de", "en"), post=post)
    told = f"--post-process sentencepiece does not fit {text}.en, which has @@ at the end of parts" in caplog.text
    assert told == (post == "sentencepiece")


def shorter(folder: Path) -> dict[str, Any]:
    path = folder / "text" / "train.en"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    return {}


def along(folder: Path) -> dict[str, Any]:
    (folder / "gold").write_text("x\n")
    return {"along": [folder / "gold"]}


def not_utf8(folder: Path) -> dict[str, Any]:
    path = folder / "text" / "train.en"
    path.write_bytes(path.read_bytes().replace(b"lake", b"l\xe4ke", 1))
    return {}


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "not parallel": (shorter, "train.de has 13 lines but .*train.en has 12: they must be parallel"),
    "not UTF-8": (not_utf8, r"train.en: line 1: not UTF-8 \(byte 17\)"),
    "gold of other rows": (along, "--along .*gold: 1 lines, .*train.de has 13"),
    "no languages": (lambda folder: {"languages": None}, r"train.SRC and .*train.TGT give the two languages"),
    "no file": (lambda folder: {"text": folder / "none"}, "none.de: no such file"),
    "no signature": (lambda folder: {"text": folder / "text"}, "text: no finished decode"),
    "its own folder": (lambda folder: {"output": folder / "text"}, "the text is in it; give another folder"),
    "no scores": (lambda folder: {"rules": Rules(score_share=0.1)}, "it has no scores"),
    "no reverse model": (lambda folder: {"rules": Rules(reverse_share=0.1)}, "--reverse-share and --reverse-model go"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_filtered_is_one_line(name: str, tmp_path: Path) -> None:
    make, told = REFUSED[name]
    words = {"text": write(tmp_path / "text"), "output": tmp_path / "out", "languages": ("de", "en")}
    words |= make(tmp_path)
    with pytest.raises(UserError, match=told):
        filter_corpus(**words)
    assert not list((tmp_path / "out").glob("train.*"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"length_ratio": 0.5}, "--length-ratio 0.5: give 1 or more"),
        ({"repeats": 1}, "--repeats 1: give 2 or more"),
        ({"score_share": 1.0}, "--score-share 1.0: give a share from 0 to below 1"),
        ({"reverse_share": -0.1}, "--reverse-share -0.1: give a share"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Rules(**values)


def test_a_model_of_the_same_direction(tiny_corpus: Path, tmp_path: Path) -> None:
    model = train_model(tiny_corpus, tmp_path, "--max-update", "1", "--source-lang", "src", "--target-lang", "tgt")
    with pytest.raises(UserError, match="translates src-tgt, as the corpus; give one of tgt-src"):
        ReverseModel(model, ("src", "tgt"))


@pytest.mark.parametrize("pair", [("en", "en"), ("en/../x", "de"), ("", "de")])
def test_the_languages_are_endings_of_two_files(tmp_path: Path, pair: tuple[str, str]) -> None:
    (tmp_path / "a.en").write_text("a house\n")
    (tmp_path / "a.de").write_text("ein Haus\n")
    with pytest.raises(UserError, match="endings of two files"):
        filter_corpus(tmp_path / "a", tmp_path / "out", languages=pair)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--reverse-data", "--reverse-spm-model", "--max-tokens"])
def test_options_of_a_reverse_model_need_one(option: str, tmp_path: Path) -> None:
    text = ["--input", str(write(tmp_path / "text")), "--source-lang", "de", "--target-lang", "en"]
    with pytest.raises(UserError, match=f"{option}: needs --reverse-model"):
        cli.main(["filter", *text, "--output", str(tmp_path / "out"), option, "1"])
    assert not (tmp_path / "out").exists()


def test_a_corpus_without_a_kept_row_ends_in_one_line(tmp_path: Path) -> None:
    text = ["--input", str(write(tmp_path / "text", [row for row in ROWS if row[2] == "empty"]))]
    for _ in range(2):  # a second run finds the work done
        with pytest.raises(UserError, match="no row is kept"):
            cli.main(["filter", *text, "--source-lang", "de", "--target-lang", "en", "--output", str(tmp_path / "out")])
    assert read_json(tmp_path / "out" / "report.json")["dropped"]["empty"]["rows"] == 2
