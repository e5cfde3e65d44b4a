"""Which target tokens belong to which source tokens: links of the word aligner eflomal.

Östling & Tiedemann 2016, "Efficient Word Alignment with Markov Chain Monte Carlo".
"""

import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np

from fairseq_kd.errors import UserError

Rows = Sequence[np.ndarray]
"""Token numbers of each sentence, arrays of shape (length,)."""


def import_eflomal() -> ModuleType:
    """The aligner's package.

    Raises:
        UserError: it is not installed, or does not load on this machine.
    """
    try:
        return import_module("eflomal")
    except ImportError as error:
        raise UserError(
            f"--shortlist needs eflomal ({error}); install the extra: pip install 'fairseq-kd[shortlist]', "
            "with a C compiler"
        ) from None


def aligner_version() -> str:
    """Name and version of the aligner.

    Raises:
        UserError: as :func:`import_eflomal`.
    """
    import_eflomal()
    return f"eflomal {version('eflomal')}"


def align(sources: Rows, targets: Rows) -> Iterator[np.ndarray]:
    """The links of each pair of sentences: those of both directions, each link once.

    The aligner samples, so two calls may give links that differ.

    Args:
        sources: one side; the numbers stand for words and mean nothing else.
        targets: the other side, as many sentences.

    Yields:
        For each pair an array of shape (links, 2): positions in the source and in the target. It is empty where a side
        is empty or has 1,024 tokens or more.

    Raises:
        UserError: eflomal is not installed, or it fails.
    """
    eflomal = import_eflomal()
    with tempfile.TemporaryDirectory(prefix="fairseq_kd-") as folder:
        ways = [str(Path(folder, way)) for way in ("forward", "reverse")]
        try:
            eflomal.Aligner().align(_lines(sources), _lines(targets), *ways)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"--shortlist: eflomal fails ({error})") from None
        with open(ways[0]) as forward, open(ways[1]) as reverse:
            for one, other in itertools.zip_longest(forward, reverse, fillvalue=""):
                links = {tuple(map(int, link.split("-"))) for link in (one + " " + other).split()}
                yield np.array(sorted(links), dtype=np.int64).reshape(-1, 2)


def _lines(rows: Rows) -> Iterator[str]:
    for row in rows:
        yield " ".join(map(str, row.tolist())) + "\n"
