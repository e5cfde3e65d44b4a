"""Options of criterion ``f_distill``, and their checks."""

from dataclasses import dataclass, field, fields
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from omegaconf import II

from fairseq_kd.criterions.base import FusedConfig
from fairseq_kd.errors import UserError
from fairseq_kd.losses.divergences import DIVERGENCES
from fairseq_kd.losses.family import Bound
from fairseq_kd.losses.ranges import check_temperature
from fairseq_kd.tasks.translation_kd import TranslationKDTask

PREFIXES = ("paper", "gold", "teacher", "student", "both")
MIXTURES = ("step", "sequence")


@dataclass
class FDistillConfig(FusedConfig):
    """Options of ``f_distill``."""

    divergence: ChoiceEnum(list(DIVERGENCES)) = field(  # type: ignore[valid-type]
        default="kl", metadata={"help": "divergence between the teacher's and the student's next-token distributions"}
    )
    divergence_parameter: Optional[float] = field(  # noqa: UP045 (fairseq reads the annotation)
        default=None,
        metadata={"help": "beta of generalized_js and alpha of alpha (0.5), lambda of skew_kl and skew_rkl (0.1)"},
    )
    prefixes: ChoiceEnum(PREFIXES) = field(  # type: ignore[valid-type]
        default="paper",
        metadata={"help": "sequences that the divergence is taken on (paper: those of the divergence's authors)"},
    )
    js_mixture: ChoiceEnum(MIXTURES) = field(  # type: ignore[valid-type]
        default="step",
        metadata={
            "help": "js and generalized_js: mix the distributions of each step, or of whole sequences (exact in value, "
            "not in gradient)"
        },
    )
    student_fraction: float = field(
        default=0.0,
        metadata={"help": "share of updates on the student's own sequences, with --prefixes gold or teacher"},
    )
    kd_alpha: float = field(
        default=1.0,
        metadata={"help": "weight alpha of the divergence; the gold target's cross-entropy gets 1 - alpha"},
    )
    online_teacher_samples: bool = field(
        default=False,
        metadata={
            "help": "draw the teacher's sequences anew at each update (default: read them from --distilled-data)"
        },
    )
    rollout_top_k: int = field(default=0, metadata={"help": "rollouts: draw from the k likeliest symbols (0: all)"})
    rollout_top_p: float = field(
        default=1.0,
        metadata={"help": "rollouts: draw from the fewest likeliest symbols whose probabilities sum to this"},
    )
    rollout_temperature: float = field(
        default=1.0, metadata={"help": "rollouts: temperature of the distribution to draw from"}
    )
    rollout_max_len_a: float = field(
        default=1.2, metadata={"help": "rollouts have at most a x source length + b tokens; this is a"}
    )
    rollout_max_len_b: int = field(default=10, metadata={"help": "b of --rollout-max-len-a"})
    rollout_min_len: int = field(
        default=0, metadata={"help": "rollouts have at least this many tokens before </s>, where their limit allows it"}
    )
    rollout_beam: int = field(
        default=1,
        metadata={
            "help": "draw rollouts by sampling with this many beams, which needs --rollout-top-k (1: plain samples)"
        },
    )
    kd_temperature: float = field(
        default=1.0, metadata={"help": "temperature of both distributions in the divergence; there is no factor tau^2"}
    )
    teacher_temperature: Optional[float] = field(  # noqa: UP045
        default=None, metadata={"help": "temperature of the teacher's distribution (default: --kd-temperature)"}
    )
    own_lengths: bool = field(
        default=False,
        metadata={"help": "divide each drawn sequence's divergence by its own tokens instead of its gold target's"},
    )
    rollout_refresh: int = field(
        default=0,
        metadata={
            "help": "draw the student's rollouts with CTranslate2, for this many updates at a time "
            "(0: at each update, from the current weights)"
        },
    )
    update_freq: list[int] = field(default=II("optimization.update_freq"))
    seed: int = II("common.seed")


def bound_divergence(cfg: FDistillConfig) -> Bound:
    """The divergence of the options, with its parameter.

    Raises:
        UserError: the parameter does not suit the divergence, or the mixture of sequences does not.
    """
    try:
        divergence = DIVERGENCES[str(cfg.divergence)].at(cfg.divergence_parameter)
    except ValueError as error:
        raise UserError(f"--divergence-parameter {cfg.divergence_parameter}, {cfg.divergence}: {error}") from None
    if str(cfg.js_mixture) == "sequence" and divergence.teacher_share is None:
        raise UserError("--js-mixture sequence needs --divergence js or generalized_js")
    return divergence


def check_temperatures(cfg: FDistillConfig) -> None:
    """Check --kd-temperature and --teacher-temperature.

    Raises:
        UserError: a temperature is not above 0, or is not 1 with the mixture of sequences.
    """
    for name, value in (("--kd-temperature", cfg.kd_temperature), ("--teacher-temperature", cfg.teacher_temperature)):
        if value is None or value == 1:
            continue
        check_temperature(name, value)
        if str(cfg.js_mixture) == "sequence":
            raise UserError(f"{name} {value}: --js-mixture sequence mixes the models' own probabilities; leave it out")


def check_rollouts(cfg: FDistillConfig) -> None:
    """Check --rollout-min-len and --rollout-beam.

    Raises:
        UserError: a number is out of range, or sampling with a beam lacks --rollout-top-k or excludes another option.
    """
    if cfg.rollout_min_len < 0:
        raise UserError(f"--rollout-min-len {cfg.rollout_min_len}: give a number of tokens, or 0 for none")
    if cfg.rollout_beam < 1:
        raise UserError(f"--rollout-beam {cfg.rollout_beam}: give a number of beams, or 1 for plain samples")
    if cfg.rollout_beam == 1:
        return
    if cfg.rollout_top_k < 2:
        raise UserError(f"--rollout-beam {cfg.rollout_beam}: needs --rollout-top-k of at least 2")
    if cfg.rollout_top_p < 1 or cfg.rollout_refresh:
        option = "--rollout-top-p" if cfg.rollout_top_p < 1 else "--rollout-refresh"
        raise UserError(f"{option}: does not go with --rollout-beam; leave one of them out")


def chosen_prefixes(cfg: FDistillConfig, task: TranslationKDTask) -> str:
    """Whose sequences the divergence is taken on: "gold", "teacher", "student" or "both".

    Raises:
        UserError: the options give no sequences of this kind, or ask for others that this kind does not use.
    """
    own = DIVERGENCES[str(cfg.divergence)].prefixes
    prefixes = own if str(cfg.prefixes) == "paper" else str(cfg.prefixes)
    if prefixes in ("teacher", "both") and not (cfg.online_teacher_samples or task.cfg.distilled_data):
        raise UserError(
            f"--divergence {cfg.divergence} on teacher prefixes: give the teacher's samples with "
            "--distilled-data DATABIN, or draw them with --online-teacher-samples"
        )
    _refuse_unused_samples(cfg, task, prefixes)
    if not 0 <= cfg.student_fraction <= 1:
        raise UserError(f"--student-fraction {cfg.student_fraction}: give a share between 0 and 1")
    if prefixes in ("student", "both") and cfg.student_fraction > 0:
        raise UserError(
            f"--student-fraction needs --prefixes gold or teacher; the prefixes of --divergence {cfg.divergence} are "
            f"{prefixes!r} here"
        )
    if prefixes in ("gold", "teacher") and cfg.rollout_refresh and not cfg.student_fraction:
        raise UserError(
            f"--rollout-refresh: --divergence {cfg.divergence} on {prefixes} prefixes draws no rollouts from the "
            "student; leave it out"
        )
    if not (task.of_checkpoint or prefixes in ("student", "both") or cfg.student_fraction):
        _refuse_undrawn(cfg, prefixes)
    return prefixes


def _refuse_unused_samples(cfg: FDistillConfig, task: TranslationKDTask, prefixes: str) -> None:
    """Raise a UserError where sequences of the teacher are given that no term of the loss is taken on."""
    online, given = cfg.online_teacher_samples, task.cfg.distilled_data
    if prefixes in ("gold", "student") and (online or given):
        raise UserError(
            f"{'--online-teacher-samples' if online else '--distilled-data'}: --divergence {cfg.divergence} on "
            f"{prefixes} prefixes uses no sequences of the teacher; leave it out"
        )
    if online and given:
        raise UserError(
            "--online-teacher-samples draws the teacher's sequences in place of those of --distilled-data: "
            "leave out --distilled-data or --online-teacher-samples"
        )


def _refuse_undrawn(cfg: FDistillConfig, prefixes: str) -> None:
    """Raise a UserError for an option of drawn sequences, where the prefixes are gold or the teacher's alone."""
    where = "gold prefixes" if prefixes == "gold" else "teacher prefixes of --distilled-data"
    unread = {"own_lengths": "has no sequences but the gold targets"} if prefixes == "gold" else {}
    if not cfg.online_teacher_samples:
        unread |= {one.name: "draws no sequences" for one in fields(FDistillConfig) if one.name.startswith("rollout_")}
    for name, why in unread.items():
        if getattr(cfg, name) != getattr(FDistillConfig, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: --divergence {cfg.divergence} on {where} {why}; leave it out")
