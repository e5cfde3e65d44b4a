"""The workflow with a teacher that is there already, and with one whose subwords are not the student's."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import ROOT, run_command
from tests.support.models import ARCHITECTURES
from tests.support.scripts import refused, shell
from tests.support.subwords import lines_of

PAIR = ["src", "tgt"]
OTHER = (
    "--teacher-path teacher/checkpoint_best.pt --teacher-data teacher_data/data-bin "
    "--teacher-spm teacher_data/spm.model --criterion token_kd --kd-alpha 0.5 --teacher-vocabulary aligned"
)


def make(folder: Path, keys: dict[str, Any], *targets: str) -> Path:
    """Run the workflow until the targets are made; the folder that it works in."""
    size = ARCHITECTURES["transformer"]
    pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")
    fixed = {
        "title": "Miniature",
        "languages": PAIR,
        "training": "--task translation_kd --optimizer adam --lr 0.01 --max-tokens 2000 --max-update 2 --num-workers 0",
        "student": size,
        "decoding": "--max-len-a 1 --max-len-b 5",
        "beams": 1,
        "seeds": [1],
        "baseline": "Student",
    }
    path, runs = folder / "config.yaml", folder / "runs"
    path.write_text(yaml.safe_dump(fixed | keys))
    words = ["--snakefile", ROOT / "scripts" / "Snakefile", "--configfile", path, "--directory", runs, "--cores", "1"]
    run_command("snakemake", *words, *targets)
    return runs


def row(data: str, options: str = "--criterion fused_cross_entropy") -> dict[str, Any]:
    return {"student": {"name": "Student", "data": data, "options": options}}


def copy_text(text: Path, *more: str) -> str:
    """A command that writes the raw text."""
    script = " && ".join([f"mkdir -p $0 && cp {shlex.quote(str(text))}/* $0", *more])
    return f"bash -c {shlex.quote(script)} {{output}}"


def test_a_ready_teacher_of_other_subwords(text_teacher: Path, tiny_text: Path, tmp_path: Path) -> None:
    """A student of 20 subwords learns from gold and distilled rows, from translated text and from more pairs."""
    split = f"bash {shlex.quote(str(ROOT / 'scripts' / 'split_text.sh'))} $0 --languages src tgt --keep 200"
    keys = {
        "raw": copy_text(tiny_text, split),
        "ready_teacher": str(text_teacher / "checkpoint_last.pt"),
        "vocabulary": 20,
        "distilled": "--beam 1",
        "corpora": {"mono": "--input raw/train.src --beam 1"},
        "texts": {"rest": "raw/rest"},
        "rows": row("distilled+mono+rest", OTHER),
    }
    runs = make(tmp_path, keys, "done/student.1", "scores/teacher.json")
    gold = lines_of(runs / "data" / "data-bin", "train")
    distilled = lines_of(runs / "distilled" / "data-bin", "train")
    mono = lines_of(runs / "corpora" / "mono" / "data-bin", "train")
    rest = lines_of(runs / "texts" / "rest" / "data-bin", "train")
    assert [len(side) for side in (gold[0], distilled[0], rest[0])] == [200, 200, 100]
    # The teacher translates the rows of its own data-bin as it does the raw text.
    assert mono == distilled and distilled[0] == gold[0] and distilled[1] != gold[1]
    joined = lines_of(runs / "joined" / "distilled+mono+rest" / "data-bin", "train")
    assert joined == [distilled[side] + mono[side] + rest[side] for side in (0, 1)]
    assert "--teacher-vocabulary aligned" in (runs / "students" / "student.1" / "arguments").read_text()


@pytest.mark.slow
def test_a_student_with_the_ready_teachers_dictionaries(text_teacher: Path, tiny_text: Path, tmp_path: Path) -> None:
    """The data-bin has the bytes of the one that fairseq-preprocess made for the teacher."""
    keys = {
        "raw": copy_text(tiny_text),
        "ready_teacher": {"model": str(text_teacher / "checkpoint_last.pt"), "scored": False},
        "vocabulary": "teacher",
        "rows": row("gold"),
    }
    runs = make(tmp_path, keys, "done/data")
    for made in sorted((text_teacher / "data-bin").iterdir()):
        if made.suffix in (".bin", ".idx", ".txt"):
            assert (runs / "data" / "data-bin" / made.name).read_bytes() == made.read_bytes(), made.name
    assert (runs / "teacher" / "checkpoint_best.pt").samefile(text_teacher / "checkpoint_last.pt")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("none.pt", "ready teacher none.pt: no such file"),
        ("none", "ready teacher none: no such folder; a fairseq checkpoint ends in .pt"),
        ("none --spm-model model.pt", "ready teacher none: no such folder; a fairseq checkpoint ends in .pt"),
        ("model.pt", "ready teacher model.pt: no sentencepiece model ./spm.model; name it by the key spm"),
        (
            "model.pt --spm-model model.pt --languages a b",
            "no dict.a.txt in .; name its folder by the key dict",
        ),
        ("model.pt --wrong", "unknown option --wrong"),
        ("model.pt --spm-model model.pt --dictionaries .", "--dictionaries goes with --languages S T"),
        (
            "other --spm-model model.pt",
            "--spm-model goes with a fairseq checkpoint; the folder other has its own",
        ),
        ("other --dictionaries .", "--dictionaries goes with a fairseq checkpoint"),
    ],
)
def test_a_teacher_that_is_not_there(words: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    for name in ("teacher", "other"):
        (tmp_path / name).mkdir()
    assert told in refused("take_teacher.sh", "teacher", *words.split(), folder=tmp_path)


def test_a_model_that_is_there_stays(tmp_path: Path) -> None:
    for name in ("model.pt", "spm.model"):
        (tmp_path / name).touch()
    for _ in range(2):
        assert shell("take_teacher.sh", "teacher", "model.pt", folder=tmp_path).returncode == 0
    path = tmp_path / "teacher" / "checkpoint_best.pt"
    path.unlink()
    path.write_text("hours of work")
    told = "teacher/checkpoint_best.pt is there already and no link; take another folder"
    assert told in refused("take_teacher.sh", "teacher", "model.pt", folder=tmp_path)
    assert path.read_text() == "hours of work"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--input text", "--input needs --student-data and --student-spm"),
        ("--input text --student-data d --student-spm s --source decoded", "takes no --source"),
        ("--input text --student-data d --student-spm s --seq-inter", "needs the gold target as --reference"),
    ],
)
def test_raw_text_needs_the_students_subwords(words: str, told: str, tmp_path: Path) -> None:
    line = refused("generate_distilled_corpus.sh", "--model", "m", "--output", "o", *words.split(), folder=tmp_path)
    assert told in line


def test_a_killed_split_goes_on_and_sides_must_be_parallel(tmp_path: Path) -> None:
    for language in PAIR:
        (tmp_path / f"train.{language}").write_text("".join(f"{language} {line}\n" for line in range(5)))
    words = (tmp_path, "--languages", *PAIR, "--keep", "2")
    (tmp_path / "rest.src").write_text("src 2\nsrc 3\nsrc 4\n")  # killed before train.src was cut
    assert shell("split_text.sh", *words, folder=tmp_path).returncode == 0
    assert (tmp_path / "train.src").read_text() == "src 0\nsrc 1\n"
    with open(tmp_path / "rest.tgt", "a") as handle:
        handle.write("one more\n")
    assert "have 5 lines, train.tgt and rest 6: they must be parallel" in refused(
        "split_text.sh", *words, folder=tmp_path
    )


def test_text_is_split_once(tmp_path: Path) -> None:
    for language in PAIR:
        (tmp_path / f"train.{language}").write_text("".join(f"{language} {line}\n" for line in range(5)))
    words = (tmp_path, "--languages", *PAIR, "--keep")
    for _ in range(2):
        assert shell("split_text.sh", *words, "2", folder=tmp_path).returncode == 0
        assert (tmp_path / "train.tgt").read_text() == "tgt 0\ntgt 1\n"
        assert (tmp_path / "rest.src").read_text() == "src 2\nsrc 3\nsrc 4\n"
    assert "has 2 lines, --keep 3 leaves none aside" in refused("split_text.sh", *words, "3", folder=tmp_path)
    assert "lines that another --keep set aside" in refused("split_text.sh", *words, "1", folder=tmp_path)
    assert (tmp_path / "rest.src").read_text() == "src 2\nsrc 3\nsrc 4\n"
    assert "--keep 0: give a whole number from 1" in refused("split_text.sh", *words, "0", folder=tmp_path)
    words = ["--source-lang=a", "--target-lang=b", "--output=o", "--vocab-size=9"]
    assert "no dict.a.txt in it" in refused("prepare_data.sh", *words, "--dictionaries", "none", folder=tmp_path)
