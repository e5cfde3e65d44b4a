"""Memory and speed of everything around a model, over many lines.

`python -m tests.support.text_flood VERB LINES FOLDER`: VERB is translate or decode. A fake model answers each line with
the line in capitals. Lines per second are of processor time, so that other work on the machine does not count.
"""

import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from fairseq_kd.corpus import decode_text
from fairseq_kd.corpus.translate import translate_stream
from fairseq_kd.decoding.interface import Progress
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.text import TextHypothesis
from fairseq_kd.timing.process_memory import peak, start_peak

LINE = "this is line number {} of a text that nobody would want to hold in memory\n"


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
        return [[TextHypothesis(line.upper(), line.upper(), -1.0)] for line in lines]


class Nowhere(io.RawIOBase):
    """Takes what is written and counts its lines."""

    lines = 0

    def write(self, data: Any) -> int:
        self.lines += bytes(data).count(b"\n")
        return len(data)


def flood(verb: str, count: int, folder: Path) -> tuple[float, float]:
    """Send ``count`` lines through a verb: the processor's seconds, and the most memory held, in MiB."""
    lines: Iterator[bytes] = (LINE.format(number).encode() for number in range(count))
    path = folder / f"flood-{count}.txt"
    if verb == "decode":
        with open(path, "wb") as handle:
            handle.writelines(lines)
    options = DecodingOptions()
    start_peak()
    begun = time.process_time()
    if verb == "decode":
        with mock.patch.object(decode_text, "open_translator", lambda *_, **__: Capitals()):
            signature = decode_text.decode_text("none", path, folder / f"flood-{count}", options)
        assert signature and signature["rows"] == count
    else:
        output = Nowhere()
        assert translate_stream(Capitals(), lines, output, options) == count == output.lines  # type: ignore[arg-type]
    return time.process_time() - begun, peak()


if __name__ == "__main__":
    name, number, place = sys.argv[1:]
    seconds, memory = flood(name, int(number), Path(place))
    print(f"{name}: {int(number):,} lines, {int(number) / seconds:,.0f} lines/s of processor time, {memory:.0f} MiB")
