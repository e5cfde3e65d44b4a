"""scripts/join_databins.sh: the rows of one data-bin, then those of another."""

import shutil
from pathlib import Path

import pytest

from fairseq_kd.data.databins.databin import open_databin
from tests.support.files import contents
from tests.support.scripts import refused, shell


def rows(data: Path, split: str) -> list[tuple[list[int], list[int]]]:
    dataset = open_databin(data, split).dataset(split)
    return [(dataset[row]["source"].tolist(), dataset[row]["target"].tolist()) for row in range(len(dataset))]


@pytest.mark.slow
def test_gold_and_distilled_rows_together(tiny_corpus: Path, distilled: Path, tmp_path: Path) -> None:
    done = shell("join_databins.sh", "both", tiny_corpus, distilled, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    both = tmp_path / "both" / "data-bin"
    gold, other = rows(tiny_corpus, "train"), rows(distilled, "train")
    assert gold != other and rows(both, "train") == gold + other
    for split in ("valid", "test"):
        assert rows(both, split) == rows(tiny_corpus, split)
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["data-bin", "lock"]
    before = contents(tmp_path)
    again = shell("join_databins.sh", "both", tiny_corpus, distilled, folder=tmp_path)
    assert "done before" in again.stderr and contents(tmp_path) == before
    assert shell("join_databins.sh", "both", distilled, tiny_corpus, folder=tmp_path).returncode == 0
    assert rows(both, "train") == other + gold
    changed = Path(shutil.copytree(distilled, tmp_path / "other valid"))
    for path in tiny_corpus.glob("test.*"):
        shutil.copy(path, changed / path.name.replace("test", "valid"))
    assert shell("join_databins.sh", "both", changed, tiny_corpus, folder=tmp_path).returncode == 0
    assert rows(both, "valid") == rows(tiny_corpus, "test")


@pytest.fixture
def changed(distilled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(distilled, tmp_path / "changed"))


def test_other_symbols_are_refused_and_other_counts_are_not(tiny_corpus: Path, changed: Path, tmp_path: Path) -> None:
    path = changed / "dict.tgt.txt"
    symbols = [line.split()[0] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{symbol} 7\n" for symbol in reversed(symbols)))
    line = refused("join_databins.sh", "both", tiny_corpus, changed, folder=tmp_path)
    assert line.endswith(f"{path} has other symbols than {tiny_corpus}/dict.tgt.txt")
    path.write_text("".join(f"{symbol} 7\n" for symbol in symbols))
    assert shell("join_databins.sh", "both", tiny_corpus, changed, folder=tmp_path).returncode == 0


def test_a_data_bin_without_training_rows_is_refused(tiny_corpus: Path, changed: Path, tmp_path: Path) -> None:
    (changed / "train.src-tgt.tgt.idx").unlink()
    line = refused("join_databins.sh", "both", tiny_corpus, changed, folder=tmp_path)
    assert line.endswith(f"data-bin {changed}: no train.src-tgt.tgt.idx")


def test_a_split_with_another_name_is_taken(tiny_corpus: Path, changed: Path, tmp_path: Path) -> None:
    assert shell("join_databins.sh", "both", changed, tiny_corpus, folder=tmp_path).returncode == 0
    for path in changed.glob("test.*"):
        path.rename(path.with_name(path.name.replace("test", "test1")))
    (changed / "checksums.json").unlink(missing_ok=True)
    assert shell("join_databins.sh", "both", changed, tiny_corpus, folder=tmp_path).returncode == 0
    made = {path.name.split(".")[0] for path in (tmp_path / "both" / "data-bin").glob("*.idx")}
    assert made == {"train", "valid", "test1"}


def test_splits_whose_names_begin_with_train_are_copied(tiny_corpus: Path, changed: Path, tmp_path: Path) -> None:
    for path in tiny_corpus.glob("valid.*"):
        for split in ("train1", "train_bt"):  # the first is a part of train, the second a split of its own
            shutil.copy(path, changed / path.name.replace("valid", split))
    assert shell("join_databins.sh", "both", changed, tiny_corpus, folder=tmp_path).returncode == 0
    both = tmp_path / "both" / "data-bin"
    assert rows(both, "train_bt") == rows(tiny_corpus, "valid") and not list(both.glob("train1.*"))
    assert rows(both, "train") == rows(changed, "train") + rows(tiny_corpus, "train")
    for path in tiny_corpus.glob("test.*"):
        shutil.copy(path, changed / path.name.replace("test", "train_bt"))
    assert shell("join_databins.sh", "both", changed, tiny_corpus, folder=tmp_path).returncode == 0
    assert rows(both, "train_bt") == rows(tiny_corpus, "test")
