"""What can be chosen in an evaluation. It imports neither torch nor fairseq, so that `--help` is quick."""

from dataclasses import dataclass, field

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import split_paths

DETOKENIZERS = ("auto", "moses", "none")
"""How tokenised translations become plain text; auto: moses where the data-bin's target text is so tokenised."""
METRICS = ("rouge", "bleu1", "bleu2", "bleu3")
"""What can be scored beside BLEU, chrF and TER."""


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
