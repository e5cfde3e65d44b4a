"""The stage scripts, called wrongly: their manual or one line, a status other than 0, and nothing written."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_kd.corpus.preparation.subword_model import train_spm
from tests.support.commands import ROOT, environment
from tests.support.scripts import refused, shell

SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))
# common.sh and raw_text.sh are sourced; the other two start the whole work where no argument is given.
NEED_ARGUMENTS = [
    "generate_distilled_corpus.sh",
    "get_iwslt.sh",
    "get_multi30k.sh",
    "get_fdistill.sh",
    "get_wmt14.sh",
    "join_databins.sh",
    "prepare_data.sh",
    "prune_and_retrain.sh",
    "study.sh",
    "train.sh",
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_syntax_is_sound(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("name", NEED_ARGUMENTS)
def test_no_argument_gives_the_manual(name: str, tmp_path: Path) -> None:
    done = shell(name, folder=tmp_path)
    assert done.returncode == 1 and f"bash scripts/{name} " in done.stdout and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["quickstart.sh", *(name for name in NEED_ARGUMENTS if name != "train.sh")])
def test_help_gives_the_manual(name: str, tmp_path: Path) -> None:
    done = shell(name, "--help", folder=tmp_path)
    assert done.returncode == 0 and f"bash scripts/{name} " in done.stdout and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["out"], ["--arch", "transformer"]])
def test_train_wants_folder_and_data(words: list[str], tmp_path: Path) -> None:
    done = shell("train.sh", *words, folder=tmp_path)
    assert done.returncode == 1 and "bash scripts/train.sh SAVE_DIR" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        ("quickstart.sh", "study_size", "study_size is a study; run scripts/study.sh size"),
        ("study.sh", "nosuch", "no configs/study_nosuch.yaml; there are: study_noise.yaml"),
        ("quickstart.sh", "nosuch", "no configs/nosuch.yaml; there are: converged.yaml"),
        ("prepare_data.sh", "--train raw/train --output out", "give --output, --source-lang and --target-lang"),
        ("prepare_data.sh", "--source-lang a --target-lang b --output", "give --output"),
        ("generate_distilled_corpus.sh", "--model=m --data=d", "give --model, --data and --output"),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output out --shards 0",
            "--shards 0: give a whole number",
        ),
        ("generate_distilled_corpus.sh", "--data", "--data needs a value"),
        ("generate_distilled_corpus.sh", "--model m --data d --output o --bea 7", "--bea: write --beam in full"),
        ("generate_distilled_corpus.sh", "--metric", "--metric needs a value"),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --metric chrf",
            "--metric goes with --seq-inter",
        ),
        ("generate_distilled_corpus.sh", "--model m --data d --output o --reference=f", "--reference goes with"),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --seq-inter --reference f",
            "--reference f: no such file or folder",
        ),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --seq-inter --reference . --metric mbr-chrf",
            "--reference .: --metric mbr-chrf needs none; leave it out",
        ),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --seq-inter --metric bleu",
            "argument --metric: invalid choice: 'bleu'",
        ),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --seq-inter --metric chrf --tokenize zh",
            "--tokenize goes with --metric sentence-bleu",
        ),
        ("generate_distilled_corpus.sh", "--model m --data d --output o --source decoded", "--source goes with"),
        ("generate_distilled_corpus.sh", "--model m --data d --output o --post-process none", "--post-process goes"),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output o --student-data s",
            "give --student-data and --student-spm, or --vocab-size alone",
        ),
        ("generate_distilled_corpus.sh", "--subset=test", "--subset is chosen by this script"),
        (
            "generate_distilled_corpus.sh",
            "--model m --data d --output out --shards 2 --shard 2",
            "--shard 2: give a number from 0 to 1",
        ),
        (
            "train.sh",
            "save data --checkpoint-suffix _x",
            "--checkpoint-suffix: a training that is killed could not go on",
        ),
        (
            "train.sh",
            "save data --save-dir=other",
            "--save-dir: train.sh gives it itself",
        ),
        ("train.sh", "save data --user-dir mine", "--user-dir: train.sh gives the plugin's itself"),
        ("prune_and_retrain.sh", "--model m --data d --sparsities 0.5", "give --model, --data, --output and --spars"),
        ("prune_and_retrain.sh", "--model m --data d --output o --sparsities 1.5", "1.5 is no number between 0 and 1"),
        ("prune_and_retrain.sh", "--model m --data d --output o --sparsities 0.0", "0.0 is no number between 0 and 1"),
        ("prune_and_retrain.sh", "--model m --max-epoch 3", "fairseq-train's options come after --"),
        ("join_databins.sh", "out a", "give OUTPUT_DIR and two or more data-bins"),
        ("join_databins.sh", "out a --b", "unknown option --b"),
        ("join_databins.sh", "out a b", "data-bin a: no such folder"),
        ("get_wmt14.sh", "out --max-words 0", "--max-words 0: give a whole number"),
        ("get_iwslt.sh", "2014 de en out --wrong", "unknown option --wrong"),
        ("get_iwslt.sh", "2014 de en", "give YEAR SOURCE TARGET OUTPUT_DIR"),
        ("get_iwslt.sh", "2016 de en out", "no split for the year '2016'"),
        ("get_iwslt.sh", "2013 en fr out", "no address for 2013 en-fr; get it from https://wit3.fbk.eu by hand"),
        ("get_multi30k.sh", "out --target-lang xx", "no language 'xx'"),
        ("get_multi30k.sh", "out --wrong", "unknown option --wrong"),
        ("get_multi30k.sh", "out --source-lang", "an option lacks its value"),
    ],
)
def test_wrong_arguments(script: str, words: str, told: str, tmp_path: Path) -> None:
    line = refused(script, *words.split(), folder=tmp_path)
    assert line.startswith(f"{script}: error: ") and told in line
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_missing(tmp_path: Path) -> None:
    splits = ["--train", "raw/train", "--valid", "raw/valid", "--test", "raw/test", "--vocab-size", "9"]
    line = refused("prepare_data.sh", "--source-lang=a", "--target-lang=b", *splits, "--output=out", folder=tmp_path)
    assert line.startswith("fairseq_kd: error: raw/train.a: no such file")
    words = ["--model", "m.pt", "--data", "data-bin", "--output", "out"]
    line = refused("prune_and_retrain.sh", *words, "--sparsities", "0.4 0.2", folder=tmp_path)
    assert "each has to be higher than the one before" in line
    line = refused("prune_and_retrain.sh", *words, "--sparsities", "0.2 0.4", folder=tmp_path)
    assert line.startswith("fairseq_kd: error: model m.pt: no such file")
    line = refused("generate_distilled_corpus.sh", *words, folder=tmp_path)
    assert line.startswith("fairseq_kd: error: model m.pt: no such file")
    assert list(tmp_path.iterdir()) == []


def test_a_source_only_data_bin_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dict.en.txt").touch()
    words = ["--model", "m.pt", "--data", "data", "--output", "out"]
    line = refused("generate_distilled_corpus.sh", *words, folder=tmp_path)
    assert "data-bin data has one language alone (fairseq-preprocess --only-source)" in line
    (tmp_path / "data" / "dict.de.txt").touch()
    assert "model m.pt: no such file" in refused("generate_distilled_corpus.sh", *words, folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_arguments_that_changed_are_refused(tmp_path: Path) -> None:
    for folder in ("save", "text/data-bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "arguments").write_text("others\n")
    (tmp_path / "save" / "lock").touch()
    assert "data-bin data: no such folder" in refused("train.sh", "save", "data", "--arch", "x", folder=tmp_path)
    (tmp_path / "data").mkdir()
    wrong = ["save", "data", "--teacher-path", "none.pt"]
    assert "teacher none.pt: no such file" in refused("train.sh", *wrong, folder=tmp_path)
    assert "trained with other arguments" in refused("train.sh", "save", "data", "--arch", "x", folder=tmp_path)
    words = ["--source-lang", "a", "--target-lang", "b", "--output", "text"]
    assert "prepared with other arguments" in refused("prepare_data.sh", *words, folder=tmp_path)


def test_text_that_was_prepared_in_another_locale(tmp_path: Path) -> None:
    raw = tmp_path / "übung"
    raw.mkdir()
    for split in ("train", "valid", "test"):
        for side in "ab":
            (raw / f"{split}.{side}").write_text("".join(f"{side}{row} {side}{row % 7}\n" for row in range(90)))
    words = ["--source-lang", "a", "--target-lang", "b", "--vocab-size", "16", "--output", "out"]
    words += [word for split in ("train", "valid", "test") for word in (f"--{split}", f"übung/{split}")]
    for locale, told in (("C.UTF-8", "ready"), ("C", "done before")):
        done = shell("prepare_data.sh", *words, folder=tmp_path, LC_ALL=locale)
        assert done.returncode == 0 and done.stderr.endswith(f"out/data-bin: {told}\n"), done.stderr


def test_another_number_of_processes_is_no_other_data_bin(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for side in "ab":
            (tmp_path / f"{split}.{side}").write_text("".join(f"{side}{row} {side}{row % 7}\n" for row in range(90)))
    words = ["--source-lang", "a", "--target-lang", "b", "--vocab-size", "16", "--output", "out"]
    words += [word for split in ("train", "valid", "test") for word in (f"--{split}", split)]
    for workers, told in (("--workers 1", "ready"), ("--workers=2 --verbose", "done before"), ("", "done before")):
        done = shell("prepare_data.sh", *words, *workers.split(), folder=tmp_path)
        assert done.returncode == 0 and done.stderr.endswith(f"out/data-bin: {told}\n"), done.stderr


def test_compressed_text_that_changed_is_refused(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for side in "ab":
            lines = "".join(f"{side}{row} {side}{row % 7}\n" for row in range(90))
            (tmp_path / f"{split}.{side}.gz").write_bytes(gzip.compress(lines.encode()))
    words = ["--source-lang", "a", "--target-lang", "b", "--vocab-size", "16", "--output", "out"]
    words += [word for split in ("train", "valid", "test") for word in (f"--{split}", split)]
    done = shell("prepare_data.sh", *words, folder=tmp_path)
    assert done.returncode == 0 and done.stderr.endswith("out/data-bin: ready\n"), done.stderr
    (tmp_path / "test.b.gz").write_bytes(gzip.compress(b"b1 b2\n" * 90))
    assert "prepared with other arguments or text" in refused("prepare_data.sh", *words, folder=tmp_path)


def test_prepare_takes_whole_names(tmp_path: Path) -> None:
    """The script looks for the text behind whole names: with --tr it did not see other text."""
    words = ["--source-lang", "a", "--target-lang", "b", "--vocab-size", "16", "--output", "out"]
    words += [word for split in ("tr", "val", "tes") for word in (f"--{split}", split)]
    assert refused("prepare_data.sh", *words, folder=tmp_path).endswith("error: --tr: write --train in full")


def test_prepare_chooses_its_data_bin_itself(tmp_path: Path) -> None:
    """The script made OUTPUT/data-bin and passed over the folder that the option names."""
    words = ["--source-lang", "a", "--target-lang", "b", "--vocab-size", "16", "--output", "out"]
    words += [word for split in ("train", "valid", "test") for word in (f"--{split}", split)]
    for option in (["--data-bin", "elsewhere"], ["--data-bin=elsewhere"]):
        message = refused("prepare_data.sh", *words, *option, folder=tmp_path)
        assert message.endswith("error: --data-bin: prepare_data.sh makes it in --output; leave it out")


def test_each_step_of_pruning_starts_from_its_pruned_model(tmp_path: Path) -> None:
    """The options of the student's training may name where it started: this took the place of the pruned model."""
    words = ["--model", "student.pt", "--data", "data", "--output", "out", "--sparsities", "0.4", "--", "--lr", "1"]
    for option in (["--finetune-from-model", "start.pt"], ["--finetune-from-model=start.pt"]):
        message = refused("prune_and_retrain.sh", *words, *option, folder=tmp_path)
        assert message.endswith("error: --finetune-from-model: each step starts from its pruned model; leave it out")


def test_a_sentencepiece_model_that_changed_is_refused(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for side in "ab":
            (tmp_path / f"{split}.{side}").write_text("".join(f"{side}{row} {side}{row % 7}\n" for row in range(90)))
    lines = [f"{side}{row} {side}{row % 7}" for side in "ab" for row in range(90)]
    (tmp_path / "spm.model").write_bytes(train_spm(lines, 16))
    words = ["--source-lang", "a", "--target-lang", "b", "--spm-model", "spm.model", "--output", "out"]
    words += [word for split in ("train", "valid", "test") for word in (f"--{split}", split)]
    for told in ("ready", "done before"):
        done = shell("prepare_data.sh", *words, folder=tmp_path)
        assert done.returncode == 0 and done.stderr.endswith(f"out/data-bin: {told}\n"), done.stderr
    (tmp_path / "spm.model").write_bytes(train_spm(lines, 18))
    assert "out was prepared with another model than spm.model" in refused("prepare_data.sh", *words, folder=tmp_path)


def test_a_file_system_without_locks(tmp_path: Path) -> None:
    """Some shared file systems of clusters have none; util-linux says so like this."""
    path = tmp_path / "bin" / "flock"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\necho "flock: $3: No locks available" >&2\nexit 71\n')
    path.chmod(0o755)
    places = f"{path.parent}:{environment()['PATH']}"
    done = shell("train.sh", "save", "data", folder=tmp_path, PATH=places)
    warning, error = done.stderr.splitlines()
    assert warning.endswith("so start nothing else in this folder meanwhile (No locks available)")
    assert error == "train.sh: error: data-bin data: no such folder"


def multi30k(folder: Path, *names: str, zipped: bool = False) -> Path:
    folder.mkdir()
    for name in names:
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(b"line\n" * 3))
        else:
            (folder / name).write_text("line\n" * 3)
    return folder


def test_multi30k_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    plain = multi30k(tmp_path / "plain", "train.en", "val.en", "test_2016_flickr.en")
    zipped = multi30k(tmp_path / "zipped", "train.en", zipped=True)
    broken = multi30k(tmp_path / "broken", "train.en", zipped=True)
    (broken / "train.en.gz").write_bytes(b"no gzip")
    empty = multi30k(tmp_path / "empty")
    for folder, told in (
        (plain, "train.en has 3 lines instead of 29000"),
        (zipped, "train.en has 3 lines instead of 29000"),
        (broken, f"{broken}/train.en.gz is no sound gzip file"),
        (empty, f"neither train.en.gz nor train.en in {empty}"),
        (tmp_path / "none", f"MULTI30K_DIR={tmp_path}/none is no folder"),
    ):
        line = refused("get_multi30k.sh", tmp_path / "out", folder=tmp_path, MULTI30K_DIR=str(folder))
        assert line.startswith("get_multi30k.sh: error: ") and told in line
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What setup.sh needs of the repository, where it can do no harm to the real .venv."""
    shutil.copytree(ROOT / "scripts", tmp_path / "clone" / "scripts")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / "clone")
    return tmp_path / "clone"


def fake_python(folder: Path, answer: str) -> str:
    """A command that answers the question for the version and fails at everything else."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncase $2 in *version_info*) {answer} ;; *) exit 1 ;; esac\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("echo 3.9", "is Python 3.9, but fairseq needs 3.10 to 3.13"),
        ("echo 3.14", "is Python 3.14, but"),
        ("exit 3", "does not run; name another with PYTHON="),
        ("echo 3.12", "cannot make .venv with"),
    ],
)
def test_setup_with_a_python_that_will_not_do(answer: str, told: str, clone: Path, tmp_path: Path) -> None:
    python = fake_python(tmp_path, answer)
    line = refused(clone / "scripts" / "setup.sh", folder=clone, PYTHON=python)
    assert line.startswith("setup.sh: error: ") and told in line and python in line
    assert not (clone / ".venv").exists()


FAKE_VENV_PYTHON = """#!/bin/bash
# Each pip call with constraints asks pip itself whether the installed torch meets them; nothing is installed.
if [[ "$1 $2" == "-m pip" ]]; then
  while (($#)) && [[ $1 != -c ]]; do shift; done
  (($#)) || exit 0
  exec env PYTHONPATH={fake} {python} -m pip install -qq --dry-run --no-index -c "$2" torch
elif [[ "$*" == *fairseq_kd* ]]; then
  exit 0
elif [[ "$*" == *version_info* ]]; then
  echo 3.12
  exit 0
fi
exec env PYTHONPATH={fake} {python} "$@"
"""


@pytest.mark.parametrize("metadata", ["2.13.0", "2.13.0+cu130"])
def test_setup_keeps_a_torch_whose_version_has_a_suffix(metadata: str, clone: Path, tmp_path: Path) -> None:
    """PyPI's Linux wheel says 2.13.0 in its metadata and 2.13.0+cu130 when it is imported."""
    information = tmp_path / "fake" / f"torch-{metadata}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {metadata}\n")
    (tmp_path / "fake" / "torch").mkdir()
    (tmp_path / "fake" / "torch" / "__init__.py").write_text('__version__ = "2.13.0+cu130"\n')
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_VENV_PYTHON.format(fake=tmp_path / "fake", python=sys.executable))
    python.chmod(0o755)
    done = shell(clone / "scripts" / "setup.sh", folder=clone, PYTHON=fake_python(tmp_path, "echo 3.12"))
    assert done.returncode == 0, done.stderr
    assert (clone / ".venv" / ".setup-done").exists()


def test_setup_with_another_python_than_that_of_its_environment(clone: Path, tmp_path: Path) -> None:
    """A finished .venv would be taken as it is, and the Python would not."""
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(fake_python(tmp_path, "echo 3.11"), python)
    shutil.copy(python, python.with_name("fairseq-kd"))
    stamp = "cat setup.py pyproject.toml scripts/setup.sh | cksum >.venv/.setup-done"
    subprocess.run(["bash", "-c", stamp], cwd=clone, check=True)
    line = refused(clone / "scripts" / "setup.sh", folder=clone, PYTHON=fake_python(tmp_path, "echo 3.12"))
    told = f".venv has Python 3.11, PYTHON={tmp_path}/python is 3.12; remove .venv to make it anew"
    assert line == f"setup.sh: error: {told}"


def test_setup_installs_nothing_into_the_environment_of_another_folder(clone: Path, tmp_path: Path) -> None:
    command = tmp_path / "other" / "bin" / "fairseq-kd"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (clone / ".venv").symlink_to(tmp_path / "other")
    done = shell(clone / "scripts" / "setup.sh", folder=clone, PYTHON="/no/such/python")
    assert (done.returncode, done.stderr) == (0, "") and list(command.parent.iterdir()) == [command]


def test_setup_without_a_python(clone: Path) -> None:
    line = refused(clone / "scripts" / "setup.sh", folder=clone, PYTHON="/no/such/python")
    assert line.startswith("setup.sh: error: no /no/such/python found; install Python 3.10 to 3.13")


def test_train_without_the_package(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys._base_executable)
    words = ["bash", str(clone / "scripts" / "train.sh"), "student", ".", "--arch", "transformer"]
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr == f"train.sh: error: fairseq_kd is not installed for {tmp_path}/bin/python; run scripts/setup.sh\n"
    )


def test_modules_in_the_working_folder_are_not_taken(tmp_path: Path) -> None:
    """A clone of fairseq, in which somebody works, is a folder with another ``fairseq``."""
    data = tmp_path / "data-bin"
    data.mkdir()
    for name in ("train.en-de.en.idx", "train.en-fr.en.idx", "dict.en.txt", "dict.de.txt", "dict.fr.txt"):
        (data / name).write_text("")
    for name in ("logging.py", "fairseq.py", "fairseq_kd.py"):
        (tmp_path / name).write_text(f"raise SystemExit('{name} of the working folder')")
    words = ["bash", str(ROOT / "scripts" / "train.sh"), "save", "data-bin", "--arch", "transformer"]
    own = environment(forked=False)
    done = subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "it holds the pairs en-de and en-fr" in done.stderr, done.stderr
    distil = str(ROOT / "scripts" / "generate_distilled_corpus.sh")
    words = ["bash", distil, "--model", "no.pt", "--data", "data-bin", "--output", "out"]
    done = subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert "of the working folder" not in done.stderr, done.stderr


def test_published_pictures_are_those_of_the_table(tmp_path: Path) -> None:
    made, results = tmp_path / "made", tmp_path / "results"
    for folder, names in ((made, ("table.md", "gate.png")), (results, ("gate.png", "pruning.png", "mine.png"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    publish = f'source "{ROOT}/scripts/common.sh"; publish "$@"'
    subprocess.run(["bash", "-c", publish, "publish", made, results], check=True)
    kept = {path.name: path.read_text() for path in results.iterdir()}
    assert kept == {"table.md": "made", "gate.png": "made", "mine.png": "results"}


def test_a_result_that_cannot_be_copied_is_one_line(tmp_path: Path) -> None:
    """The second of three files is too large for the limit of 1,024 bytes; the other two alone are no results."""
    made, results = tmp_path / "made", tmp_path / "results"
    made.mkdir()
    for name, size in (("table.json", 1), ("table.md", 3000), ("table.png", 1)):
        (made / name).write_text("x" * size)
    step = f"trap '' XFSZ; ulimit -f 1; set -euo pipefail; source {ROOT}/scripts/common.sh; publish {made} {results}"
    done = subprocess.run(["bash", "-c", step, "run.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == f"run.sh: error: {results}/table.md cannot be written, see above; run it again to go on"
    assert [path.name for path in results.iterdir()] == ["table.json"]
