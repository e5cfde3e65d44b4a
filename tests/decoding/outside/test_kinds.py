"""What each kind of outside teacher can do: the table of docs/how-to/outside-teachers.md, a test for a cell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.model import open_outside
from fairseq_kd.decoding.outside.profile import Given
from tests.decoding.outside.conftest import FAMILIES, LANGUAGES
from tests.support.commands import Run
from tests.support.corpora import binarise
from tests.support.outside import sentences
from tests.support.training import train_command

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = (*FAMILIES, "fairseq-multilingual")
LINES = [row[0] for row in sentences(12, seed=7)]
SEARCH = ("--beam", "2", "--max-len-b", "30")


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of the kind that a test asks for."""
    if request.param == "fairseq-multilingual":
        return request.getfixturevalue("multilingual") / "ctranslate2"
    return request.getfixturevalue("hugging_face")(request.param)


def every_kind(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("kind, folder", [(kind, kind) for kind in KINDS], indirect=["folder"], ids=KINDS)(
        test
    )


def words_of(kind: str, folder: Path) -> list[str]:
    source, target, _ = LANGUAGES[kind]
    words = ["--model", str(folder), "--target-lang", target, *(["--source-lang", source] if source else [])]
    return [*words, "--profile", kind] if kind == "fairseq-multilingual" else words


def texts(kind: str, folder: Path) -> list[str]:
    """The expected translations of :data:`LINES`."""
    source, target, _ = LANGUAGES[kind]
    profile = kind if kind == "fairseq-multilingual" else None
    found = open_outside(str(folder), profile, Given(source, target)).translate(
        LINES, DecodingOptions(beam=2, max_len_b=30)
    )
    return [nbest[0].text for nbest in found]


@every_kind
def test_seq_kd_decodes_text(kind: str, folder: Path, run: Run, tmp_path: Path) -> None:
    """Two shards that share the blocks write what one translation in memory gives."""
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    words = [*words_of(kind, folder), "--input", tmp_path / "lines.txt", "--output", tmp_path / "out", *SEARCH]
    for shard in ("0", "1"):
        run("fairseq-kd", "decode", *words, "--block-rows", "5", "--shards", "2", "--shard", shard)
    run("fairseq-kd", "merge", tmp_path / "out")
    (source, target) = (LANGUAGES[kind][0] or "source", LANGUAGES[kind][1])
    assert (tmp_path / "out" / f"text.{source}").read_text().splitlines() == LINES
    written = (tmp_path / "out" / f"text.{target}").read_text(encoding="utf-8").splitlines()
    assert written == texts(kind, folder) and len(set(written)) > 8
    signature = json.loads((tmp_path / "out" / "signature.json").read_text())
    assert signature["tags"]["target_prefix"] == (
        [] if kind == "opus-mt" else [f"__{target}__"] if "de" == target else [target]
    )


@every_kind
def test_translate_answers_lines(kind: str, folder: Path, run: Run) -> None:
    done = run(
        "fairseq-kd", "translate", *words_of(kind, folder), *SEARCH, input="".join(f"{line}\n" for line in LINES)
    )
    assert done.stdout.splitlines() == texts(kind, folder)


def test_seq_kd_trains_a_student(multilingual: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    words = words_of("fairseq-multilingual", multilingual / "ctranslate2")
    run("fairseq-kd", "decode", *words, "--input", tmp_path / "lines.txt", "--output", tmp_path / "out", *SEARCH)
    for split in ("train", "valid", "test"):
        for side, language in (("src", "en"), ("tgt", "de")):
            (tmp_path / f"{split}.{side}").write_text((tmp_path / "out" / f"text.{language}").read_text())
    binarise(tmp_path, tmp_path / "bin")
    assert "valid_loss" in train_command(tmp_path / "bin", tmp_path / "student", "--max-update", "2").stderr


REFUSED = r"a folder, not a fairseq checkpoint (.pt); a CTranslate2 or Hugging Face folder gives translations alone"


@every_kind
@pytest.mark.parametrize("criterion", ["token_kd", "f_distill"])
def test_training_refuses_it_as_a_live_teacher(
    criterion: str, kind: str, folder: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    """Word-KD and f-DISTILL need the teacher's probability of every symbol of the student's dictionary."""
    words = ("--task", "translation_kd", "--criterion", criterion, "--teacher-path", str(folder), "--max-update", "1")
    done = train_command(tiny_corpus, tmp_path, *words, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and last.startswith("fairseq_kd: error: ") and REFUSED in last


@every_kind
def test_cache_refuses_it(kind: str, folder: Path, tiny_corpus: Path, run: Run, tmp_path: Path) -> None:
    words = ("--model", folder, "--data", tiny_corpus, "--output", tmp_path / "cache", "--top-k", "4")
    done = run("fairseq-kd", "cache", *words, check=False)
    assert done.returncode and REFUSED in done.stderr.strip().splitlines()[-1]


@every_kind
def test_decode_of_a_data_bin_refuses_it(kind: str, folder: Path, tiny_corpus: Path, run: Run, tmp_path: Path) -> None:
    words = ("--model", folder, "--data", tiny_corpus, "--output", tmp_path / "out")
    done = run("fairseq-kd", "decode", *words, check=False)
    assert done.returncode and REFUSED in done.stderr.strip().splitlines()[-1]
