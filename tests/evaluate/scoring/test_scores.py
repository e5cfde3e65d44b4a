"""Scores against sacreBLEU's plain functions, and where the compared text comes from."""

import gzip
import json
import lzma
from types import SimpleNamespace

import pytest
import sacrebleu
import torch
from fairseq.data import Dictionary

from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.costs.timed_translation import mode_mass, translate_timed
from fairseq_kd.evaluate.saved_outputs import save_outputs
from fairseq_kd.evaluate.scoring.more_scores import more_scores
from fairseq_kd.evaluate.scoring.references import databin_references, read_references, warn_of_case
from fairseq_kd.evaluate.scoring.scores import Scoring, score_text
from fairseq_kd.evaluate.sentences import Sentences

REFERENCES = [f"The quick brown fox number {row} jumps over the lazy dog, again and again." for row in range(40)]
GOOD = [line.replace("lazy", "sleepy") if row % 4 == 0 else line for row, line in enumerate(REFERENCES)]


def test_a_symbol_with_another_kind_of_space_is_one_token() -> None:
    assert [Hypothesis(tokens, 0.0).size for tokens in ("", "a", "New\u00a0York is", "\u3000")] == [1, 2, 3, 2]


def test_scores_are_sacrebleus():
    scores = score_text(GOOD, REFERENCES)
    assert scores["bleu"]["score"] == sacrebleu.corpus_bleu(GOOD, [REFERENCES]).score
    assert scores["chrf"]["score"] == sacrebleu.corpus_chrf(GOOD, [REFERENCES]).score
    assert scores["ter"]["score"] == sacrebleu.corpus_ter(GOOD, [REFERENCES]).score
    assert "tok:13a" in scores["bleu"]["signature"] and "nrefs:1" in scores["ter"]["signature"]


@pytest.mark.parametrize("more", [(), (REFERENCES[:1],)])
def test_other_numbers_of_lines_are_refused(more):
    """sacreBLEU scores the lines that have a partner, and passes over the others."""
    references = REFERENCES if more else REFERENCES[:-1]
    with pytest.raises(ValueError, match="translations"):
        score_text(GOOD, references, more=more)


def test_reference_lines_are_cut_at_newlines_alone(tmp_path):
    path = tmp_path / "reference"
    path.write_bytes("a\u2028b\r\n\nc".encode())
    assert read_references(path, 3) == ["a\u2028b", "", "c"]
    path.write_bytes(b"a\n\n")
    assert read_references(path, 2) == ["a", ""]


def test_a_compressed_reference_is_read_as_it_was(tmp_path):
    for name, pack in {"text.gz": gzip.compress, "text.xz": lzma.compress}.items():
        (tmp_path / name).write_bytes(pack("\ufeffa\u2028b\r\n\nc".encode()))
        assert read_references(tmp_path / name, 3) == ["a\u2028b", "", "c"]
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"a\nb\nc\n")[:-9])
    with pytest.raises(UserError, match=r"reference .*text.gz: damaged or cut short"):
        read_references(tmp_path / "text.gz", 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\n", "2 lines for 3 rows"),
        (b"a\n\xff\nc\n", r"reference .*: line 2: not UTF-8 \(byte 1\)"),
        (None, "reference .*: no such file"),
    ],
)
def test_bad_reference_files(tmp_path, content, message):
    path = tmp_path / "reference"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_references(path, 3)


def databin(targets):
    """A stand-in for a translation task whose subset has ``targets`` (subword text) or no target side."""
    dictionary = Dictionary()
    for symbol in ("▁a", "▁dog", "s"):
        dictionary.add_symbol(symbol)
    encoded = targets and [dictionary.encode_line(text, add_if_not_exist=False).long() for text in targets]

    class Subset:
        tgt = encoded

        def __len__(self):
            return len(targets or [])

    return SimpleNamespace(
        dataset=lambda subset: Subset(),
        target_dictionary=dictionary,
        cfg=SimpleNamespace(data="bin", source_lang="en", target_lang="de"),
    )


def test_references_from_a_databin(caplog):
    assert databin_references(databin(["▁a ▁dog s", ""]), "test", "sentencepiece") == ["a dogs", ""]
    assert not caplog.records
    databin_references(databin(["▁a cat"]), "test", "sentencepiece")
    assert "1 of 1 references hold <unk>" in caplog.text and "--reference" in caplog.text


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ([line.lower() for line in REFERENCES], True),
        ([f"t{line[1:].replace(',', ' ,')}" for line in REFERENCES], True),  # truecased and tokenised
        (REFERENCES, False),
        ([line.replace(".", " .") for line in REFERENCES], False),
        ([f"another {line.lower()}" for line in REFERENCES], False),
        ([line.lower() for line in REFERENCES[:4]] + REFERENCES[4:], False),
    ],
)
def test_a_reference_in_another_case_is_told(target, told, caplog):
    warn_of_case(target, REFERENCES, "test.en")
    assert ("reference test.en: 40 of 40 lines differ" in caplog.text) == told == bool(caplog.records)


@pytest.mark.parametrize("tokenize", ["13a", "char"])
def test_caseless_scores_are_those_of_lowercased_text(tokenize, tmp_path):
    made = [line.title() if row % 3 else line.replace("a", "", 1).upper() for row, line in enumerate(REFERENCES)]
    more = [line.swapcase() if row % 2 else None for row, line in enumerate(REFERENCES)]
    lower = [[line and line.lower() for line in lines] for lines in (made, REFERENCES, more)]
    caseless, plain = Scoring(tokenize, lowercase=True), Scoring(tokenize)
    found, expected = score_text(made, REFERENCES, caseless, [more]), score_text(*lower[:2], plain, [lower[2]])
    for name, score in found.items():
        assert score["score"] == expected[name]["score"] and "|case:lc|" in score["signature"]
    cased = score_text(made, REFERENCES, plain, [more])
    assert cased["bleu"]["score"] < found["bleu"]["score"] and "|case:mixed|" in cased["chrf"]["signature"]
    short = [more_scores(made, [REFERENCES], scoring, ["bleu1"])["bleu1"] for scoring in (caseless, plain)]
    assert short[0] == {
        "score": more_scores(*lower[:1], [lower[1]], plain, ["bleu1"])["bleu1"]["score"],
        "signature": short[1]["signature"].replace("case:mixed", "case:lc"),
    }
    saved = []
    for lines, references, scoring in ((made, REFERENCES, caseless), (*lower[:2], plain)):
        path, sentences = tmp_path / f"{len(saved)}.jsonl", Sentences([], references, "test", "none", scoring=scoring)
        signatures = save_outputs(path, sentences, references, {"1": lines})
        assert all(("|case:lc|" in one) == scoring.lowercase for one in signatures.values())
        beams = [json.loads(line)["beams"]["1"] for line in path.read_text().splitlines()]
        saved.append([[beam[name] for name in ("bleu", "chrf")] for beam in beams])
    assert saved[0] == saved[1]


def test_a_databin_without_targets():
    with pytest.raises(UserError, match="no de side; give --reference"):
        databin_references(databin(None), "test", "none")


def test_skipped_rows_count_in_no_rate_and_no_mode_mass():
    class FakeEngine:
        asked: list[int] = []  # noqa: RUF012

        def translate(self, sources, options, progress=None):
            self.asked.append(len(sources))
            return [[Hypothesis("▁a ▁b", -0.5)] if len(source) > 1 else [NOT_TRANSLATED] for source in sources]

    sources = [torch.tensor([5, 2]), torch.tensor([2]), torch.tensor([5, 2])]
    found, speed = translate_timed(FakeEngine(), sources, [False, True, False], DecodingOptions())
    assert [best.tokens for best in found] == ["▁a ▁b", "", "▁a ▁b"]
    assert FakeEngine.asked == [2, 3]  # a warm-up of rows that the model sees, then all
    assert speed["sentences_per_second"] == pytest.approx(2 / speed["seconds"])
    assert speed["target_tokens_per_second"] == pytest.approx(6 / speed["seconds"])
    assert mode_mass(found, [False, True, False]) == pytest.approx(2**-1.5)  # three tokens of half a bit
    assert mode_mass(found[1:2], [True]) is None
