"""Noise in the training targets: so many rows, others' targets, the same lines in all, the same for a seed."""

import json
from collections import Counter
from pathlib import Path

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.noise import add_noise, misalign
from fairseq_kd.errors import UserError
from tests.support.corpora import write_text

TARGETS = [f"target {row}" for row in range(50)]


@pytest.mark.parametrize(("share", "moved"), [(0, 0), (0.04, 2), (0.2, 10), (0.4, 20), (1, 50)])
def test_so_many_rows_have_another_rows_target(share: float, moved: int) -> None:
    noisy = misalign(TARGETS, share, seed=1)
    assert sum(map(str.__ne__, noisy, TARGETS)) == moved
    assert Counter(noisy) == Counter(TARGETS)
    assert noisy == misalign(TARGETS, share, seed=1)


def test_more_noise_holds_less_noise() -> None:
    few, many = ({row for row in range(50) if misalign(TARGETS, share, 3)[row] != TARGETS[row]} for share in (0.2, 0.4))
    assert few < many
    assert misalign(TARGETS, 0.4, 3) != misalign(TARGETS, 0.4, 4)


@pytest.mark.parametrize("share", [-0.1, 1.1, 0.02, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(UserError, match="--share"):
        misalign(TARGETS, share, seed=1)


def test_the_verb_changes_the_training_targets_alone(tmp_path: Path) -> None:
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    write_text(clean, {"train": 30, "valid": 5, "test": 5})
    words = ["noise", "--source-lang", "src", "--target-lang", "tgt", "--input", str(clean), "--share", "0.5"]
    with pytest.raises(UserError, match="it is the input"):
        cli.main([*words, "--output", str(clean)])
    cli.main([*words, "--output", str(noisy)])
    names = sorted(path.name for path in clean.iterdir())
    assert sorted(path.name for path in noisy.iterdir()) == sorted([*names, "noise.json"])
    changed = [name for name in names if (clean / name).read_bytes() != (noisy / name).read_bytes()]
    assert changed == ["train.tgt"]


def test_the_function_returns_how_many_targets_moved(tmp_path: Path) -> None:
    write_text(tmp_path / "clean", {"train": 30, "valid": 5, "test": 5})
    moved = add_noise(tmp_path / "clean", tmp_path / "noisy", ("src", "tgt"), 0.5, seed=2)
    found = json.loads((tmp_path / "noisy" / "noise.json").read_text())
    clean, noisy = ((tmp_path / name / "train.tgt").read_text().splitlines() for name in ("clean", "noisy"))
    assert moved == sum(map(str.__ne__, clean, noisy)) > 10
    assert found == {"share": 0.5, "seed": 2, "other_targets": moved}
