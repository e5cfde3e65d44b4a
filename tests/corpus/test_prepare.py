"""Raw text to subwords: what comes back, what is dropped, what is refused."""

import gzip
from pathlib import Path

import pytest
import sentencepiece

from fairseq_kd import cli
from fairseq_kd.corpus.preparation.prepare import prepare as prepare_text
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json

LETTERS = "abcdefgh"


def write_raw(folder: Path, **files: bytes) -> None:
    """Ten training rows and two of the others; ``train_de=b"…"`` replaces ``train.de``."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", 10), ("valid", 2), ("test", 2)):
        for side, first in (("en", 0), ("de", 3)):
            text = "".join(f"the {LETTERS[: 2 + (row + first) % 6]} süß {LETTERS[row % 8]}.\n" for row in range(rows))
            (folder / f"{split}.{side}").write_bytes(files.get(f"{split}_{side}", text.encode()))


def prepare(raw: Path, output: Path, *options: str) -> dict:
    """What ``fairseq-kd prepare`` reports."""
    words = ["prepare", "--source-lang", "en", "--target-lang", "de", "--output", str(output)]
    for split in ("train", "valid", "test"):
        words += [f"--{split}", str(raw / split)]
    cli.main([*words, *(options or ("--vocab-size", "20"))])
    return read_json(output / "prepare.json")


def test_the_function_returns_the_report(tmp_path: Path) -> None:
    write_raw(tmp_path)
    text = {split: tmp_path / split for split in ("train", "valid", "test")}
    report = prepare_text(text, ("en", "de"), tmp_path / "out", vocab_size=20)
    assert {**report, "languages": ["en", "de"]} == read_json(tmp_path / "out" / "prepare.json")
    assert report["vocabulary"] == 20 and report["splits"]["train"]["rows"] == 10
    for wrong in ({}, {"vocab_size": 20, "spm_model": tmp_path / "out" / "spm.model"}):
        with pytest.raises(UserError, match="either --vocab-size or --spm-model"):
            prepare_text(text, ("en", "de"), tmp_path / "none", **wrong)
    with pytest.raises(UserError, match="--source-lang and --target-lang are both en"):
        prepare_text(text, ("en", "en"), tmp_path / "none", vocab_size=20)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("option", ["--sample-pairs", "--seed", "--max-line-bytes"])
def test_options_of_a_new_model_do_not_go_with_a_ready_one(option: str, tmp_path: Path) -> None:
    write_raw(tmp_path)
    prepare(tmp_path, tmp_path / "a")
    with pytest.raises(UserError, match=f"{option}: needs --vocab-size; --spm-model learns nothing"):
        prepare(tmp_path, tmp_path / "b", "--spm-model", str(tmp_path / "a" / "spm.model"), option, "7")
    assert not (tmp_path / "b").exists()


def refused(raw: Path, output: Path, *options: str) -> str:
    with pytest.raises(UserError) as error:
        prepare(raw, output, *options)
    assert not (output / "prepare.json").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_subwords_decode_back_to_the_text(tmp_path: Path) -> None:
    write_raw(tmp_path)
    counts = prepare(tmp_path, tmp_path / "out")["splits"]
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "spm.model"))
    for split in ("train", "valid", "test"):
        for index, side in enumerate(("en", "de")):
            raw = (tmp_path / f"{split}.{side}").read_text().splitlines()
            subwords = (tmp_path / "out" / "subword" / f"{split}.{side}").read_text()
            rows = [line.split() for line in subwords.splitlines()]
            assert [model.decode(pieces) for pieces in rows] == raw
            assert counts[split]["tokens"][index] == sum(map(len, rows))
            assert counts[split]["longest"][index] == max(map(len, rows))
            assert counts[split]["rows"] == len(raw)


def test_the_dictionary_follows_from_the_model_alone(tmp_path: Path) -> None:
    write_raw(tmp_path)
    prepare(tmp_path, tmp_path / "a")
    prepare(tmp_path, tmp_path / "b")
    dictionary = (tmp_path / "a" / "dict.txt").read_text()
    assert dictionary == (tmp_path / "b" / "dict.txt").read_text()
    symbols = [line.split(" ")[0] for line in dictionary.splitlines()]
    assert len(symbols) == len(set(symbols)) == 20 - 3
    assert not {"<unk>", "<s>", "</s>"} & set(symbols)
    # Another text cut with the same model has the same dictionary.
    few = b"the\n"
    write_raw(tmp_path / "few", train_en=few, train_de=few)
    report = prepare(tmp_path / "few", tmp_path / "c", "--spm-model", str(tmp_path / "a" / "spm.model"))
    assert (tmp_path / "c" / "dict.txt").read_text() == dictionary
    assert report["splits"]["train"]["rows"] == 1


def test_pieces_with_a_line_break_leave_the_dictionary_readable(tmp_path: Path) -> None:
    """Models of language models have such pieces, as Gemma's; no line of text holds one."""
    write_raw(tmp_path)
    model = tmp_path / "given.model"
    with model.open("wb") as handle:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter((tmp_path / "train.en").read_text().splitlines()), model_writer=handle,
            vocab_size=30, user_defined_symbols=["\n", "\n\n", "\t", "\r"], hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    prepare(tmp_path, tmp_path / "out", "--spm-model", str(model), "--data-bin", str(tmp_path / "bin"))
    task = open_databin(tmp_path / "bin", "train")
    assert {"\t", "ü"} <= set(task.target_dictionary.symbols)
    rows, pieces = task.dataset("train").tgt, (tmp_path / "out" / "subword" / "train.de").read_text().splitlines()
    assert [task.target_dictionary.string(row) for row in rows] == pieces and len(pieces) == 10


def test_training_rows_with_an_empty_side_are_dropped_and_others_kept(tmp_path: Path) -> None:
    rows = b"the ab\n" * 5
    zero_width = "\u200b\n".encode()
    write_raw(
        tmp_path, train_en=b"\n" + rows + b"the a\n" + b"the b\n", train_de=b"gone\n" + rows + b" \t\n" + zero_width,
        test_en=b"\nthe ab\n",
    )  # fmt: skip
    report = prepare(tmp_path, tmp_path / "out", "--vocab-size", "12")["splits"]
    assert (report["train"]["rows"], report["train"]["dropped"]) == (5, 3)
    assert (report["test"]["rows"], report["test"]["dropped"]) == (2, 0)
    subword = tmp_path / "out" / "subword"
    assert [(subword / f"train.{side}").read_text().count("\n") for side in ("en", "de")] == [5, 5]
    assert (subword / "test.en").read_text().startswith("\n")


def test_separators_other_than_newline_do_not_cut_rows_or_subwords(tmp_path: Path) -> None:
    text = "the\u00a0ab\u2028the\x85a\rb\x0cthe\n".encode()
    write_raw(tmp_path, train_en=text * 3, train_de=text * 3)
    assert prepare(tmp_path, tmp_path / "out", "--vocab-size", "10")["splits"]["train"]["rows"] == 3
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "spm.model"))
    row = (tmp_path / "out" / "subword" / "train.en").read_text().splitlines()[0]
    assert model.decode(row.split()) == "the ab the a b the"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path)
    (tmp_path / "valid.de").unlink()
    assert f"{tmp_path}/valid.de: no such file" in refused(tmp_path, tmp_path / "out")
    (tmp_path / "valid.de.gz").write_bytes(gzip.compress(b"the ab\n" * 99)[:-9])
    assert "valid.de.gz: damaged or cut short after about 0 lines" in refused(tmp_path, tmp_path / "out")
    message = refused(tmp_path, tmp_path / "out", "--vocab-size", "20", "--target-lang", "de.gz")
    assert f"--target-lang de.gz: give de, and {tmp_path}/train.de.gz is found" in message


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    write_raw(tmp_path, test_de=b"one\n")
    message = refused(tmp_path, tmp_path / "out")
    assert "test.en has 2 lines" in message and "test.de has 1" in message


def test_invalid_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    write_raw(tmp_path, valid_en=b"good\nb\xffd\n")
    assert "valid.en: line 2: not UTF-8" in refused(tmp_path, tmp_path / "out")


def test_empty_text_is_refused(tmp_path: Path) -> None:
    write_raw(tmp_path, train_en=b"", train_de=b"")
    assert "train.en: the file is empty" in refused(tmp_path, tmp_path / "out")
    write_raw(tmp_path, train_en=b"the ab\n\n", train_de=b"\nthe ab\n")
    assert "every row has an empty side" in refused(tmp_path, tmp_path / "out", "--vocab-size", "10")


@pytest.mark.parametrize(("size", "reason"), [("5", "is smaller than"), ("5000", "too high")])
def test_a_vocabulary_that_does_not_fit_the_text_is_refused(tmp_path: Path, size: str, reason: str) -> None:
    write_raw(tmp_path)
    message = refused(tmp_path, tmp_path / "out", "--vocab-size", size)
    assert f"--vocab-size {size}: sentencepiece says: Vocabulary size {reason}" in message


def test_a_model_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    write_raw(tmp_path)
    assert "no such file" in refused(tmp_path, tmp_path / "out", "--spm-model", str(tmp_path / "absent"))
    assert "not a sentencepiece model" in refused(tmp_path, tmp_path / "out", "--spm-model", str(tmp_path / "train.en"))
