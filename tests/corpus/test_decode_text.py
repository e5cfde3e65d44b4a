"""`fairseq-kd decode --input`: raw text in blocks, and data-bins without a target side."""

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.text_lines import blocks_of, count_lines, file_blocks
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.commands import Run, environment

pytestmark = pytest.mark.usefixtures("one_thread")

LIMITS = ["--beam", "2", "--max-len-a", "0", "--max-len-b", "40"]  # the same in every batch
FLOODS = """
import sys
from pathlib import Path

from tests.support.text_flood import flood

_, few, many = (flood(sys.argv[1], count, Path(sys.argv[2]))[1] for count in (2000, 3000, 60000))
print(few, many)
"""
ODD = ["", " \t", "s1\u2028s2 \x1cs3\r", "s1 " * 600, "s4\x85 s5"]


def decode(folder: Path, output: Path, *options: str | Path) -> dict[str, Any]:
    """Run the verb; what the signature says."""
    words = ["decode", "--model", folder / "checkpoint_last.pt", "--output", output, *LIMITS, *options]
    cli.main([str(word) for word in words])
    path = output / "signature.json"
    return read_json(path) if path.exists() else {}


@pytest.fixture(scope="module")
def spm(text_teacher: Path) -> tuple[str | Path, ...]:
    return "--spm-model", text_teacher / "spm.model"


@pytest.fixture(scope="module")
def text(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 lines, the odd ones first; the last line has no newline."""
    path = tmp_path_factory.mktemp("raw") / "mono.txt"
    lines = [*ODD, *(tiny_text / "valid.src").read_text().splitlines()]
    path.write_bytes("\n".join(lines).encode())
    return path


@pytest.fixture(scope="module")
def unbroken(
    text_teacher: Path, text: Path, spm: tuple[str | Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A decode of the text in one go, two translations a line."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    decode(text_teacher, output, "--input", text, *spm, "--nbest", "2", "--block-rows", "8")
    return output


def test_the_text_as_it_was_and_its_translations(
    unbroken: Path, text: Path, text_teacher: Path, tmp_path: Path
) -> None:
    assert (unbroken / "text.src").read_bytes() == text.read_bytes() + b"\n"
    lines = (unbroken / "text.tgt").read_bytes().decode().split("\n")
    assert len(lines) == 46 and [i for i, line in enumerate(lines) if not line] == [0, 1, 3, 45]
    decode(text_teacher, tmp_path / "data", "--data", text_teacher / "data-bin", "--subset", "valid", "--nbest", "2")
    tokens = (tmp_path / "data" / "valid.tgt").read_text().splitlines()
    assert lines[5:45] == [line.replace(" ", "").replace("▁", " ").strip() for line in tokens]
    nbest = [line.split("\t") for line in (unbroken / "text.nbest.tsv").read_text().split("\n")[:-1]]
    assert [line[:2] for line in nbest] == [[str(row), str(rank)] for row in range(45) for rank in (1, 2)]
    assert [line[3] for line in nbest[::2]] == lines[:45]
    made = read_json(unbroken / "signature.json")
    assert made["rows"] == 45 and made["lines"] == {"text.src": 45, "text.tgt": 45}
    assert made["skipped"] == {"empty_source": [0, 1], "too_long_source": [3]}
    assert len(made["input"]) == 64 and len(made["tokenizers"]["source-spm"]) == 64


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_shards_of_compressed_text_and_a_lost_block(
    ending: str, unbroken: Path, text: Path, text_teacher: Path, spm: tuple[str | Path, ...], tmp_path: Path
) -> None:
    packed = tmp_path / f"mono.txt.{ending}"
    packed.write_bytes({"gz": gzip, "xz": lzma}[ending].compress(text.read_bytes()))
    options = ["--input", packed, *spm, "--nbest", "2", "--block-rows", "8"]
    output = tmp_path / "out"
    for shard in ("1", "0"):
        assert decode(text_teacher, output, *options, "--shards", "2", "--shard", shard) == {}
    parts = output / "parts"
    assert len(list(parts.glob("text-*.tsv"))) == 6
    (parts / "text-00002.tsv").unlink()
    (parts / "text-00004.src").unlink()
    (parts / "text-00004.tsv.9.tmp").write_text("32\t1")
    before = (parts / "text-00001.tsv").stat().st_mtime_ns
    decode(text_teacher, output, *options)
    assert (parts / "text-00001.tsv").stat().st_mtime_ns == before
    for name in ("text.src", "text.tgt", "text.nbest.tsv"):
        assert (output / name).read_bytes() == (unbroken / name).read_bytes()
    assert decode(text_teacher, output, *options)["input"] != read_json(unbroken / "signature.json")["input"]


def test_samples_depend_on_the_row_alone(
    text_teacher: Path, text: Path, spm: tuple[str | Path, ...], tmp_path: Path
) -> None:
    options = ["--input", text, *spm, "--sampling", "--seed", "3", "--nbest", "2"]
    decode(text_teacher, tmp_path / "a", *options)
    decode(text_teacher, tmp_path / "b", *options, "--block-rows", "7")
    drawn = [(tmp_path / name / "text.nbest.tsv").read_text() for name in "ab"]
    texts = [[line.split("\t")[3] for line in one.split("\n")[:-1]] for one in drawn]
    assert texts[0] == texts[1] and len(texts[0]) == 90 and len(set(texts[0])) > 40


def test_a_run_that_goes_on_at_a_block_of_unknown_symbols(
    text_teacher: Path, text: Path, spm: tuple[str | Path, ...], tmp_path: Path
) -> None:
    """The first block of the file tells whether the tokenizer is the model's, whichever block a run begins with."""
    mixed = tmp_path / "mixed.txt"
    mixed.write_bytes(b"\n".join(text.read_bytes().split(b"\n")[5:15]) + b"\n" + "\u0416\u0448 \u0416\n".encode() * 10)
    options = ["--input", mixed, *spm, "--block-rows", "10"]
    whole = decode(text_teacher, tmp_path / "out", *options)
    (tmp_path / "out" / "parts" / "text-00001.tsv").unlink()
    (tmp_path / "out" / "text.tgt").unlink()
    assert decode(text_teacher, tmp_path / "out", *options)["sha256"] == whole["sha256"]
    for shard in "10":
        decode(text_teacher, tmp_path / "two", *options, "--shards", "2", "--shard", shard)
    assert decode(text_teacher, tmp_path / "two", *options)["sha256"] == whole["sha256"]
    other = tmp_path / "other.txt"
    other.write_bytes("\u0416\u0448 \u0416\n".encode() * 10 + text.read_bytes())
    for shard in "10":
        with pytest.raises(UserError, match="symbols in the first 10 lines are unknown"):
            decode(text_teacher, tmp_path / "no", "--input", other, *options[2:], "--shards", "2", "--shard", shard)


def test_a_line_of_invisible_characters_is_empty(
    text_teacher: Path, spm: tuple[str | Path, ...], tmp_path: Path
) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("s1 s2\n\u200b\n\ufeff\n".encode())
    made = decode(text_teacher, tmp_path / "out", "--input", path, *spm)
    assert made["skipped"] == {"empty_source": [1, 2], "too_long_source": []}


def test_a_pipe_is_refused(text_teacher: Path, spm: tuple[str | Path, ...], tmp_path: Path) -> None:
    """As of ``--input <(zcat FILE)``: the text is read twice."""
    reader, writer = os.pipe()
    os.write(writer, b"s1 s2\n")
    os.close(writer)
    with pytest.raises(UserError, match=f"/dev/fd/{reader}: can be read only once, .* write the text to a file"):
        decode(text_teacher, tmp_path / "out", "--input", f"/dev/fd/{reader}", *spm)
    os.close(reader)
    assert not (tmp_path / "out").exists()


def test_two_languages_of_one_name_are_refused(text_teacher: Path, text: Path, tmp_path: Path) -> None:
    """Their files would have one name."""
    options = ["--input", text, "--spm-model", text_teacher / "spm.model"]
    with pytest.raises(UserError, match="source and target language are both 'src'"):
        decode(text_teacher, tmp_path / "out", *options, "--source-lang", "src", "--target-lang", "src")


@pytest.mark.parametrize(
    "options, told",
    [
        (["--input", "TEXT", "--subset", "train"], "--subset is a split of a data-bin"),
        ([], "give what to translate: --data DATABIN, or raw text with --input FILE"),
        (["--data", "TEXT", "--spm-model", "x"], "--spm-model goes with --input"),
        (["--input", "none.txt"], "none.txt: no such file"),
        (["--input", "EMPTY"], "empty.txt: the file is empty"),
        (["--input", "TEXT"], "symbols in the first 45 lines are unknown to the model"),
        (["--input", "BROKEN"], "cut.gz: damaged or cut short after about 0 lines"),
        (["--input", "NOT.gz"], "not.gz: damaged or cut short"),
        (["--input", "LATIN"], "latin.txt: line 2: not UTF-8"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], told: str, text_teacher: Path, text: Path, tiny_text: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "cut.gz").write_bytes(gzip.compress((tiny_text / "train.src").read_bytes())[:-200])
    (tmp_path / "not.gz").write_text("plain text")
    (tmp_path / "latin.txt").write_bytes("s1\nä\n".encode("latin-1"))
    (tmp_path / "other.txt").write_text("words that no model knows\n" * 45)
    names = {"TEXT": "other.txt", "EMPTY": "empty.txt", "BROKEN": "cut.gz", "NOT.gz": "not.gz", "LATIN": "latin.txt"}
    words = [tmp_path / names[word] if word in names else word for word in options]
    with pytest.raises(UserError, match=told):
        decode(text_teacher, tmp_path / "out", *words)
    assert not list(tmp_path.glob("out/text.*"))


def test_a_zst_file_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.zst").touch()
    with pytest.raises(UserError, match="needs the package zstandard; pip install zstandard"):
        count_lines(tmp_path / "a.zst")


def test_a_zst_file(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.zst"
    lines = [f"line {number * 7919 % 10007}" for number in range(20000)]
    first, second = ("".join(f"{line}\n" for line in part).encode() for part in (lines[:7], lines[7:]))
    # What pzstd and cat make: frames that follow each other, and one of no text, which is skipped.
    other = bytes.fromhex("502a4d18 04000000 61626364")
    path.write_bytes(zstandard.compress(first) + other + zstandard.compress(b"") + zstandard.compress(second))
    assert [line for block in file_blocks(path, 1000) for line in block] == lines
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[: len(whole) // 2], whole + b"more", b"plain text"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged or cut short"):
            count_lines(path)


def test_lines_end_with_newlines_alone(tmp_path: Path) -> None:
    raw = "a\u2028b\r\n\n\x85\x1c\nlast".encode()
    assert list(blocks_of(raw.splitlines(keepends=True)[:0], 2, "x")) == []
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    assert list(file_blocks(path, 2)) == [["a\u2028b\r", ""], ["\x85\x1c", "last"]]
    path.write_bytes(raw + b"\n")
    assert list(file_blocks(path, 2)) == [["a\u2028b\r", ""], ["\x85\x1c", "last"]]
    assert count_lines(path) == 4


@pytest.mark.parametrize("engine", ["ctranslate2", "fairseq"])
@pytest.mark.parametrize("pair", [("-s", "src", "-t", "tgt"), ("-s", "src")])
def test_a_source_only_data_bin(
    engine: str, pair: tuple[str, ...], text_teacher: Path, run: Run, tmp_path: Path
) -> None:
    dictionary = text_teacher / "dict.txt"
    prefix = text_teacher / "subword" / "valid"
    data = tmp_path / "data-bin"
    words = ["fairseq-preprocess", "--only-source", *pair, "--testpref", prefix, "--srcdict", dictionary]
    run(*words, "--destdir", data)
    assert not (data / "dict.tgt.txt").exists()
    found = decode(text_teacher, tmp_path / "a", "--data", data, "--subset", "test", "--engine", engine)
    both = ("--data", text_teacher / "data-bin", "--subset", "valid", "--engine", engine)
    decode(text_teacher, tmp_path / "b", *both)
    for side in ("src", "tgt"):
        assert (tmp_path / "a" / f"test.{side}").read_bytes() == (tmp_path / "b" / f"valid.{side}").read_bytes()
    assert "dict.tgt.txt" in found["data"] and found["target"] == "tgt"
    with pytest.raises(UserError, match="no subset 'valid' for src-"):
        decode(text_teacher, tmp_path / "c", "--data", data, "--subset", "valid")
    with pytest.raises(UserError, match=r"data-bin: it has no targets .* decode alone takes it"):
        open_databin(data, "test")
    lines = (data / "dict.src.txt").read_text().splitlines(keepends=True)
    (data / "dict.src.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=r"dict\.src\.txt is not the model's dictionary: .* number 4"):
        decode(text_teacher, tmp_path / "d", "--data", data, "--subset", "test")


@pytest.mark.parametrize("verb", ["translate", "decode"])
def test_memory_is_flat_in_the_number_of_lines(verb: str, tmp_path: Path) -> None:
    """The text of 60,000 lines is 5 MB, twice the growth that is allowed. A process of its own has no other memory."""
    done = subprocess.run(
        ["python", "-", verb, tmp_path], input=FLOODS, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    few, many = map(float, done.stdout.split())
    assert many - few < 2.5
