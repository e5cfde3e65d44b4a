"""`fairseq-kd translate`, started as people start it."""

import io
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairseq_kd.corpus.distilled.translate import translate_interactively
from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.options import DecodingOptions
from tests.support.commands import BIN, Run, environment

LIMITS = ("--beam", "2", "--max-len-a", "0", "--max-len-b", "40")
"""A limit that is the same in every batch: the model, which has learnt little, ends some hypotheses nowhere else."""


def words_of(folder: Path) -> list[str]:
    return ["translate", "--model", str(folder / "checkpoint_last.pt"), "--spm-model", str(folder / "spm.model")]


@pytest.fixture(scope="module")
def expected(text_teacher: Path, tiny_text: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What decode writes of the data-bin that was made of the same text."""
    output = tmp_path_factory.mktemp("decoded")
    model = text_teacher / "checkpoint_last.pt"
    data = ("--data", text_teacher / "data-bin", "--subset", "valid")
    run("fairseq-kd", "decode", "--model", model, *data, "--output", output, *LIMITS)
    tokens = (output / "valid.tgt").read_text().splitlines()
    return [line.replace(" ", "").replace("▁", " ").strip() for line in tokens]


def test_a_line_for_a_line(text_teacher: Path, tiny_text: Path, run: Run, expected: list[str]) -> None:
    lines = (tiny_text / "valid.src").read_text().splitlines()
    lines[3:3] = ["", lines[0].replace(" ", "\u2028 "), lines[1].replace(" ", " \x1c\r\x85")]
    given = "\n".join(lines)  # without a last newline
    for blocks in ("1000", "7"):
        done = run("fairseq-kd", *words_of(text_teacher), *LIMITS, "--block-lines", blocks, input=given)
        assert done.stdout.split("\n") == [*expected[:3], "", *expected[:2], *expected[3:], ""]
    assert run("fairseq-kd", *words_of(text_teacher), input="").stdout == ""


def test_an_exported_folder_takes_text(
    text_teacher: Path, tiny_text: Path, run: Run, expected: list[str], tmp_path: Path
) -> None:
    """It lies beside its sentencepiece model, so nothing more needs to be told."""
    model = ("--model", text_teacher / "checkpoint_last.pt", "--data", text_teacher / "data-bin")
    pieces = ("--spm-model", text_teacher / "spm.model")
    run("fairseq-kd", "export", *model, "--to", "ctranslate2", "--output", tmp_path / "out", *pieces)
    given = (tiny_text / "valid.src").read_text()
    translate = ("fairseq-kd", "translate", "--model", tmp_path / "out", *LIMITS)
    assert run(*translate, input=given).stdout.splitlines() == expected
    # The profile is the user's to change; the model's files are not.
    profile = tmp_path / "out" / "fairseq_kd.yaml"
    profile.write_text(profile.read_text() + "casing: lower\n")
    assert run(*translate, input=given.upper()).stdout.splitlines() == expected


def test_search_options_reach_the_search(text_teacher: Path, tiny_text: Path, run: Run) -> None:
    given = (tiny_text / "valid.src").read_text()
    done = run("fairseq-kd", *words_of(text_teacher), *LIMITS, "--prefix", "▁t 5 ▁t", input=given)
    lines = done.stdout.splitlines()
    assert len(lines) == 40 and all(line.startswith("t5 t") for line in lines)
    assert "decoding with fairseq, since ctranslate2 cannot: --prefix" in done.stderr


@pytest.mark.parametrize(
    "options, given, told",
    [
        ([], b"s1 s2\n\xff\n", "standard input: line 2: not UTF-8 (byte 1)"),
        ([], "中文 字 符\n".encode(), "symbols in the first 1 lines are unknown"),
        (["--source-spm", "spm.model"], b"", "--source-spm: --spm-model is for both sides"),
        (["--block-lines", "0"], b"", "--block-lines 0"),
        (["--data", "/none"], b"", "/none"),
    ],
)
def test_mistakes_are_one_line(options: list[str], given: bytes, told: str, text_teacher: Path) -> None:
    command = [BIN / "fairseq-kd", *words_of(text_teacher), *options]
    done = subprocess.run(command, input=given, capture_output=True, env=environment())
    assert done.returncode == 1 and done.stdout == b""
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("fairseq_kd: error: ") and told in last and "Traceback" not in done.stderr.decode()


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(text_teacher: Path, tiny_text: Path, expected: list[str]) -> None:
    many = (tiny_text / "valid.src").read_bytes() * 50
    command = [str(BIN / "fairseq-kd"), *words_of(text_teacher), *LIMITS, "--block-lines", "40"]
    env = environment(forked=False)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, **pipes) as running:  # type: ignore[call-overload]
        running.stdin.write(many)
        assert running.stdout.readline().decode().rstrip("\n") == expected[0]
        running.stdout.close()
        running.stdin.close()
        assert running.wait() == 0
        told = running.stderr.read().decode()
    assert "Traceback" not in told and "Broken" not in told


def test_each_line_is_answered_at_once(text_teacher: Path, tiny_text: Path, run: Run) -> None:
    words = [*words_of(text_teacher), *LIMITS, "--block-lines", "1"]
    lines = (tiny_text / "valid.src").read_bytes().splitlines(keepends=True)[:3]
    expected = run("fairseq-kd", *words, input=b"".join(lines).decode()).stdout.splitlines()
    command = [str(BIN / "fairseq-kd"), *words]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as running:
        assert running.stdin and running.stdout
        for line, answer in zip(lines, expected, strict=True):
            running.stdin.write(line)
            assert running.stdout.readline().decode() == f"{answer}\n"


def test_a_terminal_gets_scores_and_times(text_teacher: Path, tiny_text: Path, expected: list[str]) -> None:
    ours, theirs = pty.openpty()
    command = [str(BIN / "fairseq-kd"), *words_of(text_teacher), *LIMITS]
    line = (tiny_text / "valid.src").read_bytes().splitlines()[0]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = environment()
    with subprocess.Popen(command, env=env, stdin=theirs, **pipes) as running:  # type: ignore[call-overload]
        os.close(theirs)
        os.write(ours, line + b"\n\n\x04")
        found = running.stdout.read().decode().splitlines()
        assert running.wait() == 0
    os.close(ours)
    assert re.fullmatch(rf"{re.escape(expected[0])}\t-?\d+\.\d{{4}}\t\d+ ms", found[0])
    assert found[1:] == ["(not translated: the line is empty or longer than the model takes)"]


def test_a_folders_model_is_loaded_before_the_first_sentence(
    text_teacher: Path, tiny_text: Path, run: Run, expected: list[str], tmp_path: Path
) -> None:
    """The time of loading is no sentence's: what is loaded needs its file no more."""
    model = ("--model", text_teacher / "checkpoint_last.pt", "--data", text_teacher / "data-bin")
    pieces = ("--spm-model", text_teacher / "spm.model")
    run("fairseq-kd", "export", *model, "--to", "ctranslate2", "--output", tmp_path / "out", *pieces)

    def typed() -> Iterator[bytes]:
        (tmp_path / "out" / "model.bin").unlink()
        yield (tiny_text / "valid.src").read_bytes().splitlines(keepends=True)[0]

    answers = io.BytesIO()
    options = DecodingOptions(beam=2, max_len_a=0, max_len_b=40)
    translate_interactively(open_translator(str(tmp_path / "out")), typed(), answers, options)
    assert answers.getvalue().decode().startswith(f"{expected[0]}\t")
