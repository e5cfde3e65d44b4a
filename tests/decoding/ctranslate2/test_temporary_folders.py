"""Where the home folder cannot be written, decoding goes on from a temporary folder; a full one is told in a line."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2 import kept_folder
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead
from tests.support.models import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def no_home(tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that even root cannot write: a file."""
    monkeypatch.delenv("FAIRSEQ_KD_CACHE")
    monkeypatch.setenv("HOME", str(tiny_corpus / "dict.src.txt"))
    kept_folder._temporary_folder.cache_clear()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 4 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_auto_decodes_without_a_home(
    no_home: None, tiny_corpus: Path, tiny_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = open_databin(tiny_corpus, "test")
    chosen = choose_engine("auto", "float32", [str(tiny_teacher)], task)
    assert chosen.engine == "ctranslate2"
    (line,) = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert "dict.src.txt/.cache/fairseq_kd" in line and "set FAIRSEQ_KD_CACHE to keep it" in line
    rows = [task.dataset("test").src[row] for row in range(4)]
    assert len(chosen.build().translate(rows, DecodingOptions(max_len_b=5))) == 4


def test_a_full_temporary_folder(no_home: None, tiny_corpus: Path, tiny_teacher: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    with full_disk(), pytest.raises(UserError, match=r"neither .*fairseq_kd nor \$TMPDIR can be written .*with room"):
        choose_engine("auto", "float32", [str(tiny_teacher)], task)


def test_rollouts_with_a_full_temporary_folder(tiny_corpus: Path) -> None:
    task, model, _ = build(tiny_corpus, "--task", "translation_kd")
    task.load_dataset("train")
    iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=200, seed=1)
    sample = next(iterator.next_epoch_itr(shuffle=False))
    ahead = RolloutsAhead(task, Sampling(), 2, [1], 1)
    with full_disk(), pytest.raises(UserError, match=r"--rollout-refresh 2: a temporary copy .*set TMPDIR") as told:
        ahead.draw(model.train(), sample)
    assert "\n" not in str(told.value)
    assert len(ahead.draw(model, sample))  # and with room again it draws
