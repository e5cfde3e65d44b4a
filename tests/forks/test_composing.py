"""The tests' way to compose a configuration: it gives what hydra gives."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.forks.composing import QUICK, compose_quickly
from tests.support.models import configured

pytestmark = pytest.mark.skipif(not QUICK, reason="hydra 1.0 composes as ever")


@pytest.mark.parametrize(
    "words",
    [
        "--task translation --criterion cross_entropy",
        "--task translation_kd --criterion hybrid_kd --gate learned --gate-signal loss --lr 0.1",
        "--task translation_kd --criterion f_distill --lr-scheduler inverse_sqrt --source-lang src --fp16",
        "--task translation_lev --criterion nat_loss --arch cmlm_transformer --noise random_mask --scoring sacrebleu",
    ],
)
def test_it_is_hydras(words: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    quickly = configured(tmp_path, *words.split())
    compose_quickly(False)
    request.addfinalizer(lambda: compose_quickly(not request.config.getoption("--no-fork")))
    slowly = configured(tmp_path, *words.split())
    assert OmegaConf.to_yaml(quickly) == OmegaConf.to_yaml(slowly)
    assert quickly == slowly


def test_a_copy_is_nobody_elses(tmp_path: Path) -> None:
    first = configured(tmp_path, "--task", "translation_kd")
    first.task.source_lang = "changed"
    assert configured(tmp_path, "--task", "translation_kd").task.source_lang is None
