"""The steps of a run, as Snakemake's log tells of them."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from training_log import TrainingLog

from fairseq_kd.errors import UserError
from fairseq_kd.report.result_files import read_evaluated

NAMES = {
    "raw": "raw text",
    "data": "subwords and data-bin",
    "teacher": "teacher",
    "shard": "shard {scatteritem} of {made}",
    "teacher_data": "subwords of the teacher",
    "text": "further text {text}",
    "distilled": "the teacher's translations",
    "samples": "the teacher's samples",
    "seq_inter": "the teacher's translations closest to gold",
    "corpus": "the teacher's translations, {corpus}",
    "joined": "{joined} together",
    "gold_distilled": "gold and distilled text together",
    "cache": "soft targets of {data}",
    "init": "first weights of {row}",
    "student": "student {row}",
    "pruning": "pruning",
    "score_teacher": "scores of the teacher",
    "score_student": "scores of {row}",
    "score_variant": "scores of {run}, {variant}",
    "shortlist": "lexical shortlist",
    "score_pruned": "scores at sparsity {sparsity}",
    "risks_teacher": "risks of the teacher",
    "risks_student": "risks of {row}",
    "diagnosis": "diagnosis",
    "table": "table",
    "report": "report",
}
"""What the terminal calls the jobs of a rule."""
FAULT = re.compile(r"^[\w.-]+: error: (.+)")
EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception)\b.*")
KILLED = re.compile(r"(?:died with <Signals\.\w+: (\d+)>|returned non-zero exit status (1(?:29|[3-5]\d|6[0-4])))\.$")
"""How Snakemake tells of a step that a signal ended. A shell's status is then 128 and the signal's number."""


STARTED = re.compile(r"(?:local)?(rule|Error in rule) (\w+):$")


@dataclass
class Failure:
    """A job that ended badly and was not tried again."""

    name: str
    log: str
    """The job's own log on a cluster, or nothing."""
    message: str
    """What Snakemake says about it."""

    def lines(self) -> list[str]:
        """What the job has put out, as far as its own log has it."""
        with suppress(OSError):
            return Path(self.log).read_text(encoding="utf-8", errors="replace").splitlines() if self.log else []
        return []

    def __str__(self) -> str:
        return f"{self.name} (log: {self.log})" if self.log else self.name


@dataclass
class Step:
    """A job that Snakemake has started."""

    number: int
    rule: str
    wildcards: dict[str, str]
    name: str
    training: TrainingLog | None
    started: float = field(default_factory=time.monotonic)

    def state(self) -> str:
        """Where the step is, and how long it takes or will take."""
        left = None
        place = ""
        if self.training:
            self.training.read()
            place, left = self.training.place(), self.training.seconds_left()
        spent = duration(time.monotonic() - self.started)
        return ", ".join(filter(None, [place, spent if left is None else f"{duration(left)} left"]))


def duration(seconds: float) -> str:
    """In the two largest units: "1 h 5 min", "2 min 10 s", "9 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Workflow:
    """The steps of a run, as Snakemake's log tells of them."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder = folder
        self.config = config
        self.total = 0
        self.running: dict[str, Step] = {}
        self.failures: dict[str, Failure] = {}
        """By Snakemake's number of the job."""
        self.lines: list[str] = []
        """What Snakemake and the steps have put out."""
        self._numbers: dict[str, int] = {}
        self._block: dict[str, str] | None = None
        logs = [folder / "teacher" / "train.log", *folder.glob("students/*/train.log")]
        self._earlier = {path: path.stat().st_size for path in logs if path.exists()}
        """Bytes that earlier runs wrote; make this object before Snakemake starts."""

    def read(self, line: str) -> Iterator[tuple[bool, str]]:
        """Take in a line; yields, for a step that starts or ends, whether it has ended and a line about it."""
        self.lines.append(line)
        if found := STARTED.match(line):
            self._block = {"kind": found[1], "rule": found[2]}
        elif self._block is not None and (found := re.match(r" {4}(\w+):(?: (.*))?$", line)):
            self._block[found[1]] = found[2] or ""
            # The last that counts of either kind of block
            if found[1] == "resources" and self._block["kind"] == "rule":
                yield False, self._start(self._block)
            elif found[1] == "shell" and self._block["kind"] != "rule":
                yield from self._fail(self._block)
        elif found := re.match(r"Finished jobid: (\d+) ", line):
            if found[1] in self.running:
                yield True, self._end(self.running.pop(found[1]))
        elif (found := re.match(r"total +(\d+)$", line)) and not self.total:
            self.total = int(found[1])

    def _start(self, block: dict[str, str]) -> str:
        wildcards = dict(pair.split("=", 1) for pair in block.get("wildcards", "").split(", ") if "=" in pair)
        rule, job = block["rule"], block.get("jobid", "")
        # A job that is tried again keeps its number.
        number = self._numbers.setdefault(job, len(self._numbers) + 1)
        step = Step(number, rule, wildcards, self.name(rule, wildcards), self._training(rule, wildcards))
        self.running[job] = step
        self.failures.pop(job, None)
        self._block = None
        return self.title(step)

    def _fail(self, block: dict[str, str]) -> Iterator[tuple[bool, str]]:
        self._block = None
        job = block.get("jobid", "")
        step = self.running.pop(job, None)
        if step is None:  # told before
            return
        log = re.sub(r" \(check .*", "", block.get("log", ""))
        message = re.sub(r"\.? *(Detailed failure reason|For further error details).*", "", block.get("message", ""))
        message = "" if message == "None" else message  # as Snakemake writes of a job that failed here
        self.failures[job] = Failure(step.name, log, message)
        yield True, f"{self.title(step)}: failed" + (f" (log: {log})" if log else "")

    def name(self, rule: str, wildcards: dict[str, str]) -> str:
        """What the terminal calls a job: a row by its name in the table."""
        shown = dict(wildcards)
        if "row" in shown:
            shown["row"] = self.config.get("rows", {}).get(shown["row"], {}).get("name", shown["row"])
        if "scatteritem" in shown:
            shown["scatteritem"] = shown["scatteritem"].replace("-", " ")
            shown["made"] = NAMES.get(shown["made"], shown["made"])
        several = len(self.config.get("seeds", [])) > 1 and "seed" in wildcards
        return NAMES.get(rule, rule).format_map(shown) + (f", seed {wildcards['seed']}" if several else "")

    def _training(self, rule: str, wildcards: dict[str, str]) -> TrainingLog | None:
        places = {"teacher": "teacher", "student": "students/{row}.{seed}"}
        if rule not in places:
            return None
        path = self.folder / places[rule].format_map(wildcards) / "train.log"
        return TrainingLog(path, self._earlier.get(path, 0))

    def _end(self, step: Step) -> str:
        if step.training:
            step.training.read()
            figures = step.training.score(best=True)
        else:
            figures = self._scores(step)
        spent = f"done in {duration(time.monotonic() - step.started)}"
        return f"{self.title(step)}: " + ", ".join(filter(None, [spent, figures]))

    def _scores(self, step: Step) -> str:
        """BLEU for each beam, where the step was a scoring."""
        if not step.rule.startswith("score_"):
            return ""
        run = {"score_teacher": "teacher", "score_student": "{row}.{seed}", "score_pruned": "pruned.{sparsity}"}
        run["score_variant"] = "{run}.{variant}"
        path = self.folder / "scores" / f"{run[step.rule].format_map(step.wildcards)}.json"
        with suppress(UserError):
            beams = read_evaluated(path)["beams"]
            return ", ".join(f"BLEU {beam['bleu']['score']:.2f} with beam {size}" for size, beam in beams.items())
        return ""

    def title(self, step: Step) -> str:
        """For instance "step 5 of 14, student Word-KD"."""
        return f"step {step.number} of {self.total}, {step.name}"

    def reason(self) -> str:
        """Why the run failed: the steps that failed, and the first error that they, else Python or Snakemake, told."""
        if not self.failures:
            return fault(self.lines) or "snakemake failed"
        first, *others = self.failures.values()
        told = fault(first.lines()) or first.message or fault(self.lines)
        return "; also failed: ".join([f"{first}: {told}", ", ".join(map(str, others))][: 1 + bool(others)])


def fault(lines: list[str]) -> str:
    """The first line in which a command tells an error, or else Python; the last line where there is none."""
    lines = [line.strip() for line in lines]
    for line in lines:
        if found := FAULT.match(line):
            return found[1]
    for line in lines:
        if found := KILLED.search(line):
            number = int(found[1] or int(found[2]) - 128)
            name = {one.value: one.name for one in signal.Signals}.get(number, f"signal {number}")
            return f"killed by {name}" + ("; memory may be full" if number == signal.SIGKILL else "")
    for line, following in pairwise([*lines, ""]):
        if EXCEPTION.match(line) and not line.startswith("RuleException"):
            return f"{line} {following}".strip() if line.endswith(":") else line
    return next((line for line in reversed(lines) if line), "")
