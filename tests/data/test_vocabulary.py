"""A model and data of different vocabularies never meet, in any verb."""

import shutil
from pathlib import Path

import pytest

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_dictionaries
from fairseq_kd.data.databins.vocabulary import check_languages, dictionary_files
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint


@pytest.mark.parametrize("verb", ["decode", "evaluate", "cache"])
def test_equal_size_in_another_order_is_refused(
    verb: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data-bin"
    shutil.copytree(tiny_corpus, data)
    lines = (data / "dict.tgt.txt").read_text().splitlines(keepends=True)
    (data / "dict.tgt.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    words = [verb, "--model", str(tiny_teacher), "--data", str(data), "--subset", "test"]
    words += ["--top-k", "2", "--output"] if verb == "cache" else ["--output"]
    with pytest.raises(UserError, match=r"its target vocabulary .* the first that differs is number 4"):
        cli.main([*words, str(tmp_path / "out" / "file")])
    assert not (tmp_path / "out" / "file").is_file()


@pytest.mark.parametrize("language", ["src", "tgt"])
def test_a_data_bin_cut_short_is_refused(language: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    data = tmp_path / "data-bin"
    shutil.copytree(tiny_corpus, data)
    text = data / f"test.src-tgt.{language}.bin"
    text.write_bytes(text.read_bytes()[:-4])
    words = ["decode", "--model", str(tiny_teacher), "--data", str(data), "--subset", "test", "--output"]
    with pytest.raises(UserError, match="'test' cannot be read"):
        cli.main([*words, str(tmp_path / "out")])


@pytest.mark.parametrize(("read", "told"), [(("tgt", "src"), True), (("src", "tgt"), False)])
def test_a_teacher_of_the_opposite_direction_is_told(
    read: tuple[str, str], told: bool, tiny_corpus: Path, tiny_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training without --source-lang records no languages, and joined dictionaries do not tell a direction."""
    config = read_checkpoint(tiny_teacher)["cfg"]
    config.task.data = str(tiny_corpus)
    check_languages("teacher.pt", config, open_dictionaries(tiny_corpus, read), "teacher")
    assert ("the teacher seems to translate in the opposite direction" in caplog.text) == told


@pytest.mark.parametrize("name", ["plain", "a:b"])
def test_the_dictionaries_of_several_data_bins_are_the_first_ones(
    name: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """--teacher-data takes what the teacher was trained on, fairseq's a:b too; a folder's name may hold a colon."""
    task = open_dictionaries(tiny_corpus)
    found = shutil.copytree(tiny_corpus, tmp_path / name)
    config = read_checkpoint(tiny_teacher)["cfg"]
    for given in (str(found), f"{found}:{tmp_path / 'other'}" if name == "plain" else str(found)):
        files = dictionary_files(str(tmp_path / "teacher.pt"), config, task, given)
        assert files == [found / "dict.src.txt", found / "dict.tgt.txt"]
    config.task.data = str(found)
    assert dictionary_files(str(tmp_path / "teacher.pt"), config, task, None) == files
