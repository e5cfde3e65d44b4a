"""Verbs and scripts on data-bins of several pairs, in the other direction, in parts and in old formats."""

import shutil
from pathlib import Path

import pytest
import torch
from fairseq.data.indexed_dataset import make_builder

from fairseq_kd.corpus.cache import cache
from fairseq_kd.corpus.distilled.decode import decode
from fairseq_kd.corpus.recut_databin import recut_databin
from fairseq_kd.corpus.seq_inter.gold import open_gold
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import splits_of
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.networks.data_languages import data_languages
from tests.support.databins import write_databin
from tests.support.models import edited
from tests.support.scripts import shell

GREEDY = DecodingOptions(beam=1, max_len_a=0, max_len_b=12)


@pytest.fixture
def data(tiny_corpus: Path, tmp_path: Path) -> Path:
    """A data-bin of 40 rows of train and 40 of train1; its dictionaries have Windows line ends."""
    folder = tmp_path / "data-bin"
    folder.mkdir()
    for side in ("src", "tgt"):
        lines = (tiny_corpus / f"dict.{side}.txt").read_bytes()
        (folder / f"dict.{side}.txt").write_bytes(lines.replace(b"\n", b"\r\n"))
        for end in ("bin", "idx"):
            for name, split in (("train", "valid"), ("train1", "test"), ("test", "test")):
                shutil.copy(tiny_corpus / f"{split}.src-tgt.{side}.{end}", folder / f"{name}.src-tgt.{side}.{end}")
    return folder


def test_decode_and_cache_take_all_parts_of_train(tiny_teacher: Path, data: Path, tmp_path: Path) -> None:
    made = decode(str(tiny_teacher), data, tmp_path / "all", GREEDY)
    assert made is not None and made["rows"] == 80 and "train1.src-tgt.src.bin" in made["data"]
    parts = []
    for split in ("train1", "test"):
        decode(str(tiny_teacher), data, tmp_path / split, GREEDY, subset=split)
        parts.append((tmp_path / split / f"{split}.tgt").read_text())
    assert parts[0] == parts[1] and (tmp_path / "all" / "train.tgt").read_text().endswith(parts[0])
    settings = cache(str(tiny_teacher), data, tmp_path / "soft", 2)
    assert settings["rows"] == 80 and {f"train1.src-tgt.{side}.idx" for side in ("src", "tgt")} <= set(settings["data"])
    assert open_gold(data, "train", "none").rows == 80


@pytest.fixture
def named_teacher(tiny_teacher: Path, tmp_path: Path) -> Path:
    """The tiny teacher as fairseq-train --source-lang src --target-lang tgt saves it."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    return edited(tiny_teacher, folder, lambda state: state["cfg"]["task"].update(source_lang="src", target_lang="tgt"))


def test_the_checkpoints_pair_is_taken_of_several(
    named_teacher: Path, tiny_teacher: Path, data: Path, tmp_path: Path
) -> None:
    for path in list(data.glob("*.src-tgt.*")):
        for pair in ("aa-zz", "src-zz"):
            side = "src" if ".src-tgt.src." in path.name else "tgt"
            own = pair.split("-")[side == "tgt"]
            shutil.copy(path, data / path.name.replace(f".src-tgt.{side}.", f".{pair}.{own}."))
    for language in ("aa", "zz"):
        shutil.copy(data / "dict.src.txt", data / f"dict.{language}.txt")
    assert data_languages(data, named_teacher) == ("src", "tgt")
    with pytest.raises(UserError, match="holds the pairs aa-zz and src-tgt and src-zz; choose one"):
        data_languages(data, tiny_teacher)
    made = decode(str(named_teacher), data, tmp_path / "out", GREEDY, subset="test")
    assert made is not None and (made["source"], made["target"]) == ("src", "tgt")
    made = decode(str(tiny_teacher), data, tmp_path / "named", GREEDY, subset="test", languages=("src", "zz"))
    assert made is not None and made["target"] == "zz"
    with pytest.raises(UserError, match="holds the pairs aa-zz and src-tgt and src-zz; choose one"):
        recut_databin(data, tmp_path / "recut", vocab_size=20)
    done = shell("join_databins.sh", "both", data, data, folder=tmp_path)
    assert done.returncode == 1 and "choose one with --source-lang" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = shell("join_databins.sh", "both", data, data, "-s", "src", "--target-lang=zz", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    both = tmp_path / "both" / "data-bin"
    assert len(open_databin(both, "train").dataset("train")) == 160
    assert not any("aa" in path.name or "src-tgt" in path.name for path in both.iterdir())


def test_a_teacher_of_the_other_direction_is_still_refused(named_teacher: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="translates src-tgt, the data is tgt-src"):
        decode(str(named_teacher), data, tmp_path / "out", GREEDY, subset="test", languages=("tgt", "src"))


def test_several_databins(tiny_teacher: Path, data: Path, tmp_path: Path) -> None:
    both = f"{data}:{data}"
    made = decode(str(tiny_teacher), both, tmp_path / "out", GREEDY, subset="test")
    assert made == decode(str(tiny_teacher), data, tmp_path / "out", GREEDY, subset="test")
    with pytest.raises(UserError, match="2 data-bins in each epoch"):
        decode(str(tiny_teacher), both, tmp_path / "train", GREEDY)
    with pytest.raises(UserError, match="2 data-bins in each epoch"):
        cache(str(tiny_teacher), both, tmp_path / "soft", 2)


def test_old_formats_are_decoded_alike(tiny_teacher: Path, data: Path, tmp_path: Path) -> None:
    decode(str(tiny_teacher), data, tmp_path / "new", GREEDY, subset="test")
    rows = open_databin(data, "test").dataset("test")
    for language, side in (("src", rows.src), ("tgt", rows.tgt)):
        builder = make_builder(str(data / f"old.src-tgt.{language}.bin"), "lazy")
        for row in range(len(side)):
            builder.add_item(side[row].to(torch.int32))
        builder.finalize(str(data / f"old.src-tgt.{language}.idx"))
    decode(str(tiny_teacher), data, tmp_path / "old", GREEDY, subset="old")
    assert (tmp_path / "old" / "old.tgt").read_bytes() == (tmp_path / "new" / "test.tgt").read_bytes()


@pytest.mark.slow
def test_a_distilled_databin_of_parts(tiny_teacher: Path, data: Path, tmp_path: Path) -> None:
    for path in data.glob("test.*"):
        for split in ("train3", "train_bt", "training"):  # fairseq-train reads none of them with train
            shutil.copy(path, data / path.name.replace("test", split, 1))
    words = ["--model", tiny_teacher, "--data", data, "--output", "out", "--beam", "1", "--max-len-b", "12"]
    done = shell("generate_distilled_corpus.sh", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "out" / "data-bin"
    assert len(open_databin(made, "train").dataset("train")) == 80 and not list(made.glob("train1*"))
    assert splits_of(made, "src", "tgt") == ["test", "train", "train3", "train_bt", "training"]
    gold, distilled = (open_databin(folder, "train").dataset("train") for folder in (data, made))
    assert all(torch.equal(gold.src[row], distilled.src[row]) for row in range(80))
    for language in ("src", "tgt"):
        assert (made / f"dict.{language}.txt").read_bytes() == (data / f"dict.{language}.txt").read_bytes()


def test_training_refuses_several_pairs(tmp_path: Path) -> None:
    for target in ("de", "fr"):
        write_databin(tmp_path / "data-bin", ("en", target), {"train": 4, "valid": 2})
    done = shell("train.sh", "student", "data-bin", "--arch", "transformer", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "train.sh: error: data-bin data-bin: it holds the pairs en-de and en-fr; choose one with --source-lang and "
        "--target-lang"
    ]
    assert not (tmp_path / "student" / "arguments").exists()
