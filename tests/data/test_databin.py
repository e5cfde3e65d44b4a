"""Data-bins as fairseq takes them: its own loader is the oracle."""

from pathlib import Path
from typing import Any

import pytest
from fairseq.tasks.translation import load_langpair_dataset

from fairseq_kd.data.databins.databin import open_databin, open_dictionaries, source_hashes
from fairseq_kd.data.soft_targets import data_hashes
from fairseq_kd.errors import UserError
from tests.support.databins import write_databin, write_side
from tests.support.models import build

PAIR = ("en", "de")


def rows(dataset: Any) -> list[tuple[list[int], list[int]]]:
    return [(dataset.src[row].tolist(), dataset.tgt[row].tolist()) for row in range(len(dataset))]


def of_fairseq(folder: Path, split: str, source: str, target: str) -> Any:
    """What fairseq-train --upsample-primary 1 loads."""
    task = open_dictionaries(folder, (source, target))
    dictionaries = (source, task.source_dictionary, target, task.target_dictionary)
    return load_langpair_dataset(
        str(folder), split, *dictionaries, combine=split == "train", dataset_impl=None, upsample_primary=1,
        left_pad_source=True, left_pad_target=False, max_source_positions=99, max_target_positions=99,
    )  # fmt: skip


@pytest.mark.parametrize("pair", [PAIR, ("en", "zh-CN")], ids="-".join)
def test_train_has_all_its_parts_in_fairseqs_order(pair: tuple[str, str], tmp_path: Path) -> None:
    write_databin(tmp_path, pair, {"train": 200, "train1": 20, "train2": 5, "valid": 4, "valid1": 3})
    # A part in the other direction counts, too
    write_databin(tmp_path, pair[::-1], {"train3": 7}, first=500)
    dataset = open_databin(tmp_path, "train", pair).dataset("train")
    expected = of_fairseq(tmp_path, "train", *pair)
    assert rows(dataset) == rows(expected) and len(dataset) == 232
    assert (dataset.sizes == expected.sizes).all()
    assert len(open_databin(tmp_path, "valid", pair).dataset("valid")) == 4


def test_the_other_direction_swaps_the_sides(tmp_path: Path) -> None:
    write_databin(tmp_path, PAIR, {"train": 9, "train1": 2})
    there, back = (open_databin(tmp_path, "train", pair) for pair in (PAIR, PAIR[::-1]))
    assert rows(back.dataset("train")) == [(target, source) for source, target in rows(there.dataset("train"))]
    assert rows(back.dataset("train")) == rows(of_fairseq(tmp_path, "train", "de", "en"))
    assert (back.cfg.source_lang, back.cfg.target_lang) == ("de", "en")


@pytest.mark.parametrize("impl", ["lazy", "cached"])
def test_old_formats_have_the_same_rows(impl: str, tmp_path: Path) -> None:
    old = write_databin(tmp_path / impl, PAIR, {"train": 30, "test": 3}, impl=impl)
    new = write_databin(tmp_path / "mmap", PAIR, {"train": 30, "test": 3})
    for split in ("train", "test"):
        found, expected = (open_databin(folder, split).dataset(split) for folder in (old, new))
        assert rows(found) == rows(expected) and (found.sizes == expected.sizes).all()
    # The parts may differ in their format
    write_databin(new, PAIR, {"train1": 3}, impl=impl, first=40)
    mixed = open_databin(new, "train").dataset("train")
    assert rows(mixed)[:30] == rows(found_train := open_databin(old, "train").dataset("train"))
    assert len(mixed) == len(found_train) + 3


@pytest.mark.parametrize("impl", ["mmap", "lazy"])
@pytest.mark.parametrize("side", ["en", "de"])
def test_another_dictionary_than_that_of_the_text_is_refused(impl: str, side: str, tmp_path: Path) -> None:
    """Somebody copied the teacher's smaller dictionary over it: the text has numbers that no symbol has."""
    write_databin(tmp_path, PAIR, {"train": 8, "train1": 8, "test": 3}, impl=impl)
    dictionary = tmp_path / f"dict.{side}.txt"
    dictionary.write_text("".join(dictionary.read_text().splitlines(keepends=True)[:7]))
    told = rf"train\.en-de\.{side}\.bin holds symbol number 11, but dict\.{side}\.txt has 11 symbols; binarise the text"
    with pytest.raises(UserError, match=told):
        open_databin(tmp_path, "train")
    task = build(tmp_path, "--user-dir", "fairseq_kd", "--task", "translation_kd", "--upsample-primary", "1")[0]
    with pytest.raises(UserError, match=told):
        task.load_dataset("train", combine=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", r"--upsample-primary -1: .* has train in parts; give --upsample-primary 1"),
        ("--upsample-primary 2 --teacher-cache c", "--upsample-primary 2: --teacher-cache has each row once; give"),
        ("--upsample-primary 2 --distilled-data d", "--upsample-primary 2: --distilled-data has each row once; give"),
        ("--upsample-primary 2", None),
    ],
)
def test_parts_need_a_fitting_upsampling(words: str, told: str | None, tmp_path: Path) -> None:
    """fairseq's default ends in "negative dimensions are not allowed"."""
    write_databin(tmp_path, PAIR, {"train": 8, "train1": 3, "valid": 8})
    options = ["--user-dir", "fairseq_kd", "--task", "translation_kd", *words.split()]
    if "--distilled-data" in options:
        options += ["--criterion", "hybrid_kd", "--gate", "fixed"]
    elif words.endswith(" c"):
        options += ["--criterion", "token_kd"]
    task = build(tmp_path, *options)[0]
    task.load_dataset("valid")
    if told is None:
        task.load_dataset("train", combine=True)
        assert len(task.dataset("train")) == 2 * 8 + 3
        return
    with pytest.raises(UserError, match=told):
        task.load_dataset("train", combine=True)


@pytest.mark.parametrize("impl", ["mmap", "lazy"])
def test_a_cut_file_is_refused(impl: str, tmp_path: Path) -> None:
    write_databin(tmp_path, PAIR, {"test": 30}, impl=impl)
    path = tmp_path / "test.en-de.de.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="subset 'test' cannot be read"):
        open_databin(tmp_path, "test")


@pytest.mark.parametrize("split", ["train", "train1", "test"])
@pytest.mark.parametrize("impl", ["mmap", "lazy"])
def test_a_split_of_empty_files_is_told(impl: str, split: str, tmp_path: Path) -> None:
    """fairseq-preprocess makes it of empty text, and fairseq cannot read it: "cannot mmap an empty file"."""
    write_databin(tmp_path, PAIR, {"train": 8, "train1": 8, "test": 8, split: 0}, impl=impl)
    name = split.removesuffix("1")
    with pytest.raises(UserError, match=rf"{split}\.en-de\.en has no rows"):
        open_databin(tmp_path, name)
    task = build(tmp_path, "--user-dir", "fairseq_kd", "--task", "translation_kd", "--upsample-primary", "1")[0]
    with pytest.raises(UserError, match=rf"{split}\.en-de\.en has no rows"):
        task.load_dataset(name, combine=name == "train")


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    write_databin(tmp_path, PAIR, {"train": 5, "train1": 2})
    write_side(tmp_path / "train1.en-de.de", ["w1"])
    with pytest.raises(UserError, match="has 7 rows of en, 6 of de"):
        open_databin(tmp_path, "train")
    for ending in ("bin", "idx"):
        (tmp_path / f"train1.en-de.de.{ending}").unlink()
    with pytest.raises(UserError, match=r"train1\.en-de\.de\.idx: no such file"):
        open_databin(tmp_path, "train")


def test_hashes_cover_all_parts(tmp_path: Path) -> None:
    write_databin(tmp_path, PAIR, {"train": 5, "test": 2})
    single = source_hashes(tmp_path, "train", *PAIR)
    assert list(single) == ["dict.en.txt", "dict.de.txt", "train.en-de.en.bin", "train.en-de.en.idx"]
    write_databin(tmp_path, PAIR, {"train1": 2}, first=50)
    assert source_hashes(tmp_path, "train", *PAIR) == {
        **single,
        **{name: value for name, value in source_hashes(tmp_path, "train1", *PAIR).items() if "train1" in name},
    }
    assert len(data_hashes(tmp_path, "train", *PAIR)) == 10
    assert [name for name in source_hashes(tmp_path, "test", "de", "en") if "test" in name] == [
        "test.en-de.de.bin",
        "test.en-de.de.idx",
    ]


def test_another_pair_is_named(tmp_path: Path) -> None:
    for target in ("de", "fr"):
        write_databin(tmp_path, ("en", target), {"train": 2})
    with pytest.raises(UserError, match=r"no subset 'test' for en-de; it has: train \(and the pairs en-fr\)"):
        open_databin(tmp_path, "test", PAIR)
    with pytest.raises(UserError, match="en-de and en-fr"):
        open_databin(tmp_path, "train")


def test_a_dictionary_with_a_second_pad(tmp_path: Path) -> None:
    write_databin(tmp_path, PAIR, {"test": 2})
    with open(tmp_path / "dict.de.txt", "a") as handle:
        handle.write("<pad> 1 #fairseq:overwrite\n<0x0A> 1\n<mask> 1\n")
    dictionary = open_databin(tmp_path, "test").target_dictionary
    assert dictionary.pad() == 1 and dictionary.index("<pad>") == 13 and dictionary.index("<mask>") == 15
