"""The synthetic language pair: seeded, disjoint splits, and its translations are counted right."""

from pathlib import Path
from random import Random

import pytest

from fairseq_kd import cli
from fairseq_kd.corpus.language import ORDERS, Language, count_translations
from fairseq_kd.corpus.synthetic import synthesise
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json


def write(folder: Path, *options: str) -> dict[str, list[str]]:
    """The lines of every file that ``fairseq-kd synthetic`` writes, by name."""
    cli.main(["synthetic", "--output", str(folder), "--train", "60", "--valid", "20", "--test", "20", *options])
    return {path.name: path.read_text().splitlines() for path in folder.glob("*.*") if path.suffix in (".src", ".tgt")}


def draw(language: Language, count: int) -> list[str]:
    random = Random(5)
    return [language.draw_source(random) for _ in range(count)]


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    first, again = write(tmp_path / "a", "--seed", "3"), write(tmp_path / "b", "--seed", "3")
    other = write(tmp_path / "c", "--seed", "4")
    assert first == again
    assert not set(first["train.src"]) & set(other["train.src"])


def test_the_function_writes_the_same_and_returns_what_it_made(tmp_path: Path) -> None:
    report = synthesise(tmp_path / "a", train=60, valid=20, test=20, seed=3)
    write(tmp_path / "b", "--seed", "3")
    assert report == read_json(tmp_path / "a" / "synthetic.json")
    assert report["train"] == 60 and report["median_translations"] > 1
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_splits_are_disjoint_and_as_long_as_asked(tmp_path: Path) -> None:
    files = write(tmp_path)
    assert {name: len(lines) for name, lines in files.items()} == {
        f"{split}.{side}": rows
        for split, rows in (("train", 60), ("valid", 20), ("test", 20))
        for side in ("src", "tgt")
    }
    sources = [line for name, lines in files.items() if name.endswith(".src") for line in lines]
    assert len(set(sources)) == len(sources) == 100
    assert all(8 <= len(line.split()) <= 20 for line in sources)


def test_the_test_set_does_not_depend_on_the_training_rows(tmp_path: Path) -> None:
    few, many = write(tmp_path / "few"), write(tmp_path / "many", "--train", "90")
    assert few["test.src"] == many["test.src"] and few["test.tgt"] == many["test.tgt"]


@pytest.mark.parametrize(("styles", "synonyms"), [(1, 1), (3, 1), (1, 2), (3, 2), (6, 2)])
def test_every_translation_is_counted_once(styles: int, synonyms: int) -> None:
    language = Language(1, styles, synonyms)
    for source in draw(language, 8):
        listed = list(language.translations(source))
        assert len(listed) == len(set(listed)) == count_translations(language, source)


def test_one_style_and_no_synonyms_leave_one_translation() -> None:
    language = Language(1, styles=1, synonyms=1)
    for source in draw(language, 10):
        assert count_translations(language, source) == 1
        assert list(language.translations(source)) == [language.draw_translation(source, Random(1))]


def test_drawn_translations_are_right_and_keep_to_one_style() -> None:
    language = Language(2, styles=len(ORDERS), synonyms=2)
    random, seen = Random(1), set()
    for source in draw(language, 200):
        words = language.draw_translation(source, random).split()
        right = [
            style
            for style in range(language.styles)
            if all(word in slot for word, slot in zip(words, language.slots(source, style), strict=True))
        ]
        assert len(right) == 1
        seen.update(right)
    assert seen == set(range(language.styles))


def test_the_first_style_is_the_likeliest() -> None:
    language = Language(1, synonyms=1)
    random = Random(1)
    source = language.draw_source(random)
    drawn = [language.draw_translation(source, random) for _ in range(600)]
    counts = [drawn.count(translation) for translation in language.translations(source)]
    assert counts[0] > counts[1] > counts[2] > 0 and sum(counts) == 600


def test_what_is_no_sentence_is_refused() -> None:
    language = Language(1)
    source = draw(language, 1)[0].split()
    for words in (["nonsense"], source[:-1], source[1:], [*source, source[0]], []):
        with pytest.raises(UserError, match="not a sentence"):
            count_translations(language, " ".join(words))


@pytest.mark.parametrize("options", [("--styles", "7"), ("--styles", "0"), ("--synonyms", "5"), ("--test", "0")])
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"{options[0]} {options[1]}: give"):
        write(tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()
