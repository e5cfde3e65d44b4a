"""Folders that are whole or absent."""

from pathlib import Path

import pytest

from fairseq_kd.storage.files import whole_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "a" / "b") as new:
        (new / "file").write_text("half")
        raise RuntimeError
    assert not list((tmp_path / "a").iterdir())
    (tmp_path / "a" / "b").mkdir()
    with whole_folder(tmp_path / "a" / "b") as new:
        (new / "file").write_text("all")
        assert not list((tmp_path / "a" / "b").iterdir())
    assert (tmp_path / "a" / "b" / "file").read_text() == "all"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_of_two_that_make_the_same_folder_the_first_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as late, whole_folder(tmp_path / "out") as early:
        (late / "file").write_text("late")
        (early / "file").write_text("early")
    assert (tmp_path / "out" / "file").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
