"""Rows that a teacher cannot take, and symbols that text cannot hold: what a distilled data-bin does with them."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from fairseq_kd.corpus.cache import cache
from fairseq_kd.corpus.distilled.databin import keep_translated, take_sources
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.left_out import read_left_out
from fairseq_kd.data.distilled import DistilledDataset
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.commands import environment
from tests.support.corpora import binarise
from tests.support.models import build

TASK = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--gate", "teacher_entropy")
LEFT_OUT = [0, 3, 150, 299]


@pytest.fixture(scope="module")
def partial(tiny_text: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distilled data-bin whose targets are the gold ones of the row before; some rows were not translated."""
    text = tmp_path_factory.mktemp("partial")
    for split in ("train", "valid", "test"):
        for side in ("src", "tgt"):
            (text / f"{split}.{side}").write_text((tiny_text / f"{split}.{side}").read_text())
    gold = (tiny_text / "train.tgt").read_text().splitlines()
    lines = ["" if row in LEFT_OUT else gold[row - 1] for row in range(len(gold))]
    (text / "train.tgt").write_text("".join(f"{line}\n" for line in lines))
    new = text / "made"
    new.mkdir()
    assert keep_translated(text, "src", "tgt", new) == len(LEFT_OUT)
    for side in ("src", "tgt"):
        (text / f"train.{side}").write_text((new / f"kept.{side}").read_text())
    dictionary = str(tiny_corpus / "dict.src.txt")
    data = binarise(text, text / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)
    (new / "left_out.json").rename(data / "left_out.json")
    take_sources(data, tiny_corpus, "src", "tgt")
    return data


def test_a_data_bin_lacks_the_rows_on_both_sides(partial: Path, tiny_corpus: Path) -> None:
    gold, made = (open_databin(data, "train").dataset("train") for data in (tiny_corpus, partial))
    kept = [row for row in range(len(gold)) if row not in LEFT_OUT]
    assert len(made) == len(kept) and read_left_out(partial, "train")[1].tolist() == LEFT_OUT
    assert read_left_out(partial, "valid") is None
    for place, row in enumerate(kept):
        assert torch.equal(made.src[place], gold.src[row]) and torch.equal(made.tgt[place], gold.tgt[row - 1])


@pytest.mark.parametrize("proved", [True, False])
def test_training_joins_the_rows_that_are_there(
    partial: Path, tiny_corpus: Path, proved: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = partial
    if not proved:  # hashes of the sources prove the rows, else every row is compared
        data = tmp_path
        for path in partial.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        found = read_json(data / "left_out.json")
        del found["sources"]
        (data / "left_out.json").write_text(json.dumps(found))
    task, _, _ = build(tiny_corpus, *TASK, "--distilled-data", str(data))
    with caplog.at_level(logging.WARNING):
        task.load_dataset("train")
    assert f"no translation of {len(LEFT_OUT)} of the 300 rows" in caplog.text
    dataset = task.dataset("train")
    kept, ignored = dataset.filter_indices_by_size(np.arange(300), (1024, 1024))
    assert ignored == LEFT_OUT and not set(kept) & set(LEFT_OUT)
    rows = [1, 4, 298]
    batch = dataset.collater([dataset[row] for row in rows])
    for row, target in zip(batch["id"].tolist(), batch["distilled"], strict=True):
        gold = dataset.dataset.tgt[row - 1]
        assert torch.equal(target[: len(gold)], gold)


def test_a_cache_of_it_goes_with_its_rows(partial: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    cache(str(tiny_teacher), partial, tmp_path, 4, subset="train", teacher_data=str(tiny_corpus))
    live = ("--teacher-path", str(tiny_teacher), "--teacher-data", str(tiny_corpus), "--kd-top-k", "4")
    found = []
    for option in (("--teacher-cache", str(tmp_path)), live):
        words = (*TASK, "--distilled-data", str(partial), "--gate-token-prefixes", "distilled", *option)
        task, model, criterion = build(tiny_corpus, *words)
        task.load_dataset("train")
        dataset = task.dataset("train")
        sample = dataset.collater([dataset[row] for row in (1, 2, 149, 151, 298)])
        found.append(criterion(model.train(), sample)[2])
    for name in ("sentence_nll", "kd_loss"):
        assert found[0][name].item() == pytest.approx(found[1][name].item(), rel=1e-3)


def test_rows_that_the_caches_teacher_could_not_take_are_left_out(
    partial: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    cache(str(tiny_teacher), partial, tmp_path, 4, subset="train", teacher_data=str(tiny_corpus))
    made = read_json(tmp_path / "train" / "manifest.json")
    (tmp_path / "train" / "manifest.json").write_text(json.dumps({**made, "max_positions": [7, 1024]}))
    words = ("--distilled-data", str(partial), "--gate-token-prefixes", "distilled", "--teacher-cache", str(tmp_path))
    task, _, _ = build(tiny_corpus, *TASK, *words)
    task.load_dataset("train")
    dataset = task.dataset("train")
    too_long = np.flatnonzero(dataset.src_sizes > 7).tolist()
    assert 10 < len(too_long) < 290
    _, ignored = dataset.filter_indices_by_size(np.arange(300), (1024, 1024))
    assert sorted(ignored) == sorted({*LEFT_OUT, *too_long})


def test_an_empty_translation_is_left_out_where_no_file_names_it(tiny_corpus: Path) -> None:
    gold = open_databin(tiny_corpus, "train").dataset("train")
    other = open_databin(tiny_corpus, "train").dataset("train")
    other.tgt_sizes = np.array(other.tgt_sizes)
    other.tgt_sizes[5] = 1
    joined = DistilledDataset(gold, other, np.arange(300))
    assert joined.filter_indices_by_size(np.arange(300), (1024, 1024))[1] == [5]
    named = DistilledDataset(gold, other, np.arange(300), empty_is_missing=False)
    assert named.filter_indices_by_size(np.arange(300), (1024, 1024))[1] == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"split": "train", "rows": 300, "left_out": [3, 3]}', "[" * 100000])
def test_a_damaged_list_is_refused(tiny_corpus: Path, damage: str, tmp_path: Path) -> None:
    (tmp_path / "left_out.json").write_text(damage)
    with pytest.raises(UserError, match=r"left_out\.json: damaged \(.*\); delete the folder"):
        read_left_out(tmp_path, "train")


def test_a_teacher_that_translated_nothing_is_refused(tmp_path: Path) -> None:
    for side in ("src", "tgt"):
        (tmp_path / f"train.{side}").write_text("\n\n")
    with pytest.raises(UserError, match="translated none of the 2 rows"):
        keep_translated(tmp_path, "src", "tgt", tmp_path)


@pytest.mark.parametrize("nested", [False, True])
def test_an_empty_sample_stays_where_the_decode_names_the_rows(nested: bool, tmp_path: Path) -> None:
    for side, text in (("src", "a\nb\nc\n"), ("tgt", "x\n\n\n")):
        (tmp_path / f"train.{side}").write_text(text)
    made = {"skipped": {"empty_source": [], "too_long_source": [2]}}
    (tmp_path / "signature.json").write_text(json.dumps({"decode": made} if nested else made))
    assert keep_translated(tmp_path, "src", "tgt", tmp_path) == 1
    assert (tmp_path / "kept.src").read_text() == "a\nb\n"
    assert (tmp_path / "kept.tgt").read_text() == "x\n\n"


def test_special_symbols_in_the_sources_stay(tiny_corpus: Path, tmp_path: Path) -> None:
    gold, made = tmp_path / "gold", tmp_path / "made"
    for folder in (gold, made):
        folder.mkdir()
        for path in tiny_corpus.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    rows = [row.clone() for row in open_databin(tiny_corpus, "train").dataset("train").src]
    rows[7][0], rows[9][0], rows[11][0] = 2, 1, 0  # </s>, <pad>, <s>
    stem = str(gold / "train.src-tgt.src")
    builder = MMapIndexedDatasetBuilder(f"{stem}.bin", dtype=np.uint16)
    for row in rows:
        builder.add_item(row)
    builder.finalize(f"{stem}.idx")
    words = [sys.executable, "-m", "fairseq_kd.corpus.distilled.databin", "sources", made, gold, "src", "tgt"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr == ""  # nothing of fairseq's "INFO … loaded 400 examples"
    found = open_databin(made, "train").dataset("train").src
    assert all(torch.equal(one, other) for one, other in zip(found, rows, strict=True))


def test_a_cache_of_whole_sources_is_refused_for_cut_ones(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    cache(str(tiny_teacher), tiny_corpus, tmp_path, 4, subset="train")
    words = ("--task", "translation_kd", "--criterion", "token_kd", "--teacher-cache", str(tmp_path))
    words += ("--truncate-source", "--max-source-positions")
    task, _, _ = build(tiny_corpus, *words, "5")
    with pytest.raises(UserError, match=r"--truncate-source: it cuts \d+ sources of train .* leave out"):
        task.load_dataset("train")
    task, _, _ = build(tiny_corpus, *words, "1024")
    task.load_dataset("train")
