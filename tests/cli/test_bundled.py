"""The verbs that hand their work to a script of the package: run, train, distil-corpus, script."""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fairseq_kd import cli
from fairseq_kd.cli import bundled, decode, distil_corpus
from fairseq_kd.cli.script import SCRIPTS
from fairseq_kd.errors import UserError
from tests.support.commands import ROOT, environment, run_command
from tests.support.experiments import small_experiment
from tests.support.files import contents
from tests.support.scripts import shell

HAS_SNAKEMAKE = importlib.util.find_spec("snakemake") is not None
needs_snakemake = pytest.mark.skipif(not HAS_SNAKEMAKE, reason="Snakemake 9 is not here; it needs Python 3.11")
EXPERIMENT = small_experiment("mine", 1)


def refused(*words: str | Path) -> str:
    """The one line with which a verb ends in this process."""
    with pytest.raises(UserError) as caught:
        cli.main([str(word) for word in words])
    return str(caught.value)


def test_an_experiment_is_a_name_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (ROOT / "configs").rglob("*.yaml"):
        name = path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        assert bundled.find_config(name) == bundled.find_config(f"{name}.yaml") == path
    # Things of the user's that happen to have such a name
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "multi30k").touch()
    assert bundled.find_config("quickstart").parent == bundled.find_config("multi30k").parent == ROOT / "configs"
    for name in ("my own.yaml", "quickstart.yaml", "experiment"):
        (tmp_path / name).touch()
        assert bundled.find_config(name) == tmp_path / name
    line = refused("run", "quikstart")
    assert "quikstart: no such file" in line and " quickstart, " in line and "wei_2024/iwslt14_de_en, " in line


def test_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["run", "kim_rush_2016/iwslt15_th_en", "--show"])
    path = ROOT / "configs" / "kim_rush_2016" / "iwslt15_th_en.yaml"
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="Snakemake can be installed on this Python")
def test_run_says_where_snakemake_cannot_be_installed() -> None:
    assert "needs Python 3.11 or later" in refused("run")


@needs_snakemake
@pytest.mark.parametrize("name", ["snakemake", "rich", "bokeh"])
def test_run_names_the_extra_that_it_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert refused("run") == (
        f"fairseq_kd: error: fairseq-kd run needs {name}; install the extra: pip install 'fairseq-kd[workflow]'"
    )


def test_no_room_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        monkeypatch.setenv("TMPDIR", str(folder))
        line = refused("train", "save", "data")
        assert line.startswith(
            f"fairseq_kd: error: TMPDIR={folder}: temporary files cannot be written there; set TMPDIR"
        )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(bundled, "TEMPORARY", 1 << 60)
    assert " KB free, and temporary files need 1125899906842624 KB; set TMPDIR to a folder" in refused(
        "script", "get-wmt14"
    )


def test_every_script_has_a_verb() -> None:
    named = {"run", "train", "generate_distilled_corpus", *(name.replace("-", "_") for name in SCRIPTS)}
    of_a_clone = {"setup", "test", "quickstart", "study", "benchmark", "gpu_check", "host_matrix", "common", "raw_text"}
    assert {path.stem for path in (ROOT / "scripts").glob("*.sh")} == named | of_a_clone


def test_distil_corpus_takes_what_decode_takes() -> None:
    taken = []
    for verb in (decode, distil_corpus):
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        taken.append({name for action in parser._actions for name in action.option_strings})
    assert taken[0] - taken[1] == {"--subset"}
    script = (ROOT / "scripts" / "generate_distilled_corpus.sh").read_text()
    assert [name for name in taken[1] - taken[0] if f" {name} " not in script] == []


def verb(*words: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """A verb in ``folder``, where PATH does not lead to this Python's commands."""
    where = environment() | {"PATH": "/usr/bin:/bin"} | variables
    command = [sys.executable, "-m", "fairseq_kd.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True)


def test_train_is_the_script(tiny_corpus: Path, tmp_path: Path) -> None:
    words = ["my run", tiny_corpus, *EXPERIMENT["training"].split(), "--criterion", "fused_cross_entropy"]
    done = verb("train", "--verbose", *words, folder=tmp_path)
    assert done.returncode == 0 and "fairseq-kd train: my run: training, see my run/train.log" in done.stderr, (
        done.stderr
    )
    assert (tmp_path / "my run" / "done").exists()
    again = shell("train.sh", *words, folder=tmp_path)
    assert (again.returncode, again.stderr) == (0, "train.sh: my run: done before\n")
    wrong = verb("train", "my run", tiny_corpus, "--arch", "x", folder=tmp_path)
    assert wrong.returncode == 1 and wrong.stderr.startswith("fairseq-kd train: error: my run was trained with other")
    assert len(wrong.stderr.splitlines()) == 1


@pytest.mark.slow
def test_distil_corpus_is_the_script(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--beam", 2, "--max-len-b", 9, "--output"]
    done = verb("distil-corpus", *words, "a corpus", folder=tmp_path)
    assert done.returncode == 0 and "fairseq-kd distil-corpus: a corpus/data-bin: ready" in done.stderr, done.stderr
    assert shell("generate_distilled_corpus.sh", *words, "other", folder=tmp_path).returncode == 0
    made, other = (contents(tmp_path / folder / "data-bin") for folder in ("a corpus", "other"))
    assert made.keys() == other.keys() and made["train.src-tgt.tgt.bin"]
    assert made == other
    before = contents(tmp_path)
    again = shell("generate_distilled_corpus.sh", *words, "a corpus", folder=tmp_path)
    assert again.returncode == 0 and contents(tmp_path) == before


def test_script_gives_the_words_on(tmp_path: Path) -> None:
    manual = verb("script", "prune-and-retrain", "--help", folder=tmp_path)
    assert manual.returncode == 0 and "  fairseq-kd script prune-and-retrain --model CKPT" in manual.stdout
    words = ["--model", "none.pt", "--data", "d", "--output", "o", "--sparsities", "0.2", "--", "--arch", "x"]
    done = verb("script", "prune-and-retrain", *words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and "model none.pt: no such file" in done.stderr
    joined = verb("script", "join-databins", "out", "a", folder=tmp_path)
    assert joined.stderr.startswith("fairseq-kd script join-databins: error: give OUTPUT_DIR and two or more data-bins")


@needs_snakemake
def test_a_dry_run_trains_nothing(tmp_path: Path) -> None:
    done = verb("run", "quickstart", "--dry-run", folder=tmp_path)
    assert done.returncode == 0 and "This was a dry-run" in done.stdout and "--seed 1" not in done.stderr
    assert {path.name for path in (tmp_path / "runs" / "quickstart").iterdir()} == {"lock", ".snakemake"}
    done = verb("run", "quickstart", "--output", "there", "-nq", "rules", folder=tmp_path)
    assert done.returncode == 0 and (tmp_path / "there" / "runs" / "quickstart").is_dir()


@needs_snakemake
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: x\npoints: {1: {}}\n", "my own.yaml: line 1, axis: is missing; a study needs it"),
        ("title: x\n", "my own.yaml: line 1, languages: is missing"),
        ("a: [\n", "my own.yaml: is not YAML: while parsing"),
        ("- a\n", "my own.yaml: the whole file: a list is no mapping"),
    ],
)
def test_a_file_that_is_no_experiment(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "my own.yaml").write_text(text)
    done = verb("run", "my own.yaml", folder=tmp_path)
    first, last = done.stderr.splitlines()
    assert done.returncode == 1 and told in first
    assert last == f"fairseq-kd run: error: {tmp_path}/my own.yaml cannot be read, see above"
    assert [path.name for path in tmp_path.iterdir()] == ["my own.yaml"]


@pytest.mark.slow
def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    slow = EXPERIMENT | {"raw": "echo begun >&2; sleep 60"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(slow))
    running = subprocess.Popen(
        [sys.executable, "-m", "fairseq_kd.cli", "run", "mine.yaml"],
        cwd=tmp_path,
        env=environment(forked=False) | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None and running.stderr.readline() == "step 1 of 9, raw text\n"
    os.killpg(running.pid, signal.SIGINT)  # to all processes, as the terminal does
    out, err = running.communicate(timeout=55)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("fairseq-kd run: stopped by SIGINT (all output: ")


@pytest.mark.slow
def test_run_in_a_folder_of_the_users(tmp_path: Path) -> None:
    """A space in its name, no home that can be written, an ASCII locale, and a start from the middle."""
    folder = tmp_path / "my work"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    home = {"HOME": f"{os.devnull}/home", "LANG": "C", "LC_ALL": "C", "XDG_CACHE_HOME": "", "FAIRSEQ_KD_CACHE": ""}
    done = verb("run", "mine.yaml", folder=folder, **home)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    cache = f"{folder}/runs/mine/cache"
    assert lines[0] == f"fairseq-kd run: {os.devnull}/home/.cache cannot be written; the cache is {cache}"
    assert f"fairseq-kd run: wrote {folder}/results/mine/table.md, " in lines[-2]
    assert f"fairseq-kd run: open {folder}/results/mine/report.html in a browser" in lines[-1]
    assert "| Seq-KD | " in done.stdout and {path.name for path in folder.iterdir()} == {"mine.yaml", "runs", "results"}
    made = {path.name for path in (folder / "results" / "mine").iterdir()}
    assert {"table.md", "table.json", "table.png", "report.html"} <= made
    again = run_command("fairseq-kd", "run", "mine.yaml", "--dry-run", cwd=folder)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_user_whom_the_system_does_not_list(tmp_path: Path) -> None:
    """In a container, for example: Python's libraries then need a name and a home from the environment."""
    script = f'source "{ROOT}/scripts/common.sh"; echo "$USER $HOME"; [[ -d $HOME ]]'
    (tmp_path / "getent").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "getent").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    for given, home in (({}, f"{tmp_path}/fairseq-kd-{os.getuid()}"), ({"HOME": "/"}, "/")):
        done = subprocess.run(["bash", "-c", script], env={**variables, **given}, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{os.getuid()} {home}\n"), done.stderr
