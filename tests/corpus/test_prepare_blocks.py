"""`fairseq-kd prepare` in blocks: the same bytes however it was cut up, killed or shared among processes."""

import fcntl
import gzip
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fairseq.binarizer import FileBinarizer, VocabularyDatasetBinarizer
from fairseq.data import Dictionary

from fairseq_kd.corpus.parallel_text import read_pair
from fairseq_kd.corpus.preparation import prepare as prepare_module
from fairseq_kd.corpus.preparation import prepared_files
from fairseq_kd.corpus.preparation.prepare import prepare
from fairseq_kd.corpus.preparation.subword_model import drawn, train_spm
from fairseq_kd.errors import UserError
from fairseq_kd.storage import processes
from fairseq_kd.storage.files import empty_folder, file_hash
from tests.support.commands import environment
from tests.support.kills import Moment, files_there, kill_and_run_again

WORDS = [f"{one}{other}" for one in ("ba", "lo", "mi", "ne") for other in ("ka", "ro", "ti")]
SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rows of odd length, with an empty side, a mark, unknown symbols and one without a newline at the end."""
    folder = tmp_path_factory.mktemp("text")
    for split, rows in (("train", 57), ("valid", 7), ("test", 5)):
        for shift, side in enumerate(("en", "de")):
            lines = [" ".join(WORDS[(row * 5 + shift + n) % 12] for n in range(1 + row % 6)) for row in range(rows)]
            lines[2 + shift] = " \u2028"
            lines[4] += " <s>" if split == "train" else " 龘 <s>"
            (folder / f"{split}.{side}").write_bytes(("\ufeff" + "\n".join(lines)).encode())
    return {split: folder / split for split in SPLITS}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def made(text: dict[str, Path], output: Path, **options: Any) -> dict[str, bytes]:
    """The files that a run leaves, but for the report, which names the size of the blocks."""
    given = {"vocab_size": 22, "block_rows": 4, "workers": 1, "data_bin": output / "data-bin"} | options
    prepare(text, ("en", "de"), output, **given)
    found = contents(output)
    del found["prepare.json"]
    return found


@pytest.fixture(scope="module")
def whole(text: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run in a single block."""
    return made(text, tmp_path_factory.mktemp("whole"), block_rows=1000)


def test_blocks_and_processes_leave_no_trace(text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path) -> None:
    assert made(text, tmp_path, block_rows=4, workers=2) == whole
    assert whole["subword/train.en"].count(b"\n") == 57 - 2 and "data-bin/train.en-de.de.idx" in whole


@pytest.mark.parametrize("workers", [1, 2])
def test_compressed_text(workers: int, text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path) -> None:
    """The files are those of plain text, and work that was done with plain text is done."""
    packers = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}
    for number, path in enumerate(sorted(text["train"].parent.iterdir())):
        ending, pack = list(packers.items())[number % 3]
        (tmp_path / f"{path.name}{ending}").write_bytes(pack(path.read_bytes()))
    packed = {split: tmp_path / split for split in text}
    assert made(packed, tmp_path / "out", workers=workers) == whole
    before = contents(tmp_path / "out")
    prepare(text, ("en", "de"), tmp_path / "out", vocab_size=22, block_rows=4, data_bin=tmp_path / "out" / "data-bin")
    assert contents(tmp_path / "out") == before


def test_the_data_bin_has_fairseqs_own_bytes(whole: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in whole.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    dictionary = Dictionary.load(str(tmp_path / "dict.txt"))
    for split in SPLITS:
        for side in ("en", "de"):
            name, binarizer = f"{split}.en-de.{side}", VocabularyDatasetBinarizer(dictionary, append_eos=True)
            subwords = str(tmp_path / "subword" / f"{split}.{side}")
            FileBinarizer.multiprocess_dataset(subwords, "mmap", binarizer, str(tmp_path / name), len(dictionary), 1)
            for end in ("bin", "idx"):
                assert (tmp_path / f"{name}.{end}").read_bytes() == whole[f"data-bin/{name}.{end}"], name


def test_the_model_is_that_of_the_whole_text(text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path) -> None:
    source, target = read_pair(text["train"], ("en", "de"))
    assert whole["spm.model"] == train_spm([*source, *target], 22)
    assert made(text, tmp_path / "a", sample=57)["spm.model"] == whole["spm.model"]
    kept = list(drawn(57, 30, seed=3))
    some = [[line for line, kept in zip(side, kept, strict=True) if kept] for side in (source, target)]
    report = prepare(text, ("en", "de"), tmp_path / "b", vocab_size=22, sample=30, seed=3)
    assert (tmp_path / "b" / "spm.model").read_bytes() == train_spm([*some[0], *some[1]], 22)
    assert report["sample"] == {"pairs": 30, "of": 57, "seed": 3}
    with pytest.raises(UserError, match="--sample-pairs 0: give 1 or more"):
        prepare(text, ("en", "de"), tmp_path / "c", vocab_size=22, sample=0)


def test_rows_are_drawn_evenly() -> None:
    times = [0] * 20
    for seed in range(2000):
        rows = list(drawn(20, 5, seed))
        assert sum(rows) == 5 and len(rows) == 20
        times = [one + kept for one, kept in zip(times, rows, strict=True)]
    assert min(times) > 430 and max(times) < 570  # 500 expected, standard deviation 19
    assert list(drawn(3, 9, 1)) == [True] * 3


def test_a_killed_run_goes_on(text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path) -> None:
    output, parts = tmp_path / "out", tmp_path / "out" / "parts"
    words = ["--source-lang", "en", "--target-lang", "de", "--vocab-size", "22", "--workers", "1"]
    words += [word for split in SPLITS for word in (f"--{split}", str(text[split]))]
    small = "from fairseq_kd.corpus.preparation import prepare as p; p.prepare.__kwdefaults__['block_rows'] = 1"
    command = [sys.executable, "-c", f"{small}; from fairseq_kd.cli import main; main()"]
    command += ["prepare", *words, "--output", str(output), "--data-bin", str(output / "data-bin")]
    moments = [files_there(parts, "train-*.npz", 3), files_there(output, "data-bin.*.tmp", 1)]
    kill_and_run_again(command, map(Moment, moments))
    assert not list(output.rglob("*.tmp")) and not parts.exists()
    found = contents(output)
    del found["prepare.json"]
    assert found == whole


def test_only_missing_blocks_are_cut_and_leftovers_go(
    text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "_finish", lambda *_: {})
    prepare(text, ("en", "de"), tmp_path, vocab_size=22, block_rows=4, workers=1)
    parts = tmp_path / "parts"
    monkeypatch.undo()
    times = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    model = (tmp_path / "spm.model").stat().st_mtime_ns
    (parts / "train-00003.npz").unlink()
    for left in ("dict.txt.7.tmp", "subword/train.en.7.tmp", "parts/train-00003.npz.7.tmp", "data-bin.00ff.tmp/x"):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).write_text("half")
    seen: list[dict[Path, int]] = []
    finish = prepare_module._finish

    def watched(*arguments: Any) -> dict[str, Any]:
        seen.append({path: path.stat().st_mtime_ns for path in parts.glob("*.npz")})
        return finish(*arguments)

    monkeypatch.setattr(prepare_module, "_finish", watched)
    assert made(text, tmp_path) == whole
    assert [path.name for path, time in seen[0].items() if times[path] != time] == ["train-00003.npz"]
    assert (tmp_path / "spm.model").stat().st_mtime_ns == model


def test_finished_work_stays_and_other_work_is_replaced(
    text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert made(text, tmp_path) == whole
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert made(text, tmp_path) == whole
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    (tmp_path / "subword" / "train.en").write_text("other\n")
    (tmp_path / "data-bin" / "train.en-de.en.bin").write_bytes(b"other")
    assert made(text, tmp_path) == whole
    other = made(text, tmp_path, vocab_size=20)
    assert other["spm.model"] != whole["spm.model"] and other["data-bin/dict.en.txt"] == other["dict.txt"]
    assert made(text, tmp_path) == whole


@pytest.mark.parametrize("name", ["train.de", "valid.en", "test.de"])
def test_text_that_has_changed_is_prepared_again(name: str, text: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(text["train"].parent, tmp_path / "text")
    moved = {split: tmp_path / "text" / split for split in text}
    first = made(moved, tmp_path / "out")
    changed = tmp_path / "text" / name
    changed.write_text(changed.read_text().replace("baka", "neti"))
    assert made(moved, tmp_path / "out")[f"subword/{name}"] != first[f"subword/{name}"]


def test_a_data_bin_that_another_text_took_is_made_again(text: dict[str, Path], tmp_path: Path) -> None:
    def both(output: str) -> dict[str, bytes]:
        made({**text, "train": text[output]}, tmp_path / output, data_bin=tmp_path / "data-bin")
        return contents(tmp_path / "data-bin")

    first = both("train")
    assert both("valid") != first and both("train") == first


def test_a_data_bin_behind_a_link_or_in_the_current_folder(
    text: dict[str, Path], whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder, or an earlier data-bin that is replaced; what killed runs left beside it goes."""
    disk, link = tmp_path / "disk" / "here", tmp_path / "link"
    (disk.parent / "mine.00ff.tmp").mkdir(parents=True)
    (disk.parent / "here.00ff.tmp").mkdir()
    disk.mkdir()
    link.symlink_to(disk)
    monkeypatch.chdir(disk)
    expected = {name.removeprefix("data-bin/"): text for name, text in whole.items() if name.startswith("data-bin/")}
    for number, data_bin in enumerate((link, Path())):
        for vocab_size in (20, 22):
            made(text, tmp_path / f"out{number}-{vocab_size}", data_bin=data_bin, vocab_size=vocab_size)
        assert contents(disk) == contents(Path()) == expected
    assert link.is_symlink() and {path.name for path in disk.parent.iterdir()} == {"here", "mine.00ff.tmp"}


def test_a_folder_of_other_files_is_no_data_bin(text: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match="mine: the folder holds other files"):
        made(text, tmp_path / "out", data_bin=tmp_path / "mine")
    with pytest.raises(UserError, match="it is a file; give a folder"):
        made(text, tmp_path / "out", data_bin=tmp_path / "mine" / "thesis.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize("place", ["out", "out/subword", "out/parts/bin", "out/spm.model", "out/../link/parts", "."])
def test_a_data_bin_among_the_other_files_is_refused_at_once(place: str, text: dict[str, Path], tmp_path: Path) -> None:
    """In ``parts``, which is deleted at the end, it was gone without a word."""
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(UserError, match=r"the files of --output .* lie there; give a folder of its own"):
        made(text, tmp_path / "out", data_bin=tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_two_runs_at_once(text: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "WAIT", 0.0)
    (tmp_path / "out").mkdir()
    other = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="out: another run is at work in it; wait for it or end it"):
        made(text, tmp_path / "out")
    os.close(other)
    assert made(text, tmp_path / "out")


def test_a_damaged_block_is_one_line(text: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "_finish", lambda *_: {})
    prepare(text, ("en", "de"), tmp_path, vocab_size=22, block_rows=4, workers=1)
    monkeypatch.undo()
    block = tmp_path / "parts" / "valid-00001.npz"
    block.write_bytes(block.read_bytes().replace(b"text0", b"text9"))
    with pytest.raises(UserError, match=r"valid-00001.npz: cannot be read \(its checksum differs\); delete it"):
        made(text, tmp_path)


def test_memory_is_flat_in_the_number_of_pairs(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Without blocks, 40,000 pairs took 17 MB more than 12,000."""
    (tmp_path / "spm.model").write_bytes(whole["spm.model"])
    line = "baka lomi neti roka\n"
    for split, rows in (("few", 12_000), ("many", 40_000), ("valid", 1)):
        for side in ("en", "de"):
            (tmp_path / f"{split}.{side}").write_text(line * rows)

    def peak(train: str) -> int:
        words = ["--source-lang", "en", "--target-lang", "de", "--train", train, "--valid", "valid", "--test", "valid"]
        words += ["--workers", "1", "--spm-model", "spm.model", "--output", train, "--data-bin", f"{train}/data-bin"]
        command = [sys.executable, "-m", "fairseq_kd.cli", "prepare", *words]
        running = subprocess.Popen(command, cwd=tmp_path, env=environment(forked=False), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(running.pid, 0)
        assert status == 0
        return used.ru_maxrss // 1024

    assert peak("many") - peak("few") < 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_processes_are_those_of_the_job_and_not_of_the_machine() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert processes.check_workers(None) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert processes.check_workers(None) == len(allowed)


def test_of_two_runs_into_one_data_bin_the_later_is_refused(
    text: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run begins and ends while this one has its own data-bin ready."""
    languages, shared, write = ("en", "de"), tmp_path / "data-bin", prepared_files.write_checksums

    def with_another(folder: Path) -> None:
        write(folder)
        monkeypatch.setattr(prepared_files, "write_checksums", write)
        prepare(text, languages, tmp_path / "other", vocab_size=20, workers=1, data_bin=shared)

    monkeypatch.setattr(prepared_files, "write_checksums", with_another)
    with pytest.raises(UserError, match=r"--data-bin .*data-bin: another run has written it meanwhile; give a folder"):
        prepare(text, languages, tmp_path / "one", vocab_size=22, workers=1, data_bin=shared)
    before = contents(shared)
    prepare(text, languages, tmp_path / "other", vocab_size=20, workers=1, data_bin=shared)
    assert contents(shared) == before and not (tmp_path / "one" / "prepare.json").exists()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_data_bin_that_another_run_has_emptied_is_refused(
    text: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run begins to replace it just before the check."""
    shared = tmp_path / "data-bin"

    def hash_of_emptied(path: Path) -> str:
        if path.parent == shared:
            empty_folder(shared)
        return file_hash(path)

    monkeypatch.setattr(prepared_files, "file_hash", hash_of_emptied)
    with pytest.raises(UserError, match="another run has written it meanwhile"):
        prepare(text, ("en", "de"), tmp_path / "one", vocab_size=22, workers=1, data_bin=shared)


def test_a_data_bin_that_another_run_has_replaced_is_not_in_the_report(
    text: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run ends while this one counts the checksums of its text."""
    shared, write = tmp_path / "data-bin", prepare_module.write_databin

    def with_another(*given: Any) -> str:
        made = write(*given)
        monkeypatch.setattr(prepare_module, "write_databin", write)
        prepare(text, ("en", "de"), tmp_path / "other", vocab_size=20, workers=1, data_bin=shared)
        return made

    monkeypatch.setattr(prepare_module, "write_databin", with_another)
    report = prepare(text, ("en", "de"), tmp_path / "one", vocab_size=22, workers=1, data_bin=shared)
    assert report["data_bin"] != file_hash(shared / "checksums.json")
