"""What each kind of outside teacher can do: see docs/how-to/teachers.md."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.distilled.decode_text import decode_text
from fairseq_kd.corpus.distilled.merge import merge
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.model import open_outside
from fairseq_kd.decoding.outside.profile import Given
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Shard
from fairseq_kd.storage.structured import read_json
from tests.decoding.outside.conftest import FAMILIES, LANGUAGES
from tests.docs.pages import DOCS, fences
from tests.support.commands import Run, environment
from tests.support.corpora import binarise
from tests.support.outside import sentences
from tests.support.scripts import shell
from tests.support.subwords import lines_of
from tests.support.training import train_command, train_model

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = (*FAMILIES, "fairseq-multilingual")
LINES = [row[0] for row in sentences(12, seed=7)]
SEARCH = DecodingOptions(beam=2, max_len_b=30)


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


def profile_of(kind: str) -> str | None:
    """None for a Hugging Face folder, whose tokenizer tells."""
    return None if kind in FAMILIES else kind


def texts(kind: str, folder: Path) -> list[str]:
    """The expected translations of :data:`LINES`."""
    source, target, _ = LANGUAGES[kind]
    found = open_outside(str(folder), profile_of(kind), Given(source, target)).translate(LINES, SEARCH)
    return [nbest[0].text for nbest in found]


@every_kind
def test_seq_kd_decodes_text(kind: str, folder: Path, tmp_path: Path) -> None:
    """Two shards that share the blocks write what one translation in memory gives."""
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    source, target, _ = LANGUAGES[kind]
    for number in (0, 1):
        decode_text(
            str(folder),
            tmp_path / "lines.txt",
            tmp_path / "out",
            SEARCH,
            shard=Shard(number, 2, 5),
            languages=(source, target),
            profile=profile_of(kind),
        )
    merge(tmp_path / "out")
    assert (tmp_path / "out" / f"text.{source or 'source'}").read_text().splitlines() == LINES
    written = (tmp_path / "out" / f"text.{target}").read_text(encoding="utf-8").splitlines()
    assert written == texts(kind, folder) and len(set(written)) > 8
    signature = read_json(tmp_path / "out" / "signature.json")
    assert signature["engine"] == "ctranslate2" and any(
        target in tag for tags in signature["tags"].values() for tag in tags
    )


def test_commands_take_a_folder_and_a_student_learns_from_it(multilingual: Path, run: Run, tmp_path: Path) -> None:
    given = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "lines.txt").write_text(given, encoding="utf-8")
    words = ["--model", multilingual / "ctranslate2", "--profile", "fairseq-multilingual", "--source-lang", "en"]
    words += ["--target-lang", "de", "--beam", "2", "--max-len-b", "30"]
    done = run("fairseq-kd", "translate", *words, input=given)
    assert done.stdout.splitlines() == texts("fairseq-multilingual", multilingual / "ctranslate2")
    run("fairseq-kd", "decode", *words, "--input", tmp_path / "lines.txt", "--output", tmp_path / "out")
    assert (tmp_path / "out" / "text.de").read_text(encoding="utf-8") == done.stdout
    for split in ("train", "valid", "test"):
        for side, language in (("src", "en"), ("tgt", "de")):
            (tmp_path / f"{split}.{side}").write_text((tmp_path / "out" / f"text.{language}").read_text())
    binarise(tmp_path, tmp_path / "bin")
    assert train_model(tmp_path / "bin", tmp_path / "student", "--max-update", "2").is_file()


def test_the_script_makes_a_students_data_bin(hugging_face: Callable[[str], Path], tmp_path: Path) -> None:
    """The teacher's tags are eng_Latn and deu_Latn, the student's languages en and de."""
    for split, rows in (("train", 60), ("valid", 4), ("test", 4)):
        text = sentences(rows, seed=rows)
        for column, language in ((0, "en"), (1, "de")):
            (tmp_path / f"{split}.{language}").write_text("".join(f"{row[column]}\n" for row in text))
    splits = [word for split in ("train", "valid", "test") for word in (f"--{split}", split)]
    words = ["--source-lang", "en", "--target-lang", "de", *splits, "--vocab-size", "80", "--output", "data"]
    assert shell("prepare_data.sh", *words, folder=tmp_path).returncode == 0
    words = ["--model", hugging_face("nllb"), "--source-lang", "eng_Latn", "--target-lang", "deu_Latn", "--beam", "2"]
    words += ["--input", "train.en", "--student-data", "data/data-bin", "--student-spm", "data/spm.model"]
    done = shell("generate_distilled_corpus.sh", *words, "--max-len-b", "30", "--output", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    translated = (tmp_path / "out" / "teacher" / "text.deu_Latn").read_text(encoding="utf-8").splitlines()
    spm = load_spm(tmp_path / "data" / "spm.model")
    source, target = lines_of(tmp_path / "out" / "data-bin", "train")
    assert source == lines_of(tmp_path / "data" / "data-bin", "train")[0]
    known = [" ".join(spm.encode(line, out_type=str)) for line in translated]
    rows = [row for row in zip(target, known, strict=True) if "<unk>" not in row[0]]
    assert len(rows) > 40 and all(one == other for one, other in rows)


REFUSED = "a folder, not a fairseq checkpoint (.pt); a CTranslate2 or Hugging Face folder gives translations alone"


@pytest.mark.parametrize("criterion", ["token_kd", "f_distill"])
def test_training_refuses_a_folder_as_a_live_teacher(
    criterion: str, multilingual: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    """Word-KD and f-DISTILL need the teacher's probability of every symbol of the student's dictionary."""
    words = ["--task", "translation_kd", "--criterion", criterion, "--teacher-path", str(multilingual / "ctranslate2")]
    words += ["--max-update", "1", *(["--online-teacher-samples"] if criterion == "f_distill" else [])]
    done = train_command(tiny_corpus, tmp_path, *words, check=False)
    assert done.returncode and REFUSED in done.stderr, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if REFUSED in line][-1].startswith("fairseq_kd: error: ")


def test_cache_and_a_data_bins_decode_refuse_a_folder(multilingual: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    folder = str(multilingual / "ctranslate2")
    for words in (["cache", "--top-k", "4"], ["decode"]):
        with pytest.raises(UserError) as error:
            cli.main([*words, "--model", folder, "--data", str(tiny_corpus), "--output", str(tmp_path / "out")])
        assert REFUSED in str(error.value)


def test_the_guides_conversion_of_a_multilingual_model(
    multilingual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the plugin as --user_dir, torch refuses fairseq's checkpoints."""
    (block,) = (one for one in fences((DOCS / "how-to/outside-teachers.md").read_text(), "bash") if "ct2-" in one)
    (tmp_path / "data-bin").mkdir()
    shutil.copy(multilingual / "multilingual.pt", tmp_path / "checkpoint_best.pt")
    shutil.copy(multilingual / "langs.txt", tmp_path / "data-bin")
    for name in ("dict.txt", "dict.en.txt", "dict.de.txt", "dict.fr.txt"):
        shutil.copy(multilingual / "dict.txt", tmp_path / "data-bin" / name)
    monkeypatch.chdir(tmp_path)
    command = block.split("cp spm.model")[0]
    done = subprocess.run(["bash", "-c", command], env=environment(forked=False), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "multilingual" / "model.bin").is_file()
