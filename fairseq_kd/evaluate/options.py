"""What can be chosen in an evaluation. It imports neither torch nor fairseq, so that `--help` is quick."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_kd.data.text.unspaced import AUTO
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import split_paths

DETOKENIZERS = ("auto", "moses", "none")
"""How tokenised translations become plain text; auto: moses where the data-bin's target text is so tokenised."""
METRICS = ("rouge", "bleu1", "bleu2", "bleu3")
"""What can be scored beside BLEU, chrF and TER."""


@dataclass(frozen=True)
class ScoreOptions:
    """What translations are compared with, and how.

    Attributes:
        reference: file of detokenised text, a line for each row; several are several references of each row, with an
            empty line where a row has no more. None for the data-bin's target side.
        post_process: how subwords are joined, one of :data:`fairseq_kd.data.text.subwords.POST_PROCESSES`.
        tokenize: sacreBLEU's tokenizer for BLEU, one of :data:`fairseq_kd.evaluate.scoring.tokenizers.TOKENIZERS`;
            "auto" chooses it as :func:`fairseq_kd.evaluate.scoring.tokenizers.choose_tokenizer` does.
        lowercase: whether BLEU and chrF take upper and lower case as the same, as sacreBLEU's TER always does.
        detokenize: how tokenised text becomes plain text, one of :data:`DETOKENIZERS`.
        metrics: what to score besides, of :data:`METRICS`; see
            :func:`fairseq_kd.evaluate.scoring.more_scores.more_scores`.
        comet: checkpoint or name of a COMET model that also scores the translations; None for no such score.
    """

    reference: str | Path | Sequence[str | Path] | None = None
    post_process: str = "sentencepiece"
    tokenize: str = AUTO
    lowercase: bool = False
    detokenize: str = DETOKENIZERS[0]
    metrics: Sequence[str] = ()
    comet: str | None = None

    @property
    def references(self) -> list[str | Path]:
        """The files of ``reference``."""
        return [self.reference] if isinstance(self.reference, str | Path) else list(self.reference or [])


@dataclass(frozen=True)
class CostOptions:
    """How decoding's costs are measured.

    Attributes:
        rounds: how often each measurement is repeated; medians count.
        rows: how many of the subset's first rows each measurement decodes.
        teacher: checkpoint of a model to measure beside the evaluated one, with the largest beam; several, separated by
            colons, are an ensemble. None for no such model.

    Raises:
        UserError: a number is below 1, or the teacher has no checkpoint.
    """

    rounds: int = 3
    rows: int = 500
    teacher: str | None = None

    def __post_init__(self) -> None:
        for option, number in (("--cost", self.rounds), ("--cost-rows", self.rows)):
            if number < 1:
                raise UserError(f"{option} {number}: give 1 or more")
        if self.teacher is not None and not split_paths(self.teacher):
            raise UserError("--teacher: names no file; give the path of a fairseq checkpoint (.pt)")


@dataclass(frozen=True)
class SamplePlan:
    """What is drawn from each of two models to compare them.

    Attributes:
        samples: how many are drawn for each source with each model.
        sampling: what they are drawn from; its ``max_len_b`` is the longest sample in tokens, its ``max_len_a`` 0.
        seed: of all samples.
        max_tokens: source tokens in a batch.

    Raises:
        UserError: a number is below 1.
    """

    samples: int = 5
    sampling: Sampling = field(default_factory=lambda: Sampling(max_len_a=0.0, max_len_b=200))
    seed: int = 1
    max_tokens: int = 4000

    def __post_init__(self) -> None:
        numbers = {"samples": self.samples, "max-len": self.sampling.max_len_b, "max-tokens": self.max_tokens}
        for option, number in numbers.items():
            if number < 1:
                raise UserError(f"--{option} {number}: give 1 or more")
