"""What a verb says on the terminal: sentences for people, or, with --verbose, every log line."""

import codecs
import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

VARIABLE = "FAIRSEQ_KD_VERBOSE"
"""An environment variable that does what --verbose does; the workflow sets it for its log file."""


def print_all(stream: Any) -> None:
    """Let a text stream take every text, where Python would end in a UnicodeEncodeError after the work of a verb.

    A path's bytes are written as they are, and other signs that the stream's encoding lacks as Python's escapes.
    """
    codecs.register_error("fairseq_kd", _printable)
    # A stream whose file was exchanged below it may take no other handler.
    with contextlib.suppress(OSError):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="fairseq_kd")


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    sign = error.object[error.start]
    # Python's stand-in for a byte of a path that is no text.
    byte = ord(sign) - 0xDC00 if "\udc80" <= sign <= "\udcff" else None
    return bytes([byte]) if byte else sign.encode("ascii", "backslashreplace").decode(), error.start + 1


class Sentences(logging.Formatter):
    """The message alone; its level stands before it where it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        """One log record as a line for people."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class Terminal(logging.StreamHandler):
    """Writes to whatever standard error is now, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one log record; where standard error is closed or full, the work goes on without it."""
        try:
            bars = sys.modules.get("tqdm")
            if bars is None:
                print(self.format(record), file=sys.stderr, flush=True)
            else:
                bars.tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def of_this_package(record: logging.LogRecord) -> bool:
    """Whether people should read it: this package's messages, and what a library calls an error."""
    return record.name.partition(".")[0] == "fairseq_kd" or record.levelno >= logging.ERROR


@contextlib.contextmanager
def on_terminal(*, verbose: bool) -> Iterator[None]:
    """While the context lasts, log to standard error.

    Enter the context before fairseq is imported: it sets logging up at its import, unless there is a handler by then.
    With ``verbose``, or where $FAIRSEQ_KD_VERBOSE is set, the terminal gets log lines and warnings of all libraries.
    """
    verbose = verbose or bool(os.environ.get(VARIABLE))
    handler = Terminal()
    root = logging.getLogger()
    level = root.level
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(Sentences())
        handler.addFilter(of_this_package)
        os.environ.setdefault("CT2_VERBOSE", "-1")  # CTranslate2 writes warnings past Python: errors only
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    with warnings.catch_warnings():
        if not verbose and not sys.warnoptions:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
