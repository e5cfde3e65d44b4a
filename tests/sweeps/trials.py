"""The ways in which a stage is disturbed. Each returns what went wrong, in words; None where nothing did."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import environment
from tests.support.kills import at_work
from tests.sweeps.answers import Answer, answer, differences, stable_entries
from tests.sweeps.stages import Material, Stage

LIMIT = 240
"""Seconds after which a run counts as hanging."""
AT_ONCE = 10
"""Seconds that a run may take to end after SIGTERM or SIGINT."""
STARTED, IMPORTS = 0.5, 5
"""Seconds after which Python has started, and that a command then takes to import what it needs."""
Done = subprocess.CompletedProcess


@dataclass(frozen=True)
class Unbroken:
    """What a stage gives undisturbed.

    Attributes:
        answer: of the first run.
        stable: the entries that the second run has too.
        seconds: of the second run.
        operations: how many operations on files its processes did.
        size: bytes of its output.
    """

    answer: Answer
    stable: set[str]
    seconds: float
    operations: int
    size: int


class Trials:
    """One stage, disturbed again and again in folders under ``work``."""

    def __init__(self, stage: Stage, given: Material, work: Path, seed: int = 1):
        self.stage, self.given, self.work = stage, given, work
        self.draw = random.Random(f"{stage.name} {seed}")
        self.folder = work / "stage"
        self.log = work / "operations"

    def unbroken(self) -> Unbroken:
        """Run the stage twice. AssertionError: it fails even so."""
        answers = []
        for _ in range(2):
            self._fresh()
            started = time.monotonic()
            done = self._run()
            seconds = time.monotonic() - started
            assert done.returncode == 0, f"{self.stage.name} fails undisturbed:\n{done.stderr}"
            answers.append(answer(self.folder))
        self.expected = Unbroken(
            answers[0],
            stable_entries(*answers),
            seconds,
            self.log.stat().st_size if self.log.exists() else 0,
            _room(self.folder),
        )
        return self.expected

    def killed_in_time(self) -> str | None:
        """SIGKILL to all processes at a random moment, then the same command again."""
        self._fresh()
        running = self._start()
        time.sleep(self.draw.random() * self.expected.seconds)
        self._end(running, signal.SIGKILL)
        return self._again("killed")

    def killed_between_operations(self) -> str | None:
        """SIGKILL to the process that does a random one of the operations on files, then the same command again."""
        self._fresh()
        at = self.draw.randint(1, max(1, self.expected.operations))
        running = self._start(kill=at)
        self._wait(running)
        self._gone(running)
        return self._again(f"killed at operation {at}")

    def stopped(self) -> str | None:
        """SIGTERM or SIGINT at a random moment: an end within seconds, by its signal, and the same command again."""
        number = self.draw.choice([signal.SIGTERM, signal.SIGINT])
        self._fresh()
        # As users start it: a forked command's own process only passes signals on.
        running = self._start(forked=False)
        # Not in Python's own start, which answers SIGINT with a traceback.
        time.sleep(STARTED + self.draw.random() * (IMPORTS + self.expected.seconds))
        started = time.monotonic()
        done = self._end(running, number)
        if time.monotonic() - started > AT_ONCE:
            return f"{number.name}: ended after more than {AT_ONCE} s"
        if done.returncode not in (0, -number, 128 + number):
            return f"{number.name}: status {done.returncode}: {_last(done)}"
        if "Traceback" in done.stderr:
            return f"{number.name}: a traceback: {_last(done)}"
        return self._again(number.name)

    def disk_full(self) -> str | None:
        """An output folder with too little room: one line; then the same command with room."""
        self._fresh()
        needed = _room(self.folder)
        room = needed + max(4096, int((self.expected.size - needed) * self.draw.uniform(0.05, 0.9)))
        kept = self.work / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.folder, kept)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", self.folder], check=True)
        try:
            shutil.copytree(kept, self.folder, dirs_exist_ok=True)
            done = self._run()
            problem = _one_line(done) if done.returncode else None
            subprocess.run(["mount", "-o", "remount,size=512m", self.folder], check=True)
            return f"room for {room} bytes: {problem}" if problem else self._again(f"room for {room} bytes")
        finally:
            subprocess.run(["umount", "-l", self.folder], check=True)

    def two_at_once(self) -> str | None:
        """The same command twice at once: each gives the answer or refuses in one line, and one gives it."""
        self._fresh()
        both = [self._start() for _ in range(2)]
        ended = [self._wait(one) for one in both]
        if all(done.returncode for done in ended):
            return f"both refuse: {_last(ended[0])} | {_last(ended[1])}"
        for done in ended:
            if done.returncode and (problem := _one_line(done)):
                return problem
        return self._compare("two at once") or self._again("two at once")

    def obstructed(self) -> str | None:
        """A file or a dangling link where the output should be, or a read-only file system: one line."""
        self._fresh()
        kind = self.draw.choice(["file", "link", "read-only"])
        target = self.folder / "out"
        if any(self.folder.iterdir()):
            return None  # the stage works in place
        if kind == "file":
            target.write_text("someone's\n")
        elif kind == "link":
            target.symlink_to(self.folder / "none" / "there")
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", self.folder]
        if kind == "read-only":
            subprocess.run(mount, check=True)
        try:
            done = self._run()
        finally:
            if kind == "read-only":
                subprocess.run(["umount", "-l", self.folder], check=True)
        if done.returncode == 0:
            return f"{kind}: exit 0" if kind == "read-only" else None
        problem = _one_line(done)
        if kind == "file" and target.read_text() != "someone's\n":
            problem = "the file was overwritten"
        return f"{kind}: {problem}" if problem else None

    def _fresh(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.log.unlink(missing_ok=True)
        self.stage.before(self.given, self.folder)

    def _start(self, kill: int = 0, forked: bool = True) -> subprocess.Popen:
        watched = {"SWEEP_HOOK": "tests.sweeps.hook", "SWEEP_LOG": str(self.log), "SWEEP_KILL": str(kill)}
        command = self.stage.command(self.given, self.folder)
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment(forked=forked) | watched, start_new_session=True, **pipes)

    def _run(self, kill: int = 0) -> Done:
        return self._wait(self._start(kill))

    def _wait(self, running: subprocess.Popen) -> Done:
        try:
            _, stderr = running.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            _, stderr = running.communicate()
            stderr += f"\nhung for {LIMIT} s: Traceback"
        return Done(running.args, running.returncode, "", stderr)

    def _end(self, running: subprocess.Popen, number: signal.Signals) -> Done:
        """Send a signal to all processes of the run, and wait until none is left."""
        if running.poll() is None:
            os.killpg(running.pid, number)
        done = self._wait(running)
        self._gone(running)
        return done

    def _gone(self, running: subprocess.Popen) -> None:
        """Wait until no process of the run is left: a forked command may end a moment after its waiting parent."""
        deadline = time.monotonic() + AT_ONCE
        while at_work(running.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _again(self, what: str) -> str | None:
        self.log.unlink(missing_ok=True)
        done = self._run()
        if done.returncode:
            return f"{what}, then again: status {done.returncode}: {_last(done)}"
        return self._compare(what)

    def _compare(self, what: str) -> str | None:
        found = differences(self.expected.answer, answer(self.folder), self.expected.stable)
        return f"{what}: {len(found)} entries differ: {', '.join(found[:4])}" if found else None


KINDS: dict[str, Callable[[Trials], str | None]] = {
    "killed at a random moment": Trials.killed_in_time,
    "killed between two file operations": Trials.killed_between_operations,
    "SIGTERM or SIGINT": Trials.stopped,
    "full disk": Trials.disk_full,
    "two at once": Trials.two_at_once,
    "output obstructed": Trials.obstructed,
}


def _room(folder: Path) -> int:
    """Bytes that a folder takes on a file system of pages of 4 KiB."""
    return sum(4096 * (1 + path.stat().st_size // 4096) for path in (folder, *folder.rglob("*")))


def _one_line(done: Done) -> str | None:
    """What is wrong with how a run failed: a traceback, or no word; log lines may come before the last line."""
    if "Traceback" in done.stderr:
        return f"a traceback: {_last(done)}"
    return None if ": error: " in _last(done) or done.returncode < 0 else f"no error line: {_last(done)}"


def _last(done: Done) -> str:
    return (done.stderr.strip().splitlines() or [""])[-1][:300]
