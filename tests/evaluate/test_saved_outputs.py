"""The file of sentences with their scores, held against sacreBLEU's plain functions, and COMET beside it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch

from fairseq_kd import cli
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate import evaluate
from fairseq_kd.evaluate.options import ScoreOptions
from fairseq_kd.evaluate.saved_outputs import save_outputs
from fairseq_kd.evaluate.scoring.scores import Scoring
from fairseq_kd.evaluate.sentences import Sentences
from fairseq_kd.storage.structured import read_json

pytestmark = pytest.mark.usefixtures("one_thread")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode().removesuffix("\n").split("\n")]


def test_each_sentence_has_sacrebleus_scores(tiny_teacher: Path, tiny_corpus: Path, tiny_text: Path, tmp_path: Path):
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--beam", 1, 2, "--max-len-b", 12, "--engine", "fairseq"]
    words += ["--post-process", "none", "--tokenize", "char", "--reference", tiny_text / "test.tgt"]
    words += ["--output", tmp_path / "one.json", "--save-outputs", tmp_path / "new" / "one.jsonl"]
    cli.main(["evaluate", *map(str, words)])
    made, lines = read_json(tmp_path / "one.json"), read(tmp_path / "new" / "one.jsonl")
    assert made["tokenize"] == "char" and "|tok:char|" in made["beams"]["1"]["bleu"]["signature"]
    assert [line["row"] for line in lines] == list(range(40))
    assert [line["source"] for line in lines] == (tiny_text / "test.src").read_text().splitlines()
    assert [line["reference"] for line in lines] == made["references"]
    values = set()
    for beam in ("1", "2"):
        assert [line["beams"][beam]["hypothesis"] for line in lines] == made["beams"][beam]["hypotheses"]
        for line in lines:
            found, reference = line["beams"][beam], [line["reference"]]
            assert found["bleu"] == sacrebleu.sentence_bleu(found["hypothesis"], reference, tokenize="char").score
            assert found["chrf"] == sacrebleu.sentence_chrf(found["hypothesis"], reference).score
            values.add(found["bleu"])
    assert len(values) > 5
    assert "|eff:yes|tok:char|" in made["outputs"]["bleu"] and made["outputs"]["chrf"].startswith("nrefs:1|")


def test_a_sentence_is_scored_against_all_its_references(tmp_path: Path) -> None:
    references, more = ["a small house", "two dogs ran"], ["the little house stands", None]
    made = ["the little house", "two dogs run"]
    sentences = Sentences([], references, "test", "none", more_references=[more])
    signatures = save_outputs(tmp_path / "lines.jsonl", sentences, references, {"5": made})
    for line, text, given in zip(read(tmp_path / "lines.jsonl"), made, zip(references, more, strict=True), strict=True):
        found, known = line["beams"]["5"], [one for one in given if one is not None]
        assert [line["reference"], *line.get("more_references", [])] == known
        assert found["bleu"] == sacrebleu.sentence_bleu(text, known).score
        assert found["chrf"] == sacrebleu.sentence_chrf(text, known).score
    assert all(one.startswith("nrefs:var|") for one in signatures.values())


def test_any_text_stays_on_its_line_and_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    text = ['a\t"b"\\', "\u2028x\u2029\x85\r\x0b", "日本 ß \U0001f600"]
    sentences = Sentences([torch.tensor([2])] * 3, text, "test", "none", Scoring())
    path = tmp_path / "lines.jsonl"
    save_outputs(path, sentences, text, {"5": text}, {"5": [0.5, 0.25, -1.0]})
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3  # which also ends lines at U+2028 and others
    for line, expected, comet in zip(read(path), text, [0.5, 0.25, -1.0], strict=True):
        assert line["source"] == line["reference"] == line["beams"]["5"]["hypothesis"] == expected
        assert line["beams"]["5"]["comet"] == comet
    before = path.read_bytes()
    with pytest.raises(ValueError, match="longer"):
        save_outputs(path, sentences, text[:2], {"5": text})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_bad_places_are_refused_before_the_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--save-outputs {tmp_path}: is a folder"):
        evaluate("no.pt", "none", output=tmp_path / "a", save_outputs=tmp_path)
    with pytest.raises(UserError, match="is also the file of --output"):
        evaluate("no.pt", "none", output=tmp_path / "a", save_outputs=tmp_path / "b" / ".." / "a")


def test_comet_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)  # as where the package is missing
    with pytest.raises(UserError, match="--comet: needs the package unbabel-comet, which is not installed; run pip"):
        evaluate("no.pt", "none", scoring=ScoreOptions(comet="Unbabel/wmt22-comet-da"))


PACKAGE = '''
"""A stand-in for unbabel-comet with its functions: it counts the letters that hypothesis and reference share."""
from types import SimpleNamespace
def download_model(name):
    raise KeyError(f"Model {name!r} not supported by COMET.")
def load_from_checkpoint(path):
    assert open(path).read() == "weights"
    def predict(samples, batch_size, gpus):
        scores = [len(set(s["mt"]) & set(s["ref"])) / (1 + len(s["src"])) for s in samples]
        return SimpleNamespace(scores=scores, system_score=sum(scores) / len(scores))
    return SimpleNamespace(predict=predict)
'''


def test_comet_scores_each_beam_and_sentence(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "comet.py").write_text(PACKAGE)
    (tmp_path / "model.ckpt").write_text("weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = evaluate(
        tiny_teacher,
        tiny_corpus,
        beams=(1, 2),
        lengths=DecodingOptions(max_len_b=12),
        engine="fairseq",
        scoring=ScoreOptions(post_process="none", comet=str(tmp_path / "model.ckpt")),
        save_outputs=tmp_path / "lines.jsonl",
    )
    lines = read(tmp_path / "lines.jsonl")
    for beam in ("1", "2"):
        expected = [
            len(set(line["beams"][beam]["hypothesis"]) & set(line["reference"])) / (1 + len(line["source"]))
            for line in lines
        ]
        assert [line["beams"][beam]["comet"] for line in lines] == expected
        assert made["beams"][beam]["comet"]["score"] == pytest.approx(sum(expected) / 40)
        assert made["beams"][beam]["comet"]["model"].endswith("model.ckpt")
        assert "reference" not in made["beams"][beam]["comet"]
    with pytest.raises(UserError, match="--comet no/model: no such file, and no model that COMET can download"):
        evaluate("no.pt", "none", scoring=ScoreOptions(comet="no/model"))
    texts = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for place in texts:
        place.write_text("".join(f"{line['reference']}\n" for line in lines))
    scoring = ScoreOptions(texts, post_process="none", comet=str(tmp_path / "model.ckpt"))
    options = {"beams": (1,), "lengths": DecodingOptions(max_len_b=12), "engine": "fairseq"}
    several = evaluate(tiny_teacher, tiny_corpus, scoring=scoring, **options)
    found = several["beams"]["1"]["comet"]
    assert found["reference"] == "the first of 2" and found["score"] == made["beams"]["1"]["comet"]["score"]
