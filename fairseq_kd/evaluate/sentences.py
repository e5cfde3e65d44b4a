"""The sentences that a model is scored on, and how their words are counted."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.interface import Engine
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.references import databin_references, read_references
from fairseq_kd.evaluate.scores import Scoring, choose_scoring


@dataclass(frozen=True)
class Sentences:
    """The sentences that a model is scored on.

    Attributes:
        sources: token ids ending in ``</s>``.
        references: detokenised text, a line for each source.
        subset: the split that they are.
        post_process: how a translation's subwords are joined.
        scoring: how text becomes the words that scores count.
    """

    sources: list[torch.Tensor]
    references: list[str]
    subset: str
    post_process: str
    scoring: Scoring = field(default_factory=Scoring)

    def skipped(self, engine: Engine) -> list[bool]:
        """Whether the engine refuses each source: it is empty, or longer than the model's positions."""
        return [not engine.takes(source) for source in self.sources]


def read_sentences(
    task: TranslationTask, subset: str, reference: str | Path | None, post_process: str, tokenize: str
) -> Sentences:
    """The sentences of a loaded subset.

    Raises:
        UserError: the subset is empty or has no references, the file ``reference`` does not fit it, or the tokenizer
            ``tokenize`` is not at hand.
    """
    dataset = task.dataset(subset)
    sources = [dataset.src[row] for row in range(len(dataset))]
    if not sources:
        raise UserError(f"data-bin {task.cfg.data}: subset {subset!r} has no rows")
    if reference:
        references = read_references(reference, len(sources))
    else:
        references = databin_references(task, subset, post_process)
    scoring = choose_scoring(tokenize, references, task.cfg.target_lang)
    return Sentences(sources, references, subset, post_process, scoring)
