"""A lexical shortlist: which target symbols a source symbol allows, as CTranslate2's vocabulary map.

The output layer of a small model costs more than one of its decoder layers. With a shortlist, CTranslate2 computes it
for the symbols that the sources of a batch allow, and for no others. The map is made from aligned text: the teacher's
translations of the training sources, for instance.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.compress.options import ShortlistOptions
from fairseq_kd.compress.parallel_rows import Text, read_text, text_files
from fairseq_kd.compress.word_alignment import align, aligner_version
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)

AT_ONCE = 10_000
"""Rows whose links are counted together."""
MEASURED = 10_000
"""Rows of the text on which a shortlist's size and coverage are measured."""


@dataclass(frozen=True)
class Shortlist:
    """A shortlist.

    Attributes:
        always: numbers of the target symbols that every source allows.
        allowed: numbers of the target symbols that a source symbol allows, by its number.
    """

    always: list[int]
    allowed: dict[int, list[int]]

    def of(self, source: np.ndarray) -> set[int]:
        """All target symbols that the source symbols of a sentence, an array of shape (length,), allow."""
        return set(self.always).union(*(self.allowed.get(symbol, ()) for symbol in source.tolist()))


def inputs_of(options: ShortlistOptions, task: TranslationTask) -> dict[str, Any]:
    """All that a shortlist depends on, as plain data: hashes of the text, the numbers of symbols, the aligner.

    Raises:
        UserError: the text is missing, or there is no aligner.
    """
    made = {file.name: file_hash(file) for file in text_files(options.text, task)}
    numbers = {"candidates": options.candidates, "frequent": options.frequent}
    return {"text": made, **numbers, "aligner": aligner_version()}


def write_map(options: ShortlistOptions, task: TranslationTask, path: Path) -> dict[str, float]:
    """Make a shortlist from text and write it as a vocabulary map.

    Args:
        options: the text, and how many symbols to allow.
        task: with the model's dictionaries.
        path: the file to write.

    Returns:
        "symbols": how many target symbols a sentence of the text allows on average; "coverage": the share of the text's
        target symbols that are allowed, from 0 to 1.

    Raises:
        UserError: the text is missing, empty or in other symbols, or the aligner is missing or fails.
    """
    text = read_text(options.text, task)
    shortlist = make_shortlist(text, options, task.source_dictionary, task.target_dictionary)
    figures = measure(shortlist, text)
    path.write_text(map_text(shortlist, task.source_dictionary, task.target_dictionary), encoding="utf-8")
    logger.info(
        "shortlist of %s: %.0f of %d symbols a sentence, %.2f %% of the text's target symbols are allowed",
        options.text, figures["symbols"], len(task.target_dictionary), 100 * figures["coverage"],
    )  # fmt: skip
    return figures


def make_shortlist(text: Text, options: ShortlistOptions, source: Dictionary, target: Dictionary) -> Shortlist:
    """The shortlist of a text.

    Every source allows the symbols that are most frequent in the target text. A source symbol also allows the symbols
    that are linked to it most often, and the target symbol that is written like it, so that names can be copied.

    Raises:
        UserError: as :func:`fairseq_kd.compress.word_alignment.align`.
    """
    frequent: Counter[int] = Counter()
    for row in text.targets:
        frequent.update(row.tolist())
    special = range(target.nspecial)
    always = [symbol for symbol, _ in frequent.most_common() if symbol not in special][: options.frequent]
    allowed: dict[int, list[int]] = {}
    for symbol, linked in count_links(text, len(target)).items():
        allowed[symbol] = [one for one, _ in linked.most_common() if one not in special][: options.candidates]
    for number in range(source.nspecial, len(source)):
        copy = target.indices.get(source[number])
        if copy is not None and copy not in special:
            allowed[number] = list(dict.fromkeys([*allowed.get(number, []), copy]))
    return Shortlist(always, allowed)


def count_links(text: Text, symbols: int) -> dict[int, Counter[int]]:
    """How often each target symbol is linked to a source symbol, by the source symbol's number.

    Args:
        text: to be aligned.
        symbols: size of the target dictionary.

    Raises:
        UserError: as :func:`fairseq_kd.compress.word_alignment.align`.
    """
    counts: dict[int, Counter[int]] = {}
    waiting: list[np.ndarray] = []

    def count() -> None:
        # A pair of symbols is one number, so that numpy counts the pairs.
        pairs, times = np.unique(np.concatenate([*waiting, np.zeros(0, np.int64)]), return_counts=True)
        for pair, number in zip(pairs.tolist(), times.tolist(), strict=True):
            counts.setdefault(pair // symbols, Counter())[pair % symbols] += number
        waiting.clear()

    for row, links in enumerate(align(text.sources, text.targets)):
        sources, targets = text.sources[row][links[:, 0]], text.targets[row][links[:, 1]]
        waiting.append(sources.astype(np.int64) * symbols + targets)
        if len(waiting) == AT_ONCE:
            count()
    count()
    return counts


def measure(shortlist: Shortlist, text: Text) -> dict[str, float]:
    """What :func:`write_map` returns, over the first rows of the text."""
    sizes, hits, tokens = 0, 0, 0
    rows = min(len(text.sources), MEASURED)
    for source, target in zip(text.sources[:rows], text.targets[:rows], strict=True):
        own = shortlist.of(source)
        sizes += len(own)
        hits += sum(symbol in own for symbol in target.tolist())
        tokens += len(target)
    return {"symbols": sizes / rows, "coverage": hits / max(tokens, 1)}


def map_text(shortlist: Shortlist, source: Dictionary, target: Dictionary) -> str:
    """The vocabulary map: lines of a source symbol, a tab, and target symbols separated by spaces.

    The first line has no source symbol; its target symbols are always allowed. CTranslate2 allows ``</s>`` and
    ``<unk>`` by itself.
    """
    lines = [("", shortlist.always), *((source[one], found) for one, found in sorted(shortlist.allowed.items()))]
    return "".join(
        f"{symbol}\t{' '.join(target[one] for one in found)}\n" for symbol, found in lines if found or not symbol
    )
