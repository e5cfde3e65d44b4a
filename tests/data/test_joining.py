"""Subwords joined to text as sentencepiece joins them, and the warning where a way of joining does not fit."""

import io
import logging
from pathlib import Path

import pytest
import sentencepiece

from fairseq_kd.corpus.parallel_text import read_lines
from fairseq_kd.corpus.seq_inter.gold import open_gold
from fairseq_kd.corpus.text_lines import stream_lines
from fairseq_kd.data.text.joining import fitting_post_process, join, warn_of_joining
from fairseq_kd.evaluate.scoring.references import read_references


@pytest.fixture(scope="module")
def spm() -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["some words of a small text <0x41> here"] * 20),
        model_writer=model,
        vocab_size=300,
        hard_vocab_limit=False,
        byte_fallback=True,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.mark.parametrize(
    "text", ["some 天气 words", "🎉🎉 a", "ж", "a <0x41> text", "▁ in text", "<0xZZ> <0x4", "é<0xE2>é", "text"]
)
def test_text_comes_back_as_sentencepiece_gives_it(spm: sentencepiece.SentencePieceProcessor, text: str) -> None:
    pieces = spm.encode(text, out_type=str)
    assert join(" ".join(pieces), "sentencepiece") == spm.decode(pieces).strip()


@pytest.mark.parametrize("bytes_", ["E5", "E5 A4", "E5 A4 A9 E5", "FF C3 A9", "41 80 42", "F0 9F 8E 89 F0 9F"])
def test_bytes_of_no_character(spm: sentencepiece.SentencePieceProcessor, bytes_: str) -> None:
    pieces = ["▁some", *(f"<0x{byte}>" for byte in bytes_.split()), "▁words"]
    pieces = [piece for piece in pieces if piece.startswith("<") or spm.piece_to_id(piece) != spm.unk_id()]
    assert join(" ".join(pieces), "sentencepiece") == spm.decode(pieces).strip()


def test_the_fitting_way() -> None:
    assert fitting_post_process(["▁a", "b", "▁c"]) == "sentencepiece"
    assert fitting_post_process(["a@@", "b", "c"]) == "subword_nmt"
    assert fitting_post_process(["a", "b"]) == "none" and fitting_post_process([""]) is None
    assert fitting_post_process(["word"] * 1000 + ["▁"]) == "none"


@pytest.mark.parametrize(("post", "told"), [("sentencepiece", True), ("none", True), ("subword_nmt", False)])
def test_a_way_that_does_not_fit_is_told(post: str, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_joining(["a@@", "b"], post, "the dictionary of de")
    assert ("give --post-process subword_nmt" in caplog.text) == told


@pytest.mark.parametrize("post", ["sentencepiece", "none"])
@pytest.mark.parametrize(
    ("symbols", "mark"),
    [
        (["Ġa", "b"], "Ġ"),
        (["a", "##b"], "##"),
        (["a", "b</w>"], "</w>"),
        (["a_EOW", "b"], "_EOW"),
        (["a￭", "b"], "￭"),
        ([*map(str, range(300)), "madeupword0000"], "numbers alone"),
    ],
)
def test_marks_that_no_way_joins_are_told(
    symbols: list[str], mark: str, post: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Joined as "none", which the warning advised, BLEU counted parts of words."""
    with caplog.at_level(logging.WARNING):
        warn_of_joining(symbols, post, "the dictionary of de")
    assert f"which has {mark}" in caplog.text and "join the text with the tool that cut it" in caplog.text
    assert "give --post-process" not in caplog.text


@pytest.mark.parametrize("symbols", [["a", "</w>", "#", "##"], ["▁Ġ", "▁b"], list("0123456789")])
def test_words_that_look_like_marks(symbols: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_joining(symbols, fitting_post_process(symbols) or "none", "the dictionary of de")
    assert not caplog.text


def test_a_byte_order_mark_is_no_part_of_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = tmp_path / "text"
    text.write_bytes("\ufeffone line\nother \ufeff\n".encode())
    with caplog.at_level(logging.WARNING):
        assert read_lines(text) == list(stream_lines(text)) == ["one line", "other \ufeff"]
        assert (
            read_references(text, 2) == list(open_gold(text, "train", "none").lines()) == ["one line", "other \ufeff"]
        )
    assert f"{text}: begins with a byte order mark" in caplog.text
