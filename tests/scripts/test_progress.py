"""scripts/progress: what the terminal shows of a run of Snakemake."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_log import TrainingLog
from workflow_log import NAMES, Workflow, duration, fault

from tests.support.commands import ROOT, environment

SNAKEFILE = """
rule table:
    input: "done/word_kd.1"
    output: touch("done/table")
    shell: "echo drawn"

rule teacher:
    output: touch("done/teacher")
    shell: "mkdir -p teacher && bash {workflow.basedir}/training.sh >teacher/train.log"

rule student:
    input: "done/teacher"
    output: touch("done/{row}.{seed}")
    shell: "echo a line of a step; [[ ! -e fail ]] || {{ echo 'x.sh: error: failed: no memory' >&2; exit 1; }}"
"""
TRAINING = """
line() { echo "2026-11-26 10:00:00 | INFO | $1"; }
line "fairseq_cli.train | {'max_epoch': 3, 'max_update': 0, 'stop_time_hours': 0}"
for epoch in 1 2 3; do
  line "fairseq.trainer | begin training epoch $epoch"
  sleep 0.7
  line "train_inner | epoch 00$epoch:     50 / 100 loss=2.5, wps=45.1, num_updates=$((100 * epoch - 50)), wall=1"
  line "valid | epoch 00$epoch | valid on 'valid' subset | loss 2.5 | bleu $((10 + epoch)).5 | wps 4 | best_bleu 13.5"
done
"""
CONFIG = "rows: {word_kd: {name: Word-KD}}\nseeds: [1]\n"


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A run of three steps in a folder with a space in its name."""
    pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")
    for name, text in (("Snakefile", SNAKEFILE), ("training.sh", TRAINING), ("config.yaml", CONFIG)):
        (tmp_path / name).write_text(text)
    folder = tmp_path / "a run"
    folder.mkdir()
    words = ["snakemake", "--snakefile", tmp_path / "Snakefile", "--configfile", tmp_path / "config.yaml"]
    words += ["--directory", folder, "--cores", "1", "--rerun-incomplete"]
    return [sys.executable, str(ROOT / "scripts" / "progress"), str(folder), *map(str, words)]


def test_plain_lines_where_there_is_no_terminal(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    lines = [re.sub(r"\d+ s", "N s", line) for line in done.stderr.splitlines()]
    assert lines == [
        "step 1 of 3, teacher",
        "step 1 of 3, teacher: done in N s, best BLEU 13.5",
        "step 2 of 3, student Word-KD",
        "step 2 of 3, student Word-KD: done in N s",
        "step 3 of 3, table",
        "step 3 of 3, table: done in N s",
    ]
    log = (tmp_path / "a run" / "workflow.log").read_text()
    assert "a line of a step" in log and "3 of 3 steps (100%) done" in log


def test_a_failure_is_one_line_and_the_status(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "a run" / "fail").touch()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "student Word-KD: failed: no memory\n"
    assert done.stderr.splitlines()[-1] == "step 2 of 3, student Word-KD: failed"
    (tmp_path / "a run" / "fail").unlink()
    again = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0 and again.stderr.startswith("step 1 of 2, student Word-KD\n")


@pytest.mark.parametrize("script", ["exec bash -c 'kill -{} $$'", "bash -c 'kill -{} $$' || exit $?"])
@pytest.mark.parametrize(("number", "told"), [(9, "killed by SIGKILL; memory may be full"), (15, "killed by SIGTERM")])
def test_a_step_that_was_killed_names_the_signal(
    command: list[str], tmp_path: Path, script: str, number: int, told: str
) -> None:
    words = script.format(number)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("echo drawn", words))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, f"table: {told}\n")


def test_a_signal_without_a_name() -> None:
    """Linux keeps 32 and 33 for itself; a step may also end with this status by its own choice."""
    assert fault(["Command 'x' returned non-zero exit status 160."]) == "killed by signal 32"


def test_a_snakefile_that_is_wrong(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule table:\n    output: config['none']\n")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.startswith("KeyError") and "Snakefile" in done.stdout


def test_live_lines_on_a_terminal(command: list[str]) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(command, env={**environment(), "TERM": "xterm", "COLUMNS": "120"}, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
    assert running.wait() == 0
    text = shown.decode()
    assert re.search(r"step 1 of 3, teacher: epoch 2 of 3, BLEU 11\.5, \d+ s left", text)
    assert re.search(r"step 1 of 3, teacher: done in \d+ s, best BLEU 13\.5\r?\n", text)
    os.close(ours)


def test_the_lock_outlives_a_killed_display(command: list[str], tmp_path: Path) -> None:
    """Snakemake goes on where the display is killed; until it ends, no other run takes the folder."""
    lock = tmp_path / "lock"
    script = f'exec 9>"{lock}"; flock 9; "$@" & display=$!; exec 9>&-; sleep 2; kill -9 $display; wait $display'
    subprocess.run(["bash", "-c", script, "x", *command], env=environment(), capture_output=True)
    assert subprocess.run(["flock", "-n", lock, "true"]).returncode == 1
    assert subprocess.run(["flock", "-w", "60", lock, "true"]).returncode == 0


@pytest.fixture
def script(command: list[str], tmp_path: Path) -> Path:
    """A script like quickstart.sh, of the same workflow."""
    (tmp_path / "scripts").mkdir()
    for path in (tmp_path / "Snakefile", tmp_path / "training.sh", ROOT / "scripts" / "progress"):
        (tmp_path / "scripts" / path.name).symlink_to(path)
    lines = ["set -euo pipefail", f'source "{ROOT}/scripts/common.sh"', f'root="{tmp_path}"']
    lines += [
        f'hold "{tmp_path}/a run"',
        f'run_workflow "{tmp_path}/config.yaml" "{tmp_path}/a run" "" "$@"',
        "echo more",
    ]
    (tmp_path / "script.sh").write_text("\n".join(lines) + "\n")
    return tmp_path / "script.sh"


def test_a_plan_goes_to_the_terminal(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(["bash", script, "-np"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "This was a dry-run" in done.stdout and "more" not in done.stdout
    assert not (tmp_path / "a run" / "teacher").exists()


@pytest.mark.parametrize(
    "given, limited",
    [
        ("", True),
        ("--profile {cluster}", False),
        ("--workflow-profile {cluster}", False),
        ("-e slurm", False),
        # Without a cluster Snakemake wants --cores.
        ("--profile {local}", True),
        ("--profile {cluster} --executor local", True),
    ],
)
def test_the_processors_here_limit_no_job_of_a_cluster(given: str, limited: bool, tmp_path: Path) -> None:
    """Snakemake scales each job's threads down to --cores, also of jobs on nodes with more processors."""
    snakemake = tmp_path / "snakemake"
    snakemake.write_text('#!/bin/sh\necho "$@"\n')
    snakemake.chmod(0o755)
    (tmp_path / "config.yaml").write_text("retries: 1\n")
    words = given.format(cluster=ROOT / "scripts" / "profiles" / "slurm", local=tmp_path).split()
    script = f'source "{ROOT}/scripts/common.sh"; PATH="{tmp_path}:$PATH"; run_workflow x.yaml "{tmp_path}" "" "$@"'
    done = subprocess.run(["bash", "-c", script, "x", *words, "-n"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("--cores" in done.stdout.split()) == limited


@pytest.mark.parametrize(
    "number, alone",
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGHUP, False),
        (signal.SIGHUP, True),
        (signal.SIGUSR1, True),
    ],
)
def test_a_signal_is_one_line_and_the_status(script: Path, tmp_path: Path, number: int, alone: bool) -> None:
    """To all processes, as the terminal and a cluster send it, or to the script alone: nothing is left running."""
    (tmp_path / "training.sh").write_text("echo begun; sleep 60; echo done\n")
    running = subprocess.Popen(
        ["bash", script],
        env=environment(forked=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None and running.stderr.readline() == "step 1 of 3, teacher\n"
    log = tmp_path / "a run" / "teacher" / "train.log"
    while not log.exists() or not log.read_text():
        time.sleep(0.1)
    (os.kill if alone else os.killpg)(running.pid, number)
    begun = time.monotonic()
    out, err = running.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    assert (running.returncode, out) == (128 + number, "")
    name = signal.Signals(number).name
    assert err.splitlines()[-1].startswith(f"script.sh: stopped by {name} (all output: ")
    lock = tmp_path / "a run" / "lock"
    assert subprocess.run(["flock", "-n", lock, "true"]).returncode == 0  # the processes that held it have ended


def test_a_terminal_that_is_closed_is_a_signal(script: Path, tmp_path: Path) -> None:
    """Whatever is told then goes nowhere, and must not end in another status."""
    (tmp_path / "training.sh").write_text("echo begun; sleep 60; echo done\n")
    running, terminal = pty.fork()
    if not running:
        os.execvpe("bash", ["bash", str(script)], environment(forked=False))
    log = tmp_path / "a run" / "teacher" / "train.log"
    while not log.exists() or not log.read_text():
        os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(running, 0)[1]) == 128 + signal.SIGHUP
    assert subprocess.run(["flock", "-n", tmp_path / "a run" / "lock", "true"]).returncode == 0


def test_every_rule_has_a_name() -> None:
    scripts = ROOT / "scripts"
    text = "".join(path.read_text() for path in (scripts / "Snakefile", *scripts.glob("*.smk")))
    rules = re.findall(r"^ *rule (\w+):", text, re.MULTILINE)
    assert set(rules) == set(NAMES)


ON_A_CLUSTER = """
rule shard:
    output: done/distilled.{shard}-of-4
    jobid: {job}
    wildcards: made=distilled, scatteritem={shard}-of-4
    resources: tmpdir=<TBD>
Job {job} has been submitted with SLURM jobid 7{job} (log: {log}).
"""
FAILED = """
Error in rule shard:
    message: SLURM-job '7{job}' failed, SLURM status is: 'CANCELLED'. Detailed failure reason (…).For further …
    jobid: {job}
    output: done/distilled.{shard}-of-4
    log: {log} (check log file(s) for error details)
    shell:
        bash generate_distilled_corpus.sh
"""


def test_a_job_on_a_cluster_is_told_with_its_log(tmp_path: Path) -> None:
    """A job that is tried again keeps its number, and failed only if its last try did."""
    log = tmp_path / "1.log"
    workflow = Workflow(tmp_path, {})
    told: list[str] = []

    def read(text: str, shard: int, path: Path | str) -> None:
        for line in text.format(job=10 + shard, shard=shard, log=path).splitlines():
            told.extend(line for _, line in workflow.read(line))

    workflow.total = 4
    read(ON_A_CLUSTER, 1, log)
    read(ON_A_CLUSTER, 2, "none.log")
    read(FAILED, 1, log)
    read(ON_A_CLUSTER, 1, log)
    name = "of 4, shard {} of 4 of the teacher's translations"
    first, second = ("step 1 " + name.format(1), "step 2 " + name.format(2))
    assert told == [first, second, f"{first}: failed (log: {log})", first]
    assert not workflow.failures
    read(FAILED, 2, "none.log")
    names = [name.format(shard).removeprefix("of 4, ") for shard in (1, 2)]
    status = "SLURM-job '712' failed, SLURM status is: 'CANCELLED'"
    assert workflow.reason() == f"{names[1]} (log: none.log): {status}"
    log.write_text("Building DAG of jobs...\nslurmstepd: error: *** JOB 711 ON node CANCELLED AT 12:00 ***\n")
    read(FAILED, 1, log)
    also = f"; also failed: {names[0]} (log: {log})"
    assert workflow.reason() == f"{names[1]} (log: none.log): {status}{also}"
    del workflow.failures["12"]
    assert workflow.reason() == f"{names[0]} (log: {log}): *** JOB 711 ON node CANCELLED AT 12:00 ***"


@pytest.mark.parametrize(("seconds", "text"), [(9.4, "9 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.integration
def test_what_a_real_training_writes_is_read(tiny_corpus: Path, tmp_path: Path) -> None:
    """The log of scripts/train.sh, in a folder with spaces; of a training that was done before nothing is read."""
    log = TrainingLog(tmp_path / "my runs" / "student" / "train.log")
    assert (log.place(), log.seconds_left(), log.score(best=True)) == ("", None, "")
    words = "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16"
    words += " --optimizer adam --lr 0.01 --max-tokens 400 --max-epoch 2 --log-format simple --log-interval 5 --no-save"
    script = [ROOT / "scripts" / "train.sh", log.path.parent, tiny_corpus, "--task", "translation", *words.split()]
    subprocess.run(["bash", *map(str, script)], env=environment(), check=True, capture_output=True)
    log.read()
    assert re.fullmatch(r"epoch 2 of 2, loss [\d.]+", log.place())
    assert re.fullmatch(r"best loss [\d.]+", log.score(best=True))
    assert log.seconds_left() is None or log.seconds_left() >= 0
    later = TrainingLog(log.path, log.path.stat().st_size)
    later.read()
    assert later.place() == ""
