"""The language pairs and the files of a data-bin, from file names alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_kd.data.databins.files import (
    choose_pair,
    file_names,
    only_folder,
    pairs_in,
    parts_of,
    splits_of,
)
from fairseq_kd.data.databins.indexes import rows_of_split
from fairseq_kd.errors import UserError
from tests.support.databins import write_databin, write_dictionary


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


HYPHENS = [
    ("en", "zh-CN"),
    ("zh-CN", "en"),
    ("sr-Latn", "pt_BR"),
    ("zh-Hant-TW", "sr-Latn-RS"),
    ("en", "en-GB"),
    ("en-GB", "en"),
    ("a-b", "a"),
]


@pytest.mark.parametrize("pair", HYPHENS, ids="-".join)
def test_codes_with_hyphens(pair: tuple[str, str], tmp_path: Path) -> None:
    write_databin(tmp_path, pair, {"train": 2, "test": 2})
    assert pairs_in(tmp_path) == [pair] and choose_pair(tmp_path) == pair
    assert choose_pair(tmp_path, (pair[1], pair[0])) == pair[::-1]


def test_dictionaries_tell_where_a_code_ends(tmp_path: Path) -> None:
    touch(tmp_path, "train.a-b-c.a-b.idx", "train.a-b-c.b-c.idx", "dict.a.txt", "dict.b-c.txt")
    assert pairs_in(tmp_path) == [("a", "b-c")]
    touch(tmp_path, "train.a-b-c.a.idx", "train.a-b-c.c.idx", "dict.a-b.txt", "dict.c.txt")
    with pytest.raises(UserError, match="holds the pairs a to b-c and a-b to c; choose one with --source-lang"):
        choose_pair(tmp_path)
    assert choose_pair(tmp_path, ("a-b", None)) == ("a-b", "c")


@pytest.mark.parametrize("target", ["None", "zh-CN"])
def test_source_only(target: str, tmp_path: Path) -> None:
    touch(tmp_path, f"test.en-{target}.en.idx", "dict.en.txt")
    assert choose_pair(tmp_path) == ("en", target)
    assert choose_pair(tmp_path, ("en", "zh-CN")) == ("en", target)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    for target in ("de", "fr"):
        write_databin(tmp_path / "bin", ("en", target), {"test": 2})
    return tmp_path / "bin"


def test_several_pairs(several: Path) -> None:
    with pytest.raises(UserError) as error:
        choose_pair(several)
    assert "it holds the pairs en-de and en-fr; choose one with --source-lang and --target-lang" in str(error.value)
    assert choose_pair(several, ("en", "fr")) == choose_pair(several, (None, "fr")) == ("en", "fr")
    assert choose_pair(several, recorded=lambda: ("en", "fr")) == ("en", "fr")
    assert choose_pair(several, ("en", "de"), lambda: ("en", "fr")) == ("en", "de")
    for other in (("fr", "en"), (None, None), ("en", "it"), ("en", None)):
        with pytest.raises(UserError, match="en-de and en-fr"):
            choose_pair(several, recorded=lambda other=other: other)
    with pytest.raises(UserError, match=r"--target-lang it: data-bin .* holds en-de and en-fr"):
        choose_pair(several, (None, "it"))
    with pytest.raises(UserError, match="en-de and en-fr"):
        choose_pair(several, ("en", None))


def test_the_other_direction(tmp_path: Path) -> None:
    write_databin(tmp_path, ("en", "de"), {"test": 2})
    assert choose_pair(tmp_path, ("de", "en")) == choose_pair(tmp_path, ("de", None)) == ("de", "en")
    assert choose_pair(tmp_path, (None, "de")) == ("en", "de")
    assert file_names(tmp_path, "test", "de", "en", "de") == ["test.en-de.de.bin", "test.en-de.de.idx"]
    assert splits_of(tmp_path, "de", "en") == ["test"]
    write_databin(tmp_path, ("de", "en"), {"valid": 2})
    assert choose_pair(tmp_path, ("de", "en")) == ("de", "en")
    with pytest.raises(UserError, match="holds the pairs de-en and en-de"):
        choose_pair(tmp_path)
    assert splits_of(tmp_path, "de", "en") == ["test", "valid"]


def test_a_checkpoint_is_asked_only_where_it_is_needed(tmp_path: Path) -> None:
    write_databin(tmp_path, ("en", "de"), {"test": 2})

    def unreadable() -> tuple[str, str]:
        raise UserError("the checkpoint is damaged")

    assert choose_pair(tmp_path, recorded=unreadable) == ("en", "de")


def test_folders_without_a_databin(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        choose_pair(tmp_path / "none")
    with pytest.raises(UserError, match=r"no file named like train\.en-de\.en\.idx; was it made by fairseq-preprocess"):
        choose_pair(touch(tmp_path / "empty", "notes"))
    with pytest.raises(UserError, match="raw text; leave out --dataset-impl raw"):
        choose_pair(touch(tmp_path / "raw", "train.en-de.en", "train.en-de.de"))
    write_dictionary(tmp_path / "dictionaries", "en")
    write_dictionary(tmp_path / "dictionaries", "de")
    assert choose_pair(tmp_path / "dictionaries", ("en", "de")) == ("en", "de")


def test_languages_that_hold_a_dot(tmp_path: Path) -> None:
    """fairseq cannot find them in the names either: the user or the checkpoint has to name them."""
    pair = ("tok.en", "tok.de")
    write_databin(tmp_path, pair, {"test": 2})
    assert choose_pair(tmp_path, pair) == choose_pair(tmp_path, recorded=lambda: pair) == pair
    assert splits_of(tmp_path, *pair) == ["test"]
    with pytest.raises(
        UserError, match=r"if the languages hold a dot, as tok\.en, give --source-lang and --target-lang"
    ):
        choose_pair(tmp_path)


def test_parts_of_train(tmp_path: Path) -> None:
    rows = {"train": 20, "train1": 3, "train2": 2, "train4": 7, "valid": 2, "valid1": 2}
    write_databin(tmp_path, ("en", "de"), rows)
    assert parts_of(tmp_path, "train", "en", "de") == ["train.en-de.", "train1.en-de.", "train2.en-de."]
    assert parts_of(tmp_path, "valid", "en", "de") == ["valid.en-de."]
    assert parts_of(tmp_path, "train1", "en", "de") == ["train1.en-de."]
    assert parts_of(tmp_path, "test", "en", "de") == []
    # fairseq stops at the first number that is missing
    assert splits_of(tmp_path, "en", "de") == ["train", "train4", "valid", "valid1"]
    assert rows_of_split(tmp_path, "train", "en", "de", "de") == 25


@pytest.mark.parametrize("impl", ["mmap", "lazy", "cached"])
def test_rows_are_counted_in_every_format(impl: str, tmp_path: Path) -> None:
    write_databin(tmp_path, ("en", "de"), {"train": 11}, impl=impl)
    assert rows_of_split(tmp_path, "train", "en", "de", "en") == 11
    (tmp_path / "train.en-de.de.idx").write_bytes(b"something else")
    assert rows_of_split(tmp_path, "train", "en", "de", "de") == 0


def test_several_databins(tmp_path: Path) -> None:
    first, second = (write_databin(tmp_path / name, ("en", "de"), {"train": 2, "test": 2}) for name in "ab")
    both = f"{first}:{second}"
    assert only_folder(both, "test") == first and choose_pair(both) == ("en", "de")
    with pytest.raises(UserError, match="takes one of these 2 data-bins in each epoch"):
        only_folder(both, "train")
    with pytest.raises(UserError, match="no such folder"):
        only_folder(f"{tmp_path}/none:{first}", "test")
    odd = write_databin(tmp_path / "a:c", ("en", "de"), {"train": 2})
    assert only_folder(odd, "train") == odd


def test_the_import_is_light() -> None:
    program = "import sys, fairseq_kd.data.databins.files; print({'torch', 'fairseq', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
