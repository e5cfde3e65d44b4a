"""A sentencepiece model that uses some of its pieces alone, beside the whole model."""

import io
from pathlib import Path

import pytest
import sentencepiece
from fairseq.data import Dictionary

from fairseq_kd.compress.restricted_spm import restricted
from fairseq_kd.compress.used_symbols import Side
from tests.support.subwords import write_syllables


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_text_of_the_kept_pieces_is_cut_alike_and_all_text_into_kept_pieces(kind: str, tmp_path: Path) -> None:
    lines = (write_syllables(tmp_path, {"train": 300}) / "train.src").read_text().splitlines()
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, vocab_size=330, model_type=kind, byte_fallback=True,
        minloglevel=2,
    )  # fmt: skip
    whole = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    used = {piece for line in lines[:3] for piece in whole.encode(line, out_type=str)}
    names = [whole.id_to_piece(number) for number in range(whole.get_piece_size())]
    kept = {name for name in names if name in used or len(name) == 1}
    few = sentencepiece.SentencePieceProcessor(model_proto=restricted(whole, kept.__contains__))
    assert [few.id_to_piece(number) for number in range(few.get_piece_size())] == names
    assert [few.encode(line, out_type=str) for line in lines[:3]] == [whole.encode(x, out_type=str) for x in lines[:3]]
    changed = 0
    for line in lines:
        pieces = few.encode(line, out_type=str)
        assert set(pieces) <= kept and few.decode(pieces) == line
        changed += pieces != whole.encode(line, out_type=str)
    assert changed > 100
    assert few.encode("ж", out_type=str) == ["▁", "<0xD0>", "<0xB6>"] and few.decode(few.encode("ж")) == "ж"


def test_bytes_and_single_characters_stay_though_no_text_uses_them() -> None:
    """Text that the trimmed model reads later may need them."""
    dictionary = Dictionary()
    for symbol in ("<0xD0>", "▁used", "▁other", "ж"):
        dictionary.add_symbol(symbol)
    side = Side("en", Path("dict.en.txt"), dictionary, {dictionary.index("▁used")})
    kept = [[dictionary[number] for number in side.kept(all_of_one)[4:]] for all_of_one in (False, True)]
    assert kept == [["<0xD0>", "▁used"], ["<0xD0>", "▁used", "ж"]]
