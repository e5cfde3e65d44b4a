"""Noise in the training text: misaligned targets, the rates of noisy tokens, what stays, and the verb."""

import gzip
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd import cli
from fairseq_kd.corpus.noise import Misalignment, add_noise, misalign
from fairseq_kd.corpus.token_noise import TokenNoise
from fairseq_kd.errors import UserError
from fairseq_kd.storage.structured import read_json
from tests.support.corpora import write_text

TARGETS = [f"target {row}" for row in range(50)]


@pytest.mark.parametrize(("share", "moved"), [(0, 0), (0.04, 2), (0.2, 10), (0.4, 20), (1, 50)])
def test_so_many_rows_have_another_rows_target(share: float, moved: int) -> None:
    noisy = misalign(TARGETS, share, seed=1)
    assert sum(map(str.__ne__, noisy, TARGETS)) == moved
    assert Counter(noisy) == Counter(TARGETS)
    assert noisy == misalign(TARGETS, share, seed=1)


def test_more_noise_holds_less_noise() -> None:
    few, many = ({row for row in range(50) if misalign(TARGETS, share, 3)[row] != TARGETS[row]} for share in (0.2, 0.4))
    assert few < many
    assert misalign(TARGETS, 0.4, 3) != misalign(TARGETS, 0.4, 4)


@pytest.mark.parametrize("share", [-0.1, 1.1, 0.02, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(UserError, match="--share"):
        misalign(TARGETS, share, seed=1)


# Every word of the text is another, so what became of each can be read off the noisy text.
UNIQUE = [" ".join(f"{row}.{place}" for place in range(25)) for row in range(4000)]
WORDS = 25 * len(UNIQUE)


def is_share(found: int, tries: int, share: float) -> bool:
    """Whether a count lies within five standard deviations of its mean."""
    return abs(found - tries * share) < 5 * math.sqrt(tries * share * (1 - share))


def row_of(word: str) -> str:
    return word.split(".")[0]


def test_tokens_are_deleted_and_substituted_at_the_papers_rates() -> None:
    noisy, counts = TokenNoise().spoil(UNIQUE, "1")
    deleted = sum(25 - len(line.split()) for line in noisy)
    # A substitute comes from the whole text, so hardly one in a thousand comes from the same row.
    substituted = sum(row_of(word) != str(row) for row, line in enumerate(noisy) for word in line.split())
    assert is_share(deleted, WORDS, 0.1) and is_share(substituted, WORDS, 0.1)
    assert (counts["tokens"], counts["deleted"]) == (WORDS, deleted)
    assert 0 <= counts["substituted"] - substituted < 50
    noisy, counts = TokenNoise(delete=0.02, substitute=0.3, swap=0).spoil(UNIQUE, "1")
    assert is_share(counts["deleted"], WORDS, 0.02) and is_share(counts["substituted"], WORDS, 0.3)
    assert counts["moved"] == 0


def orders(lines: Sequence[str]) -> list[list[int]]:
    """The places in the text without noise of each line's words."""
    return [[int(word.split(".")[1]) for word in line.split()] for line in lines]


@pytest.mark.parametrize("swap", [0, 0.5, 1])
def test_two_tokens_change_their_order_as_often_as_the_definition_says(swap: float) -> None:
    """Two tokens change it if u - v > distance: u and v from U(-2, 2) with probability ``swap``, else 0."""
    noisy, counts = TokenNoise(delete=0, substitute=0, swap=swap).spoil(UNIQUE, "1")
    for distance in (1, 2, 3, 4):
        both = max(0, 4 - distance) ** 2 / 32  # u - v is triangular on (-4, 4)
        one = max(0, 2 - distance) / 4
        expected = swap**2 * both + 2 * swap * (1 - swap) * one
        pairs = [
            [order.index(place) > order.index(place + distance) for place in (0, 8, 16)] for order in orders(noisy)
        ]
        found, tries = sum(map(sum, pairs)), 3 * len(pairs)
        assert is_share(found, tries, expected) if expected else found == 0, distance
    assert counts["moved"] == sum(place != word for order in orders(noisy) for place, word in enumerate(order))


@given(
    st.integers(0, 30),
    st.integers(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_no_token_moves_more_than_three_places(size: int, seed: int, delete: float, swap: float) -> None:
    noise = TokenNoise(delete=delete, substitute=0, swap=swap)
    ((line,), counts) = noise.spoil([" ".join(f"0.{place}" for place in range(size))], str(seed))
    (found,) = orders([line])
    kept = sorted(found)
    assert len(set(found)) == len(found) == size - counts["deleted"] and len(found) >= min(1, size)
    assert all(abs(place - kept.index(word)) <= 3 for place, word in enumerate(found))


def test_a_sentence_keeps_a_word_and_an_empty_line_stays() -> None:
    text = [*UNIQUE, ""]
    noisy, counts = TokenNoise(delete=1, substitute=0, swap=1).spoil(text, "1")
    assert noisy[-1] == "" and counts["deleted"] == WORDS - len(UNIQUE)
    assert all(word in line.split() for word, line in zip(noisy[:-1], UNIQUE, strict=True))
    # Any of the words can be the one that stays.
    stayed = Counter(order[0] for order in orders(noisy[:-1]))
    assert all(is_share(stayed[place], len(UNIQUE), 1 / 25) for place in range(25))


def test_substitutes_are_other_words_by_frequency() -> None:
    text = ["a"] * 5000 + ["b"] * 3000 + ["c"] * 2000
    noisy, counts = TokenNoise(delete=0, substitute=1, swap=0).spoil(text, "1")
    assert counts["substituted"] == len(text) and not any(map(str.__eq__, noisy, text))
    changes = Counter(zip(text, noisy, strict=True))
    for word, tries, other, share in (("a", 5000, "b", 3 / 5), ("b", 3000, "a", 5 / 7), ("c", 2000, "a", 5 / 8)):
        assert is_share(changes[word, other], tries, share)
    assert TokenNoise(delete=0, substitute=1).spoil(["a a a", "a"], "1")[0] == ["a a a", "a"]


def test_high_noise_only_swaps_more_than_moderate_noise() -> None:
    moderate, high = (TokenNoise(swap=swap).spoil(UNIQUE[:100], "1") for swap in (0.5, 1))
    assert moderate[0] != high[0] and moderate[1]["moved"] < high[1]["moved"]
    assert [sorted(line.split()) for line in moderate[0]] == [sorted(line.split()) for line in high[0]]


def test_a_rows_noise_depends_on_the_seed_and_on_no_other_row() -> None:
    noise, text = TokenNoise(substitute=0), UNIQUE[:20]
    noisy, _ = noise.spoil(text, "1")
    assert noisy == noise.spoil(text, "1")[0] != noise.spoil(text, "2")[0]
    longer, _ = noise.spoil([f"x {text[0]} x", *text[1:]], "1")
    assert longer[1:] == noisy[1:] and longer[0] != noisy[0]


def test_the_sides() -> None:
    source, target = UNIQUE[:30], [line.replace(".", "_") for line in UNIQUE[:30]]
    found = {side: TokenNoise(side=side).apply(source, target, 1) for side in ("source", "target", "both")}
    assert TokenNoise().apply(source, target, 1) == found["source"]
    assert found["source"][0] != source and found["source"][1] == target
    assert found["target"][0] == source and found["target"][1] != target
    assert found["both"][:2] == (found["source"][0], found["target"][1])
    assert not set(" ".join(found["both"][1]).split()) & set(" ".join(source).split())  # substitutes of its own side
    counts = {side: facts["counts"] for side, (_, _, facts) in found.items()}
    assert counts["both"] == {**counts["source"], **counts["target"]} and list(counts["both"]) == ["source", "target"]
    # The sides' draws differ.
    assert [line.replace("_", ".") for line in found["both"][1]] != found["both"][0]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"delete": -0.1}, "--delete -0.1: give a probability from 0 to 1"),
        ({"substitute": 1.1}, "--substitute 1.1: give a probability from 0 to 1"),
        ({"swap": float("nan")}, "--swap nan: give a probability from 0 to 1"),
        ({"delete": 0.6, "substitute": 0.5}, "--delete 0.6 and --substitute 0.5: give at most 1 together"),
    ],
)
def test_rates_that_cannot_be(rates: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TokenNoise(**rates)


VERB = ["noise", "--source-lang", "src", "--target-lang", "tgt"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--share", "0.5"], ["train.tgt"]),  # misalignment is the default, as before there was a choice
        (["--kind", "misalign", "--share", "0.5"], ["train.tgt"]),
        (["--kind", "tokens"], ["train.src"]),
        (["--kind", "tokens", "--side", "target", "--swap", "1"], ["train.tgt"]),
        (["--kind", "tokens", "--side", "both"], ["train.src", "train.tgt"]),
        (["--kind", "tokens", "--delete", "0", "--substitute", "0", "--swap", "0"], []),
    ],
)
def test_the_verb_changes_the_training_text_alone(tmp_path: Path, options: list[str], changed: list[str]) -> None:
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    write_text(clean, {"train": 30, "valid": 5, "test": 5})
    words = [*VERB, "--input", str(clean), *options]
    with pytest.raises(UserError, match="it is the input"):
        cli.main([*words, "--output", str(clean)])
    cli.main([*words, "--output", str(noisy)])
    names = sorted(path.name for path in clean.iterdir())
    assert sorted(path.name for path in noisy.iterdir()) == sorted([*names, "noise.json"])
    assert [name for name in names if (clean / name).read_bytes() != (noisy / name).read_bytes()] == changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--kind misalign needs --share P"),
        (["--share", "0.5", "--swap", "1"], "--swap needs --kind tokens; leave it out"),
        (["--share", "0.5", "--side", "source"], "--side needs --kind tokens"),
        (["--kind", "tokens", "--share", "0"], "--share needs --kind misalign"),
        (["--kind", "tokens", "--delete", "2"], "--delete 2.0: give a probability"),
    ],
)
def test_options_of_another_kind_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    write_text(tmp_path / "clean", {"train": 30, "valid": 5, "test": 5})
    with pytest.raises(UserError, match=message):
        cli.main([*VERB, "--input", str(tmp_path / "clean"), "--output", str(tmp_path / "noisy"), *options])
    assert not (tmp_path / "noisy").exists()


def test_compressed_text_gets_the_noise_of_plain_text(tmp_path: Path) -> None:
    clean, packed = tmp_path / "clean", tmp_path / "packed"
    write_text(clean, {"train": 30, "valid": 5, "test": 5})
    packed.mkdir()
    for path in clean.iterdir():
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    for folder in (clean, packed):
        cli.main([*VERB, "--input", str(folder), "--share", "0.5", "--output", f"{folder}.noisy"])
    noisy = [{path.name: path.read_bytes() for path in Path(f"{folder}.noisy").iterdir()} for folder in (clean, packed)]
    assert noisy[0] == noisy[1] and len(noisy[0]) == 7


def test_two_languages_of_one_name_are_refused(tmp_path: Path) -> None:
    """The noisy targets would be written over the sources."""
    write_text(tmp_path / "clean", {"train": 30, "valid": 5, "test": 5})
    with pytest.raises(UserError, match="--source-lang and --target-lang are both src"):
        add_noise(tmp_path / "clean", tmp_path / "noisy", ("src", "src"), Misalignment(0.5))
    assert not (tmp_path / "noisy").exists()


def test_the_function_returns_what_it_writes(tmp_path: Path) -> None:
    write_text(tmp_path / "clean", {"train": 30, "valid": 5, "test": 5})
    made = add_noise(tmp_path / "clean", tmp_path / "noisy", ("src", "tgt"), Misalignment(0.5), seed=2)
    found = read_json(tmp_path / "noisy" / "noise.json")
    clean, noisy = ((tmp_path / name / "train.tgt").read_text().splitlines() for name in ("clean", "noisy"))
    moved = sum(map(str.__ne__, clean, noisy))
    assert made == found == {"kind": "misalign", "share": 0.5, "seed": 2, "other_targets": moved} and moved > 10
    made = add_noise(tmp_path / "clean", tmp_path / "tokens", ("src", "tgt"), TokenNoise(swap=1), seed=2)
    assert made == read_json(tmp_path / "tokens" / "noise.json")
    counts = made.pop("counts")["source"]
    settings = {"side": "source", "delete": 0.1, "substitute": 0.1, "swap": 1, "span": 3}
    assert made == {"kind": "tokens", **settings, "seed": 2}
    clean, noisy = ((tmp_path / name / "train.src").read_text().split() for name in ("clean", "tokens"))
    assert counts["tokens"] == len(clean) and counts["deleted"] == len(clean) - len(noisy) > 0
    assert counts["substituted"] > 0 and counts["moved"] > counts["deleted"]


@pytest.mark.parametrize(
    ("line", "told"), [("这是一个没有空格的句子", True), ("这 是 一个 句子", False), ("a long sentence", False)]
)
def test_tokens_that_are_whole_lines_are_told(
    line: str, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "valid", "test"):
        for side in ("src", "tgt"):
            (tmp_path / f"{split}.{side}").write_text(f"{line}\n" * 5)
    add_noise(tmp_path, tmp_path / "misaligned", ("src", "tgt"), Misalignment(0.4))
    assert not caplog.text
    add_noise(tmp_path, tmp_path / "noisy", ("src", "tgt"), TokenNoise())
    assert (f"{tmp_path}/train.src: Chinese text has no spaces between words" in caplog.text) == told
    assert "train.tgt" not in caplog.text
