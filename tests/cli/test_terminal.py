"""What `fairseq-kd` shows and how much it imports before it answers."""

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

from fairseq_kd import cli
from fairseq_kd.cli.command_line import HANDS_ON
from fairseq_kd.cli.messages import on_terminal
from tests.support.commands import BIN, environment

HEAVY = ("torch", "fairseq", "matplotlib", "ctranslate2", "sacrebleu", "scipy", "sentencepiece", "bokeh", "numpy")
ANSWER = """
import contextlib, io, json, os, sys
from fairseq_kd.cli import main

def answer(calls):
    found, statuses = {}, []
    for words in calls:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                main(words)
        except SystemExit as end:
            statuses.append(end.code)
        found[" ".join(words)] = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    print(json.dumps([found, statuses, len(sys.modules)]), flush=True)

for calls in json.loads(sys.argv[1]):
    if os.fork() == 0:
        answer(calls)
        os._exit(0)
    os.wait()
"""


class Answers(NamedTuple):
    """To calls in one process: the heavy modules that are there after each, exit statuses, how many modules at last."""

    found: dict[str, list[str]]
    statuses: list[int | None]
    count: int


def answers(*processes: list[list[str]]) -> list[Answers]:
    """What each process answers to its calls; the processes are forked from one that has imported the command line."""
    command = [sys.executable, "-c", ANSWER, json.dumps(processes), json.dumps(HEAVY)]
    done = subprocess.run(command, env=environment(forked=False), capture_output=True, text=True, check=True)
    return [Answers(*json.loads(line)) for line in done.stdout.splitlines()]


def test_help_and_mistakes_import_next_to_nothing() -> None:
    (one,) = answers([["--help"], ["--version"], ["no-such-verb"], [], ["--no-such-option"]])
    assert not any(one.found.values()) and one.count < 250


@pytest.fixture(scope="module")
def of_verbs() -> dict[str, Answers]:
    """Each verb's answers to --help and to a mistyped option."""
    # A verb that hands unknown options on would run with one.
    calls = [[[verb, "--help"], *([] if verb in HANDS_ON else [[verb, "--no-such-option"]])] for verb in cli.VERBS]
    return dict(zip(cli.VERBS, answers(*calls), strict=True))


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_options_of_a_verb_need_no_heavy_module(verb: str, of_verbs: dict[str, Answers]) -> None:
    found, statuses, count = of_verbs[verb]
    assert not any(found.values()), found
    assert statuses == ([0] if verb in HANDS_ON else [0, 2]) and count < 700


def test_the_version_names_what_it_works_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert not ended.value.code
    assert re.fullmatch(r"fairseq-kd \S+ \(python 3\.\S+, fairseq\S* \S+, torch \S+, .*\)\n", capsys.readouterr().out)


def decode(corpus: Path, teacher: Path, output: Path, *, before: list[str], after: list[str]) -> list[str]:
    """The lines that a decode writes to standard error; the process imports fairseq itself."""
    words = ["--model", str(teacher), "--data", str(corpus), "--subset", "valid", "--output", str(output)]
    command = [str(BIN / "fairseq-kd"), *before, "decode", *words, "--max-len-b", "20", *after]
    done = subprocess.run(command, env=environment(forked=False), capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.integration
def test_sentences_for_people(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").symlink_to(tiny_teacher)  # without its dictionaries, which earns a warning
    data = tmp_path / "data"
    data.symlink_to(tiny_corpus)
    lines = decode(data, tmp_path / "teacher.pt", tmp_path / "out", before=[], after=[])
    assert lines[-1] == f"{tmp_path}/out: wrote valid.src, valid.tgt (40 rows) and signature.json"
    for line in lines:
        assert not re.search(r"INFO|WARNING|DEBUG|Warning|fairseq_kd\.|^  ", line), line


@pytest.mark.integration
@pytest.mark.parametrize("module", ["preparation.binarise", "distilled.databin"])
def test_modules_of_the_scripts_say_nothing_of_what_fairseq_could_use(module: str) -> None:
    """fairseq advises everybody at its import to install tensorboardX, for a task of its own."""
    show = f"import fairseq_kd.corpus.{module}; from fairseq.logging import progress_bar as bars; "
    show += "bars.SummaryWriter = None; bars.TensorboardProgressBarWrapper([], 'logs')"
    command = [sys.executable, "-c", show]
    done = subprocess.run(command, env=environment(forked=False), capture_output=True, text=True, check=True)
    # What a training with --tensorboard-logdir is told stays.
    (line,) = done.stderr.splitlines()
    assert "tensorboard not found, please install with: pip install tensorboard" in line


@pytest.mark.integration
@pytest.mark.parametrize(
    ("before", "after"),
    [(["--verbose"], []), pytest.param([], ["--verbose"], marks=pytest.mark.slow)],
    ids=["before", "after"],
)
def test_verbose_keeps_all(
    before: list[str], after: list[str], tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    text = "\n".join(decode(tiny_corpus, tiny_teacher, tmp_path / "out", before=before, after=after))
    assert re.search(r"^[\d:]+ INFO fairseq\.", text, re.MULTILINE)
    assert re.search(r"^[\d:]+ INFO fairseq_kd\.corpus", text, re.MULTILINE)


def test_the_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    """Who calls main from Python keeps the logging that he has set up."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), list(warnings.filters))
    with pytest.raises(SystemExit):
        cli.main(["merge", str(tmp_path)])
    assert (root.level, list(root.handlers), list(warnings.filters)) == before


class Broken(io.StringIO):
    """Standard error in `fairseq-kd decode … 2>&1 | head -n 1`, once head has ended."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_broken_standard_error_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_terminal(verbose=False):
        monkeypatch.setattr(sys, "stderr", Broken())
        logging.getLogger("fairseq_kd.corpus").info("a line")
