"""Two segmentations of one text, against all pairs of beginnings."""

import random
from itertools import pairwise

import pytest
from fairseq.data import Dictionary

from fairseq_kd.data.text.segmentation import Alignment, align, detokenised, surfaces
from fairseq_kd.data.text.symbol_map import symbol_map


def cut(draw: random.Random, text: str) -> list[str]:
    """A random segmentation."""
    places = sorted({0, len(text), *(place for place in range(1, len(text)) if draw.random() < 0.4)})
    return [text[start:end] for start, end in pairwise(places)]


def by_enumeration(student: list[str], teacher: list[str]) -> Alignment:
    """Every pair of beginnings is compared."""
    common = [
        (i, j)
        for i in range(len(student) + 1)
        for j in range(len(teacher) + 1)
        if "".join(student[:i]) == "".join(teacher[:j])
    ]
    found = Alignment()
    for (i, j), (i_end, j_end) in pairwise(common):
        if i_end == i + 1 and j_end == j + 1:
            found.pairs.append((i, j))
        else:
            found.spans.append((i, i_end, j, j_end))
    return found


def test_the_boundaries_are_those_of_all_pairs_of_beginnings() -> None:
    draw = random.Random(1)
    for _ in range(300):
        text = "▁" + "".join(draw.choices("ab▁", k=draw.randint(0, 12)))
        student, teacher = cut(draw, text), cut(draw, text)
        assert align(student, teacher) == by_enumeration(student, teacher)
        assert align(student, student).pairs == [(place, place) for place in range(len(student))]


def test_other_characters_leave_the_common_beginning_and_end() -> None:
    found = align(["▁a", "▁cafe", "́", "▁op", "en"], ["▁a", "▁café", "▁open"])
    assert found == Alignment([(0, 0)], [(3, 5, 2, 3)], whole=False)
    assert align(["▁x"], ["▁y"]) == Alignment(whole=False)
    # The characters that begin both sides end both sides too, and are counted once.
    assert align(["▁", "a", "a"], ["▁", "a"]) == Alignment([(0, 0), (1, 1)], [], whole=False)


def test_byte_fallback_pieces_are_their_characters() -> None:
    pieces = ["▁a", "<0xE5>", "<0xA4>", "<0xA9>", "b"]
    assert detokenised(pieces) == "a天b" and detokenised(["▁a", "<0xE5>", "b"]) == "a\N{REPLACEMENT CHARACTER}b"
    assert detokenised(surfaces(["a", "<0x41>"], "<unk>", words=True)) == "a <0x41>"  # a word of the text
    assert align(pieces, ["▁a", "天", "b"]) == Alignment([(0, 0), (4, 2)], [(1, 4, 1, 2)])
    assert align(["▁天", "b"], ["▁", *pieces[1:]]) == Alignment([(1, 4)], [(0, 1, 0, 4)])
    assert align(pieces, pieces).pairs == [(place, place) for place in range(5)]
    # Of other characters no byte is compared but those that begin or end both.
    assert align(["<0xC3>", "<0xA9>"], ["<0xC3>", "<0xA8>"]) == Alignment([(0, 0)], whole=False)
    assert align(["<0xE5>", "<0xA4>", "<0xA9>"], ["<0xE6>", "<0xB0>", "<0x94>"]) == Alignment(whole=False)


def test_a_teachers_character_maps_to_the_byte_that_begins_it() -> None:
    teacher = dictionary("▁天", "天气", "<0xE5>", "A", "<0x41>", "B")
    student = dictionary("▁", "<0xE5>", "<0x41>", "A", "<0x42>")
    place = symbol_map(teacher, student, words=False).tolist()
    found = {teacher[index]: student[place[index]] for index in range(teacher.nspecial, len(teacher))}
    assert found == {"▁天": "▁", "天气": "<0xE5>", "<0xE5>": "<0xE5>", "A": "A", "<0x41>": "<0x41>", "B": "<0x42>"}


def test_a_tokenizer_without_a_first_space_is_aligned() -> None:
    assert align(["▁the", "▁cat"], ["the", "▁c", "at"]) == Alignment([], [(0, 1, 0, 1), (1, 2, 1, 3)])
    assert align(["▁", "the"], ["the"]) == Alignment([], [(0, 2, 0, 1)])


@pytest.mark.parametrize(("symbols", "words"), [(["▁a", "b", "▁c"], False), (["ab", "c"], True)])
def test_surfaces_are_the_text(symbols: list[str], words: bool) -> None:
    assert detokenised(surfaces(symbols, "<unk>", words=words)) == "ab c"


def test_an_unknown_symbol_is_a_mark_in_the_text() -> None:
    assert detokenised(surfaces(["▁a", "<unk>", "b"], "<unk>", words=False)) == "a ⁇b"


def dictionary(*symbols: str) -> Dictionary:
    made = Dictionary()
    for symbol in symbols:
        made.add_symbol(symbol)
    return made


def test_a_symbol_maps_to_itself_or_to_what_the_student_begins_it_with() -> None:
    teacher, student = dictionary("▁walking", "▁walk", "ing", "z", "▁ü"), dictionary("ing", "▁", "▁walk", "▁wal")
    place = symbol_map(teacher, student, words=False).tolist()
    found = {teacher[index]: student[to] if to < len(student) else None for index, to in enumerate(place)}
    assert found == {
        **{special: special for special in ("<s>", "<pad>", "</s>", "<unk>")},
        **{"▁walking": "▁walk", "▁walk": "▁walk", "ing": "ing", "z": None, "▁ü": "▁"},
    }


def test_equal_dictionaries_map_each_symbol_to_itself() -> None:
    student = dictionary("▁a", "a", "ab", "</s>x", "<p")
    assert symbol_map(student, student, words=False).tolist() == list(range(len(student)))


def test_a_word_maps_from_the_same_word_alone() -> None:
    teacher, student = dictionary("▁walk", "▁the", "the"), dictionary("the", "walking")
    assert symbol_map(teacher, student, words=True).tolist()[4:] == [len(student), student.index("the"), len(student)]
