"""The signatures of corpora: what stands in ``signature.json`` of a decode, a selection, a filter or a recut."""

import sys
from pathlib import Path
from typing import Any

from fairseq_kd.data.databins.files import UNNAMED, choose_pair, pairs_in
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import SIGNATURE
from fairseq_kd.storage.files import file_hash, one_line_errors
from fairseq_kd.storage.settings import read_settings
from fairseq_kd.storage.shapes import file_name, keys, list_of, map_of, maybe, text, whole

_OPTIONAL = {
    "models": list_of(text),
    "data": map_of(text),
    "input": text,
    "sha256": map_of(text),
    "lines": map_of(whole()),
    "skipped": map_of(list_of(whole())),
    "tokenizers": maybe(map_of(maybe(text))),
    "decode": maybe(keys({}, {"skipped": map_of(list_of(whole()))})),
}
_NAMES = {"subset": file_name, "source": file_name, "target": file_name}
_DECODING = keys({"nbest": whole(1, 10**6)})
DECODE = keys({**_NAMES, "rows": whole(), "block_rows": whole(1), "options": _DECODING}, _OPTIONAL)
"""The settings of a decode, and its signature."""
MADE = keys({}, {**_NAMES, "rows": whole(), "block_rows": whole(), "options": _DECODING, **_OPTIONAL})
"""The signature of any corpus. A selection from lists that no signature tells of has no languages."""


def read_decode(path: Path) -> dict[str, Any] | None:
    """The settings or the signature of a decode, in the file ``path``; None where there is no such file.

    Raises:
        UserError: the file is damaged, or no decode wrote it.
    """
    return read_settings(path, "decode", DECODE)


def read_made(folder: Path) -> dict[str, Any] | None:
    """The signature of the corpus in ``folder``; None where it has none.

    Raises:
        UserError: the file is damaged, or speaks of no corpus.
    """
    return read_settings(folder / SIGNATURE, "decode", MADE)


def joining(made: dict[str, Any] | None, side: str, post: str) -> str:
    """How the subwords of one side of a corpus are joined.

    Args:
        made: the signature of the corpus; None where it has none.
        side: "source" or "target".
        post: how, where the text is in subwords.

    Returns:
        ``post``; but "none" where ``decode --input`` joined them with a sentencepiece model: the text has its spaces.
    """
    return "none" if ((made or {}).get("tokenizers") or {}).get(f"{side}-spm") else post


def require_unchanged(folder: Path, made: dict[str, Any], *names: str) -> None:
    """Check that files of a corpus are those that its signature was written for.

    Args:
        folder: of the corpus.
        made: its signature; a file that it does not name is passed over.
        names: of the files.

    Raises:
        UserError: a file is missing or has changed.
    """
    for name in names:
        recorded = made.get("sha256", {}).get(name)
        if recorded is not None and (not (folder / name).is_file() or file_hash(folder / name) != recorded):
            raise UserError(f"{folder / name}: it has changed since {SIGNATURE} was written; decode or merge it again")


def main(folder: str, student_data: str = "") -> None:
    """Print source, target and rows of a corpus, for ``scripts/generate_distilled_corpus.sh``; an error is one line.

    Args:
        folder: of the corpus.
        student_data: a data-bin; its languages are printed, unless it holds several pairs and the corpus names one.
    """
    made = read_made(Path(folder)) or {}
    pair = (made["source"], made["target"])
    if student_data:
        named = Path(student_data).is_dir() and pair in pairs_in(Path(student_data))
        pair = choose_pair(student_data, pair if named else UNNAMED)
    print(*pair, made["rows"])


if __name__ == "__main__":
    with one_line_errors():
        main(*sys.argv[1:])
