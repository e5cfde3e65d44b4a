"""Memory and speed of everything around a model, over many lines.

`python -m tests.support.text_flood LINES[xWORDS] FOLDER [VERB…]` prints a row of a table for each verb: prepare,
decode, merge, select, filter, cache, translate. Each works on what the one before it left in FOLDER. A fake model
answers each line with the line in capitals, a fake teacher each token with the same symbols. The last two columns are
the memory of the largest process: its own, looked at 20 times a second, and with the pages of mapped files, which the
system takes back when it needs them.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

from fairseq_kd.corpus import cache
from fairseq_kd.corpus.distilled import decode_text
from fairseq_kd.corpus.distilled.translate import translate_stream
from fairseq_kd.decoding.interface import Progress
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.text import TextHypothesis
from fairseq_kd.timing.process_memory import peak, start_peak

LINE = "this is line number {} of a text that nobody would want to hold in memory\n"
VERBS = ("prepare", "decode", "merge", "select", "filter", "cache", "translate")
WORDS, LENGTH = 50_000, 25
"""Different words of the made-up text, and how many a line has on average."""


class Capitals:
    """A :class:`fairseq_kd.decoding.text.TextTranslator` without a model."""

    languages = ("src", "tgt")
    settings: dict[str, Any] = {"models": ["0" * 64], "source": "src", "target": "tgt"}  # noqa: RUF012

    def takes(self, line: str) -> bool:
        return bool(line)

    def unknown_share(self, lines: Sequence[str]) -> float:
        return 0.0

    def translate(
        self, lines: Sequence[str], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[TextHypothesis]]:
        if progress:
            progress(len(lines))
        texts = [line.upper() for line in lines]
        return [[TextHypothesis(text, text, -1.0 - rank) for rank in range(options.nbest)] for text in texts]


class Nowhere(io.RawIOBase):
    """Takes what is written and counts its lines."""

    lines = 0

    def write(self, data: Any) -> int:
        self.lines += bytes(data).count(b"\n")
        return len(data)


def flood(verb: str, count: int, folder: Path) -> tuple[float, float]:
    """Send ``count`` lines through translate or decode: the processor's seconds, and the most memory held, in MiB."""
    lines: Iterator[bytes] = (LINE.format(number).encode() for number in range(count))
    path = folder / f"flood-{count}.txt"
    if verb == "decode":
        with open(path, "wb") as handle:
            handle.writelines(lines)
    options = DecodingOptions()
    start_peak()
    begun = time.process_time()
    if verb == "decode":
        decode(path, folder / f"flood-{count}", options, count)
    else:
        output = Nowhere()
        assert translate_stream(Capitals(), lines, output, options) == count == output.lines  # type: ignore[arg-type]
    return time.process_time() - begun, peak()


def decode(path: Path, output: Path, options: DecodingOptions, count: int) -> None:
    """`fairseq-kd decode --input` with a model that takes no time."""
    with mock.patch.object(decode_text, "open_translator", lambda *_, **__: Capitals()):
        signature = decode_text.decode_text("none", path, output, options)
    assert signature and signature["rows"] == count


def write_text(prefix: Path, count: int, length: int) -> None:
    """Write ``count`` made-up pairs, the same for every call; frequent words are as frequent as in a language."""
    random = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfgypwbvkxjq"))
    names = ["".join(letters[random.integers(0, 25, 1 + size)]) for size in random.integers(1, 10, 2 * WORDS)]
    for side, words in (("src", names[:WORDS]), ("tgt", names[WORDS:])):
        table = np.array(words, object)
        with open(f"{prefix}.{side}", "w") as handle:
            for first in range(0, count, 10_000):
                sizes = random.integers(length // 5, length * 9 // 5 + 1, min(10_000, count - first)).clip(1)
                ranks = (WORDS ** random.random(int(sizes.sum()))).astype(int) - 1
                ends = np.cumsum(sizes)
                text = table[ranks]
                handle.writelines(
                    " ".join(text[end - size : end]) + "\n" for size, end in zip(sizes, ends, strict=True)
                )


def measure(verb: str, count: int, folder: Path, length: int) -> None:
    """Run a verb in a process of its own and print its row of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.tgt").exists():
        for split, rows in (("valid", 100), ("test", 100), ("train", count)):
            write_text(folder / split, rows, length)
    for place in ("signature.json", "text.src", "text.tgt", "text.nbest.tsv"):
        if verb == "merge":
            (folder / "decode" / place).unlink(missing_ok=True)
    if verb != "merge":
        shutil.rmtree(folder / verb, ignore_errors=True)
    begun = time.monotonic()
    running = subprocess.Popen([sys.executable, *map(str, command(verb, count, folder))], stdout=subprocess.DEVNULL)
    own, ended = 0, (0, 0, None)
    while not ended[0]:
        time.sleep(0.05)
        own = max(own, *map(own_memory, family(running.pid)))
        ended = os.wait4(running.pid, os.WNOHANG)
    _, status, used = ended
    assert status == 0, verb
    wall, busy = time.monotonic() - begun, used.ru_utime + used.ru_stime
    rates = f"{count / wall:>10,.0f} | {count / busy:>10,.0f}"
    print(f"| {verb} | {count:>10,} | {rates} | {own:>6,} | {used.ru_maxrss >> 10:>6,} |", flush=True)


def family(process: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        children = []
    return [process, *map(int, children)]


def own_memory(process: int) -> int:
    """What a process holds beside mapped files, in MiB."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon")), 0)


def command(verb: str, count: int, folder: Path) -> list[str | Path]:
    """The words after ``python`` that run a verb on what the one before it left."""
    cli, here = ["-m", "fairseq_kd.cli"], ["-m", "tests.support.text_flood"]
    splits = [word for split in ("train", "valid", "test") for word in (f"--{split}", folder / split)]
    prepared, decoded = folder / "prepare", folder / "decode"
    pair = ["--source-lang", "src", "--target-lang", "tgt"]
    return {
        "prepare": [*cli, "prepare", *pair, *splits, "--vocab-size", 8000, "--sample-pairs", 100_000,
                    "--output", prepared, "--data-bin", prepared / "data-bin"],
        "merge": [*cli, "merge", decoded],
        "select": [*cli, "select", "--nbest", decoded / "text.nbest.tsv", "--reference", folder / "train.tgt",
                   "--post-process", "none", "--output", folder / "select"],
        "filter": [*cli, "filter", "--input", decoded, "--output", folder / "filter", "--score-share", 0.1,
                   "--keep-copies"],
    }.get(verb, [*here, "--inside", verb, count, folder])  # fmt: skip


def inside(verb: str, count: int, folder: Path) -> None:
    """A verb with a fake model, in this process."""
    if verb == "decode":
        decode(folder / "train.src", folder / "decode", DecodingOptions(beam=4, nbest=4), count)
    elif verb == "translate":
        flood(verb, count, folder)
    else:
        ask_nobody(folder / "prepare")


def ask_nobody(prepared: Path) -> None:
    """`fairseq-kd cache` with a teacher that takes no time; two symbols of each distribution are kept."""
    teacher = SimpleNamespace(max_positions=lambda: (1024, 1024), plain=True, models=[])

    def same(recorder: Any, sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = sample["ntokens"]
        return torch.tensor([[4, 5]]).expand(tokens, 2), torch.tensor([[-0.5, -1.5, -2.0]]).expand(tokens, 3)

    with (
        mock.patch.object(cache, "load_teacher", lambda *_: teacher),
        mock.patch.object(cache, "data_languages", lambda *_: ("src", "tgt")),
        mock.patch.object(cache.Recorder, "_top_k", same),
    ):
        cache.cache(str(prepared / "spm.model"), prepared / "data-bin", prepared.parent / "cache", 2)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        print("| verb | lines | lines/s | lines/s of one core | MiB, own | MiB, with files |", flush=True)
        print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        number, _, words = sys.argv[1].partition("x")
        for one in sys.argv[3:] or VERBS:
            measure(one, int(number), Path(sys.argv[2]), int(words or LENGTH))
