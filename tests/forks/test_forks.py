"""The commands that the tests fork: as the real ones, and the work ends with the command's process."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.commands import BIN, environment

PROGRAM = "import sys\n\nprint(sys.argv, __name__)\nraise SystemExit(1)\n"
CASES = {
    "a command": ([str(BIN / "fairseq-kd"), "merge", "none"], "", "fairseq_kd: error: none"),
    "a module": (["python", "-m", "fairseq_kd.benchmark.gpu", "--output"], "", "gpu_check: error: argument --output"),
    "standard input": (["python", "-", "one", "two"], PROGRAM, "['-', 'one', 'two'] __main__"),
}


@pytest.mark.parametrize(("command", "given", "told"), CASES.values(), ids=CASES)
def test_a_forked_command_answers_as_the_real_one(command: list[str], given: str, told: str, tmp_path: Path) -> None:
    shared = {"cwd": tmp_path, "input": given, "capture_output": True, "text": True}
    forked, real = (subprocess.run(command, env=environment(forked=forked), **shared) for forked in (True, False))
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)
    assert forked.returncode and told in forked.stdout + forked.stderr


def test_a_command_that_starts_as_a_module_gets_its_own_words(tmp_path: Path) -> None:
    """A step of the workflow starts ``python -m snakemake`` in its job."""
    pytest.importorskip("snakemake")
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'touch made'\n")
    done = subprocess.run(["python", "-m", "snakemake", "--cores", "1"], cwd=tmp_path, env=environment(), text=True)
    assert done.returncode == 0 and (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "words", [("-m", "fairseq_kd.corpus.preparation.binarise"), ("-m", "fairseq_kd.corpus.distilled.databin"), ("-",)]
)
def test_what_scripts_start_is_forked(words: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The process that starts has imported neither fairseq nor the module: it only waits for the other."""
    if request.config.getoption("--no-fork"):
        pytest.skip("--no-fork: nothing is forked")
    program = "import sys\n\nraise SystemExit('fairseq' not in sys.modules)\n"
    module = tmp_path.joinpath(*words[-1].split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(program)
    (tmp_path / "fairseq_kd").mkdir(exist_ok=True)
    (tmp_path / "fairseq_kd" / "__init__.py").touch()
    done = subprocess.run(["python", *words], cwd=tmp_path, env=environment(), input=program, text=True)
    assert done.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "terminate"])
def test_the_work_ends_with_the_process(number: signal.Signals, tmp_path: Path) -> None:
    words = ["synthetic", "--output", "text", "--test", "2", "--valid", "2", "--train", "3000000"]
    command = [str(BIN / "fairseq-kd"), *words]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE)
    while running.poll() is None and not (tmp_path / "text" / "valid.tgt").exists():
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait() == -number
    # The end of the pipe: whatever held its other side is gone.
    assert running.communicate(timeout=30)[0] == b""
    assert not (tmp_path / "text" / "synthetic.json").exists()
