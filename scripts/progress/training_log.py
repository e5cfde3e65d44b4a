"""Where a running training is, as the train.log of scripts/train.sh tells."""

import re
import time
from pathlib import Path

LIMITS = re.compile(r"'max_epoch': (\d+), 'max_update': (\d+)")
EPOCH = re.compile(r"begin training epoch (\d+)")
BATCH = re.compile(r"train_inner \| epoch (\d+): +(\d+) / (\d+) .*num_updates=(\d+)")
VALID = re.compile(r"valid \| epoch \d+ \| valid on '\S+' subset \| (.*)")
SURE = 0.02
"""Before this share of a training is over, the time left is not told."""


class TrainingLog:
    """Reads what a training writes behind ``offset`` bytes, which an earlier run wrote."""

    def __init__(self, path: Path, offset: int = 0):
        self.path = path
        self.offset = offset
        self.max_epoch = self.max_update = self.epoch = 0
        self.metrics: dict[str, str] = {}
        self.points: list[tuple[float, float]] = []
        """The first and the last (seconds, share of the training that is over)."""

    def read(self) -> None:
        """Take in the lines that have been completed since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as handle:
            handle.seek(self.offset)
            new = handle.read()
        new = new[: new.rfind(b"\n") + 1]
        self.offset += len(new)
        for line in new.decode(errors="replace").splitlines():
            self._take(line)

    def _take(self, line: str) -> None:
        if found := LIMITS.search(line):
            self.max_epoch, self.max_update = map(int, found.groups())
        elif found := EPOCH.search(line):
            self.epoch = int(found[1])
            self._reached(self.epoch - 1, 0)
        elif found := BATCH.search(line):
            self.epoch, batch, batches, updates = map(int, found.groups())
            self._reached(self.epoch - 1 + batch / batches, updates)
        elif found := VALID.search(line):
            self.metrics = dict(part.strip().split(" ", 1) for part in found[1].split("|") if " " in part.strip())

    def _reached(self, epochs: float, updates: int) -> None:
        shares = [epochs / self.max_epoch if self.max_epoch else 0, updates / self.max_update if self.max_update else 0]
        self.points = [*self.points[:1], (time.monotonic(), min(max(shares), 1))]

    def score(self, *, best: bool = False) -> str:
        """BLEU of the latest or the best validation, or its loss where there is no BLEU; "" before the first one."""
        prefix, word = ("best_", "best ") if best else ("", "")
        for metric, name in (("bleu", "BLEU"), ("loss", "loss")):
            if prefix + metric in self.metrics:
                return f"{word}{name} {self.metrics[prefix + metric]}"
        return self.score() if best else ""

    def place(self) -> str:
        """For instance "epoch 3 of 6, BLEU 15.6"; "" before the first epoch."""
        if not self.epoch:
            return ""
        of = f" of {self.max_epoch}" if self.max_epoch else ""
        return ", ".join(filter(None, [f"epoch {self.epoch}{of}", self.score()]))

    def seconds_left(self) -> float | None:
        """By the speed since the first line that was read, or None where that is too soon to tell."""
        if len(self.points) < 2:
            return None
        (began, first), (last, share) = self.points
        if share - first < SURE:
            return None
        return max((1 - share) * (last - began) / (share - first) - (time.monotonic() - last), 0)
