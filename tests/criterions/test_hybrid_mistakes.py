"""What a user of hybrid_kd can get wrong."""

from pathlib import Path

import pytest
from fairseq import tasks

from fairseq_kd.errors import UserError
from tests.support.hybrid import ROWS, TASK, setup
from tests.support.models import batch, build, configured

MISTAKES = {
    "--gate-value 1.5": ("--gate", "fixed", "--gate-value", "1.5"),
    "--gate-start -0.1": ("--gate", "schedule", "--gate-updates", "3", "--gate-start", "-0.1"),
    "a learned gate starts above 0": ("--gate-value", "1"),
    "give the number of updates": ("--gate", "schedule"),
    "leave out --gate-level token": ("--gate", "agreement", "--gate-level", "token"),
    "--gate-prior-weight -1.0": ("--gate-prior-weight", "-1"),
    "--gate-lr-scale 0.0": ("--gate-lr-scale", "0"),
    "--kd-alpha 2.0": ("--kd-alpha", "2"),
    "leave out --left-pad-target": ("--left-pad-target",),
    "--gate-signal: --gate fixed does not read it": ("--gate", "fixed", "--gate-signal", "loss"),
    "--gate-start: --gate learned does not read it; leave it out, or give --gate schedule": ("--gate-start", "0.5"),
    "--gate-value: --gate agreement .* or give --gate fixed, learned or scalar": (
        *("--gate", "agreement", "--gate-value", "0.7"),
    ),
    "--gate-trains-encoder: --gate scalar .* or give --gate learned": ("--gate", "scalar", "--gate-trains-encoder"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_one_line(tiny_corpus: Path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(tiny_corpus, *TASK, "--criterion", "hybrid_kd", "--distilled-data", "x", *MISTAKES[message])


def test_a_checkpoint_with_options_of_another_gate_is_validated(tiny_corpus: Path) -> None:
    """Earlier versions took them."""
    words = ("--criterion", "hybrid_kd", "--distilled-data", "x", "--gate", "fixed", "--gate-signal", "loss")
    config = configured(tiny_corpus, *TASK, *words)
    task = tasks.setup_task(config.task)
    task.build_model(config.model, from_checkpoint=True)
    task.build_criterion(config.criterion)


def test_what_is_missing_is_one_line(tiny_corpus: Path, distilled: Path) -> None:
    with pytest.raises(UserError, match="give it with --distilled-data DATABIN"):
        build(tiny_corpus, *TASK, "--criterion", "hybrid_kd")
    with pytest.raises(UserError, match="--task translation_kd"):
        build(tiny_corpus, "--criterion", "hybrid_kd")
    task, model, criterion = setup(tiny_corpus, distilled, "held_out", student="lstm")
    with pytest.raises(UserError, match="give --gate-signal normalised"):
        criterion(model, batch(task, "train", ROWS))


def test_no_validation_set_is_one_line(tiny_corpus: Path, distilled: Path) -> None:
    task, model, criterion = setup(tiny_corpus, distilled, "held_out", "--valid-subset", "nothing")
    log = criterion(model, batch(task, "train", ROWS))[2]
    with pytest.raises(UserError, match=r"has no split 'nothing'; give --valid-subset, or --gate-signal normalised"):
        criterion.after_update([log])
