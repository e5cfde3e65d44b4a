"""`fairseq-kd recut` and the script around it: a teacher's text in a student's own subwords, row by row."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.filtering.filter import filter_corpus
from fairseq_kd.corpus.filtering.rules import Rules
from fairseq_kd.corpus.recut import plain, recut
from fairseq_kd.corpus.seq_inter.select import select
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.structured import read_json
from tests.support.commands import ROOT, environment
from tests.support.subwords import cut, lines_of, write_syllables
from tests.support.training import train_model


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_syllables(tmp_path_factory.mktemp("syllables"), {"train": 120, "valid": 10, "test": 10})


@pytest.fixture(scope="module")
def teacher(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder: spm.model, data-bin, model/checkpoint_last.pt."""
    folder = tmp_path_factory.mktemp("teacher")
    train_model(cut(text, folder, 90), folder / "model", "--max-update", "40")
    return folder


@pytest.fixture(scope="module")
def student(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder: spm.model and data-bin."""
    folder = tmp_path_factory.mktemp("student")
    cut(text, folder, 50)
    return folder


def script(teacher: Path, output: Path, *words: object) -> subprocess.CompletedProcess:
    fixed = ["--model", teacher / "model" / "checkpoint_last.pt", "--data", teacher / "data-bin", "--output", output]
    command = ["bash", ROOT / "scripts" / "generate_distilled_corpus.sh", *fixed, "--max-len-b", 20, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return done


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.slow
def test_the_script_with_a_students_data_bin(teacher: Path, student: Path, tmp_path: Path) -> None:
    words = ("--student-data", student / "data-bin", "--student-spm", student / "spm.model")
    script(teacher, tmp_path / "out", *words, "--beam", 2)
    spm = load_spm(student / "spm.model")
    translated = (tmp_path / "out" / "teacher" / "train.tgt").read_text().splitlines()
    expected = [" ".join(spm.encode(plain(line, "sentencepiece"), out_type=str)) for line in translated]
    assert expected != translated and sum(map(bool, expected)) == 120
    rows = lines_of(tmp_path / "out" / "data-bin", "train")
    assert rows == [lines_of(student / "data-bin", "train")[0], expected]
    assert (tmp_path / "out" / "train.tgt").read_text().splitlines() == expected
    for split in ("valid", "test"):
        assert lines_of(tmp_path / "out" / "data-bin", split) == lines_of(student / "data-bin", split)
    signature = read_json(tmp_path / "out" / "data-bin" / "signature.json")
    assert signature["rows"] == 120 and signature["unknown"] == {"src": 0.0, "tgt": 0.0}
    assert signature["decode"]["subset"] == "train"
    before = modified(tmp_path / "out")
    assert "nothing to do" in script(teacher, tmp_path / "out", *words, "--beam", 2).stderr
    assert modified(tmp_path / "out") == before
    # f-DISTILL and hybrid training read it beside the student's own data-bin.
    options = ["--task", "translation_kd", "--criterion", "hybrid_kd", "--gate", "fixed", "--gate-value", "0"]
    distilled = ["--distilled-data", str(tmp_path / "out" / "data-bin"), "--max-update", "1"]
    teacher_of_its_own = train_model(student / "data-bin", tmp_path / "own", "--max-update", "1")
    options += ["--teacher-path", str(teacher_of_its_own), "--teacher-data", str(student / "data-bin")]
    assert train_model(student / "data-bin", tmp_path / "save", *options, *distilled).exists()


@pytest.mark.slow
def test_the_script_with_a_vocabulary_size_and_seq_inter(teacher: Path, text: Path, tmp_path: Path) -> None:
    script(teacher, tmp_path / "out", "--vocab-size", 60, "--seq-inter", "--nbest", 3)
    folder = tmp_path / "out" / "student"
    spm = load_spm(folder / "spm.model")
    assert spm.get_piece_size() == 60
    for split in ("train", "valid", "test"):
        gold = [(text / f"{split}.{side}").read_text().splitlines() for side in ("src", "tgt")]
        assert lines_of(folder / "data-bin", split) == [
            [" ".join(spm.encode(row, out_type=str)) for row in side] for side in gold
        ]
    chosen = (tmp_path / "out" / "teacher" / "train.tgt").read_text().splitlines()
    assert lines_of(tmp_path / "out" / "data-bin", "train") == [
        lines_of(folder / "data-bin", "train")[0],
        [" ".join(spm.encode(plain(line, "sentencepiece"), out_type=str)) for line in chosen],
    ]
    before = modified(tmp_path / "out")
    script(teacher, tmp_path / "out", "--vocab-size", 60, "--seq-inter", "--nbest", 3)
    assert modified(tmp_path / "out") == before


@pytest.mark.slow
def test_the_script_with_a_vocabulary_size_keeps_every_split(teacher: Path, text: Path, tmp_path: Path) -> None:
    """fairseq-train reads valid1 with --valid-subset valid,valid1."""
    shutil.copytree(teacher, tmp_path / "teacher")
    for path in (teacher / "data-bin").glob("test.*"):
        shutil.copy(path, tmp_path / "teacher" / "data-bin" / path.name.replace("test.", "valid1."))
    script(tmp_path / "teacher", tmp_path / "out", "--vocab-size", 60, "--beam", 1)
    spm = load_spm(tmp_path / "out" / "student" / "spm.model")
    gold = [(text / f"test.{side}").read_text().splitlines() for side in ("src", "tgt")]
    for folder in ("student/data-bin", "data-bin"):
        rows = lines_of(tmp_path / "out" / folder, "valid1")
        assert rows == [[" ".join(spm.encode(row, out_type=str)) for row in side] for side in gold]


@pytest.mark.parametrize(
    ("subwords", "post", "expected"),
    [
        ("▁Gu ten ▁Tag .", "sentencepiece", "Guten Tag."),
        ("▁a <0xE2> <0x82> <0xAC> b", "sentencepiece", "a€b"),
        ("Gu@@ ten Tag", "subword_nmt", "Guten Tag"),
        ("Guten  Tag", "none", "Guten Tag"),
        ("▁a\u2028 ▁b", "sentencepiece", "a b"),
        ("", "sentencepiece", ""),
    ],
)
def test_subwords_are_joined(subwords: str, post: str, expected: str) -> None:
    assert plain(subwords, post) == expected


def finished(folder: Path, source: list[str], target: list[str]) -> Path:
    """What a decode leaves."""
    folder.mkdir()
    (folder / "train.src").write_text("".join(f"{line}\n" for line in source))
    (folder / "train.tgt").write_text("".join(f"{line}\n" for line in target))
    hashes = {name: file_hash(folder / name) for name in ("train.src", "train.tgt")}
    made = {"subset": "train", "source": "src", "target": "tgt", "rows": len(source), "sha256": hashes}
    (folder / "signature.json").write_text(json.dumps(made))
    return folder


@pytest.fixture
def decoded(teacher: Path, tmp_path: Path) -> Path:
    """The gold text as if it were decoded, one row empty."""
    source, target = lines_of(teacher / "data-bin", "train")
    return finished(tmp_path / "decoded", source, ["", *target[1:]])


def test_rows_stay_and_unknown_symbols_are_excused(decoded: Path, student: Path, tmp_path: Path) -> None:
    lines = (decoded / "train.src").read_text().splitlines()
    other = finished(tmp_path / "x", ["▁ <unk> !", *lines[1:]], (decoded / "train.tgt").read_text().splitlines())
    made = recut(other, student / "data-bin", student / "spm.model", tmp_path / "out")
    source, target = lines_of(student / "data-bin", "train")
    assert (tmp_path / "out" / "train.src").read_text().splitlines() == source
    assert (tmp_path / "out" / "train.tgt").read_text().splitlines() == ["", *target[1:]]
    assert made["rows"] == 120


def test_text_that_the_students_data_bin_does_not_hold(teacher: Path, student: Path, tmp_path: Path) -> None:
    source, target = (lines[:30] for lines in lines_of(teacher / "data-bin", "train"))
    decoded = finished(tmp_path / "decoded", source, target)
    recut(decoded, student / "data-bin", student / "spm.model", tmp_path / "out", source="decoded")
    own = lines_of(student / "data-bin", "train")
    for side, lines in zip(("src", "tgt"), own, strict=True):
        assert (tmp_path / "out" / f"train.{side}").read_text().splitlines() == lines[:30]


def test_decoded_raw_text_keeps_its_spaces(student: Path, tmp_path: Path) -> None:
    """`decode --input` with a sentencepiece model writes text, whose spaces stand between words, not subwords."""
    own = lines_of(student / "data-bin", "train")
    decoded = finished(tmp_path / "text", *([plain(row, "sentencepiece") for row in rows] for rows in own))
    assert " " in (decoded / "train.tgt").read_text()
    made = read_json(decoded / "signature.json")
    made["tokenizers"] = {"source-spm": "a hash", "target-spm": "a hash"}
    (decoded / "signature.json").write_text(json.dumps(made))
    everything = Rules(length_ratio=0, copies=False, repeats=0, duplicates=False)
    filter_corpus(decoded, tmp_path / "filtered", everything)
    select(text_lists(decoded, own[1]), gold_text(tmp_path / "gold", own[1]), tmp_path / "selected")
    for name in ("text", "filtered", "selected"):
        recut(tmp_path / name, student / "data-bin", student / "spm.model", tmp_path / f"{name}-out", source="decoded")
        for side, lines in zip(("src", "tgt"), own, strict=True):
            assert (tmp_path / f"{name}-out" / f"train.{side}").read_text().splitlines() == lines


def text_lists(decoded: Path, targets: list[str]) -> Path:
    """Give a decode of text lists of two: first a text with other spaces than its own translation, then that one."""
    texts = [plain(row, "sentencepiece") for row in targets]
    with open(decoded / "train.nbest.tsv", "w") as handle:
        for row, text in enumerate(texts):
            handle.write(f"{row}\t1\t-1.0\t{text.replace(' ', '')}\n{row}\t2\t-2.0\t{text}\n")
    made = read_json(decoded / "signature.json")
    made["sha256"]["train.nbest.tsv"] = file_hash(decoded / "train.nbest.tsv")
    (decoded / "signature.json").write_text(json.dumps(made))
    return decoded / "train.nbest.tsv"


def gold_text(path: Path, targets: list[str]) -> Path:
    path.write_text("".join(plain(row, "sentencepiece") + "\n" for row in targets))
    return path


def test_no_data_bin_has_the_rows_of_raw_text(student: Path, tmp_path: Path) -> None:
    own = lines_of(student / "data-bin", "train")
    decoded = finished(tmp_path / "text", *([plain(row, "sentencepiece") for row in rows] for rows in own))
    made = read_json(decoded / "signature.json")
    made |= {"subset": "text", "sha256": {name.replace("train", "text"): one for name, one in made["sha256"].items()}}
    for side in ("src", "tgt"):
        (decoded / f"train.{side}").rename(decoded / f"text.{side}")
    (decoded / "signature.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="decoded from raw text"):
        recut(decoded, student / "data-bin", student / "spm.model", tmp_path / "out")


def shorter(decoded: Path, teacher: Path, folder: Path) -> dict[str, Any]:
    lines = [(decoded / f"train.{side}").read_text().splitlines() for side in ("src", "tgt")]
    return {"decoded": finished(folder / "shorter", lines[0][:-1], lines[1][:-1])}


def moved(decoded: Path, teacher: Path, folder: Path) -> dict[str, Any]:
    lines = [(decoded / f"train.{side}").read_text().splitlines() for side in ("src", "tgt")]
    return {"decoded": finished(folder / "moved", [*lines[0][1:], lines[0][0]], lines[1])}


def touched(decoded: Path, teacher: Path, folder: Path) -> dict[str, Any]:
    with open(decoded / "train.tgt", "a") as handle:
        handle.write("▁x\n")
    return {}


def edited(decoded: Path, teacher: Path, folder: Path) -> dict[str, Any]:
    path = decoded / "train.tgt"
    path.write_text(path.read_text().replace("a", "e", 1))
    return {}


REFUSED: dict[str, tuple[Callable[[Path, Path, Path], dict[str, Any]], str]] = {
    "another spm model": (
        lambda decoded, teacher, folder: {"spm_model": teacher / "spm.model"},
        r"train.tgt: [\d.]+% of its tokens are not in .*dict.tgt.txt \(the first is '.*'\), more than 5%: give",
    ),
    "fewer rows": (shorter, "train has 120 rows, the decoded text 119; give the student's data-bin of the same text"),
    "other rows": (moved, r"the source of 1\d\d of 120 rows is not the decoded one \(the first is row 0, from 0\)"),
    "a row too many": (touched, "train.tgt: 121 lines, signature.json says 120 rows"),
    "changed": (edited, "train.tgt: it has changed since signature.json was written"),
    "unfinished": (lambda decoded, teacher, folder: {"decoded": folder}, "no finished decode"),
    "itself": (lambda decoded, teacher, folder: {"output": decoded}, "the decoded text is in it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_one_line(name: str, decoded: Path, teacher: Path, student: Path, tmp_path: Path) -> None:
    make, told = REFUSED[name]
    words = {"decoded": decoded, "output": tmp_path / "out", "spm_model": student / "spm.model"}
    words |= make(decoded, teacher, tmp_path)
    with pytest.raises(UserError, match=told):
        recut(student_data=student / "data-bin", **words)
    assert not list((tmp_path / "out").glob("*"))


def test_other_settings_are_refused(decoded: Path, student: Path, tmp_path: Path) -> None:
    recut(decoded, student / "data-bin", student / "spm.model", tmp_path / "out")
    with pytest.raises(UserError, match=r"recut.source is databin there, decoded here"):
        recut(decoded, student / "data-bin", student / "spm.model", tmp_path / "out", source="decoded")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "give either --decoded DIR or --data DATABIN"),
        ("--decoded a --data b", "give either --decoded DIR or --data DATABIN"),
        ("--decoded a", "--decoded needs the student's --student-data DATABIN and --spm-model FILE"),
        ("--decoded a --student-data b --spm-model c --vocab-size 9", "--vocab-size goes with --data"),
        ("--data a --student-data b", "--student-data goes with --decoded"),
        ("--data a --spm-model b --source decoded", "--source goes with --decoded"),
        ("--data a --spm-model b --more-text c", "--more-text goes with --vocab-size"),
    ],
)
def test_options_that_do_not_go_together(words: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        cli.main(["recut", *words.split(), "--output", "out"])
