"""Files and folders that are whole or absent."""

import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.storage.checksums import Damaged, read_sealed, with_checksum, without_checksum
from fairseq_kd.storage.files import (
    remove_leftover,
    split_paths,
    whole_file,
    whole_folder,
    write_json,
    write_sealed,
)
from fairseq_kd.storage.structured import read_json
from tests.support.commands import environment

KILLED = """
import os, signal, sys
from fairseq_kd.storage.files import remove_leftover, whole_file, whole_folder
kind, path = sys.argv[1:]
with (whole_file if kind == "file" else whole_folder)(path) as new:
    if kind == "file":
        new.write("half")
        new.flush()
    else:
        (new / "left").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


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


def test_a_folder_behind_a_link_is_made_there(tmp_path: Path) -> None:
    """An empty folder on a larger disk, or one that is not there yet."""
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    for name in ("empty", "new"):
        link = tmp_path / f"link to {name}"
        link.symlink_to(tmp_path / "disk" / name)
        with whole_folder(link) as new:
            (new / "file").write_text("all")
        assert link.is_symlink() and (tmp_path / "disk" / name / "file").read_text() == "all"
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"empty", "new"}


def test_the_current_folder_is_filled_and_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mounted disk, which cannot be replaced: its files go into it, the last that was written at the end."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with whole_folder(".") as new:
        (new / "file").write_text("all")
    assert Path("file").read_text() == "all"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    with whole_folder(Path.cwd()) as late:
        (late / "file").write_text("late")
    assert Path("file").read_text() == "all" and [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_pipe_or_a_device_is_written_and_not_replaced(tmp_path: Path) -> None:
    """`--output /dev/null` by root must leave the machine its device."""
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", {"a": 1})
    assert b'"a": 1' in os.read(reading, 100) and (tmp_path / "pipe").is_fifo()
    (tmp_path / "null").symlink_to(os.devnull)
    write_json(tmp_path / "null", {"a": 1})
    assert (tmp_path / "null").is_symlink() and Path(os.devnull).is_char_device()
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as told, whole_file(tmp_path / "full") as handle:
        handle.write("x" * 100_000)
    assert told.value.filename == str(tmp_path / "full")
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "null", "full"}


def test_of_two_that_make_the_same_folder_the_first_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as late, whole_folder(tmp_path / "out") as early:
        (late / "file").write_text("late")
        (early / "file").write_text("early")
    assert (tmp_path / "out" / "file").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_leaves_is_taken_over(kind: str, tmp_path: Path) -> None:
    for _ in range(2):  # a second kill leaves no second file
        done = subprocess.run([sys.executable, "-c", KILLED, kind, tmp_path / "out"], env=environment())
        assert done.returncode == -signal.SIGKILL
        assert [path.name for path in tmp_path.iterdir()] == ["out.new.tmp"]
    if kind == "file":
        with whole_file(tmp_path / "out") as handle:
            handle.write("all")
        assert (tmp_path / "out").read_text() == "all"
    else:
        with whole_folder(tmp_path / "out") as new:
            assert not list(new.iterdir())
            (new / "file").write_text("all")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_that_write_the_same_file_at_once_do_not_share_it(tmp_path: Path) -> None:
    with whole_file(tmp_path / "out") as late:
        late.write("l")
        with whole_file(tmp_path / "out") as early:
            early.write("early")
        assert (tmp_path / "out").read_text() == "early"
        late.write("ate")
    assert (tmp_path / "out").read_text() == "late"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_writer_may_make_its_folder_anew(tmp_path: Path) -> None:
    """CTranslate2's converter deletes the folder it is given and makes it again; two such do not meet."""

    def write(folder: Path, text: str) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "file").write_text(text)

    with whole_folder(tmp_path / "out") as one:
        write(one, "first")
        with whole_folder(tmp_path / "out") as other:
            write(other, "second")
        assert (one / "file").read_text() == "first"
    assert (tmp_path / "out" / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("make", [whole_file, whole_folder])
def test_without_locks_nothing_is_left(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with make(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_names_the_file_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as told, whole_file(path) as handle:
            handle.write("x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert told.value.filename == str(path)
    assert path.read_text() == "before" and [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_sweep_leaves_the_files_of_runs_at_work(tmp_path: Path) -> None:
    (tmp_path / "out.7.tmp").write_text("of a run that was killed")
    with whole_file(tmp_path / "out") as one, whole_file(tmp_path / "out") as other:
        one.write("one")
        other.write("other")
        for path in list(tmp_path.iterdir()):
            remove_leftover(path)
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_path_that_is_not_utf_8_is_kept_in_json(tmp_path: Path) -> None:
    path = os.fsdecode(b"d\xe9j\xe0/\xc3\xa9.pt")
    write_json(tmp_path / "report.json", {"model": path, "λ": 1.5})
    assert read_json(tmp_path / "report.json") == {"model": path, "λ": 1.5}
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["model"] == path
    write_json(tmp_path / "report.json", {"λ": "é"})
    assert '"λ": "é"' in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("end", range(1, 27))
def test_a_seal_that_is_not_whole_is_no_content(end: int, tmp_path: Path) -> None:
    """Without a word of the seal's, the file counts as one that an earlier version wrote."""
    path = tmp_path / "part"
    write_sealed(path, b"one line\n")
    whole = path.read_bytes()
    assert read_sealed(path) == b"one line\n"
    for damaged in (whole[:-1], whole + b"x", whole[:-end] + b"\x00" + whole[len(whole) - end + 1 :]):
        path.write_bytes(damaged)
        if b"fairseq_kd crc32" in damaged:
            with pytest.raises(Damaged):
                read_sealed(path)


def test_a_checksum_under_another_name_is_damage() -> None:
    value = with_checksum({"rows": 3})
    assert without_checksum(value) == {"rows": 3}
    with pytest.raises(Damaged, match="the key checksum has another name"):
        without_checksum({"rows": 3, "checksun": value["checksum"]})


def test_a_path_with_a_colon_is_one_path_where_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "run:1.pt"
    assert split_paths(str(path)) == [str(tmp_path / "run"), "1.pt"]
    path.touch()
    assert split_paths(str(path)) == [str(path)]
    assert split_paths("a::b:") == ["a", "b"] and split_paths("") == []
    assert split_paths("a" * 5000) == ["a" * 5000]
