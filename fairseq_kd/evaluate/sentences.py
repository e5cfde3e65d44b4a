"""The sentences that a model is scored on, and how their words are counted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.text.joining import join, warn_of_joining
from fairseq_kd.decoding.interface import Engine
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.options import ScoreOptions
from fairseq_kd.evaluate.scoring.detokenize import MOSES, NONE, choose_detokenizer, detokenize, looks_tokenised
from fairseq_kd.evaluate.scoring.references import (
    databin_references,
    read_more_references,
    read_references,
    warn_of_case,
    warn_of_tokens,
)
from fairseq_kd.evaluate.scoring.scores import Scoring, choose_scoring

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentences:
    """The sentences that a model is scored on.

    Attributes:
        sources: token ids ending in ``</s>``.
        references: detokenised text, a line for each source.
        more_references: further such lists, with None where a source has no more.
        subset: the split that they are.
        post_process: how a translation's subwords are joined.
        detokenize: "moses" where joined text is made plain text then, else "none".
        languages: of source and target.
        scoring: how text becomes the words that scores count.
    """

    sources: list[torch.Tensor]
    references: list[str]
    subset: str
    post_process: str
    detokenize: str = NONE
    languages: tuple[str | None, str | None] = (None, None)
    scoring: Scoring = field(default_factory=Scoring)
    more_references: list[list[str | None]] = field(default_factory=list)

    def text(self, subwords: str, side: int = 1) -> str:
        """Subwords of the source (``side`` 0) or of a translation (1) as plain text."""
        joined = join(subwords, self.post_process)
        return detokenize(joined, self.languages[side]) if self.detokenize == MOSES else joined

    def skipped(self, engine: Engine) -> list[bool]:
        """Whether the engine refuses each source: it is empty, or longer than the model's positions."""
        return [not engine.takes(source) for source in self.sources]

    def count_skipped(self, engine: Engine) -> int:
        """How many sources the engine refuses; a warning says so where there are some."""
        count = sum(self.skipped(engine))
        if count:
            logger.warning(
                "%d of %d sources are empty or longer than the model's positions: they are scored as empty lines",
                count, len(self.sources),
            )  # fmt: skip
        return count


def read_sentences(task: TranslationTask, subset: str, options: ScoreOptions) -> Sentences:
    """The sentences of a loaded subset.

    Raises:
        UserError: the subset is empty or has no references, a file of references does not fit it, or the tokenizer is
            not at hand.
    """
    reference, post_process = options.references, options.post_process
    dataset = task.dataset(subset)
    sources = [dataset.src[row] for row in range(len(dataset))]
    if not sources:
        raise UserError(f"data-bin {task.cfg.data}: subset {subset!r} has no rows")
    symbols = task.target_dictionary.symbols[task.target_dictionary.nspecial :]
    warn_of_joining(symbols, post_process, f"the dictionary of {task.cfg.target_lang}")
    target = [] if dataset.tgt is None else databin_references(task, subset, post_process, quiet=bool(reference))
    chosen = choose_detokenizer(options.detokenize, target, symbols)
    languages = (task.cfg.source_lang, task.cfg.target_lang)
    if reference or not target:
        first = read_references(reference[0], len(sources)) if reference else databin_references(task, subset, "none")
    else:
        first = target
    given: list[list[str | None]] = [[*first], *read_more_references(reference[1:], len(sources))]
    if chosen == MOSES:
        target = [detokenize(line, languages[1]) for line in target]
        given = [_plain(lines, languages[1]) if not reference or _looks_cut(lines) else lines for lines in given]
    for path, lines in zip(reference, given, strict=False):
        if chosen != MOSES and _looks_cut(lines) and not looks_tokenised(target):
            warn_of_tokens(path)
        if target and not options.lowercase:
            warn_of_case(target, lines, path)
    references, more = _first_given(given)
    scoring = choose_scoring(options.tokenize, references, languages[1], lowercase=options.lowercase)
    return Sentences(sources, references, subset, post_process, chosen, languages, scoring, more)


def _looks_cut(lines: Sequence[str | None]) -> bool:
    """Whether the lines that are there are Moses-tokenised."""
    return looks_tokenised(line for line in lines if line is not None)


def _first_given(given: list[list[str | None]]) -> tuple[list[str], list[list[str | None]]]:
    """A reference of each row, and the further ones. A row that lacks the first has the next one in its place."""
    rows = [list(row) for row in zip(*given, strict=True)]
    for row in rows:
        place = next((place for place, line in enumerate(row) if line), 0)
        if place:
            row[0], row[place] = row[place], None
    references = [row[0] or "" for row in rows]
    return references, [[row[place] for row in rows] for place in range(1, len(given))]


def _plain(lines: Sequence[str | None], language: str | None) -> list[str | None]:
    return [line and detokenize(line, language) for line in lines]
