"""`fairseq-kd risks`: against plain loops, exact expectations by enumeration, and from the command to the table."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.mutual_scores import STREAMS, Measured, Measurement
from fairseq_kd.evaluate.options import SamplePlan
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.storage.structured import read_json
from tests.support.corpora import binarise, write_text
from tests.support.models import batch, build

pytestmark = pytest.mark.usefixtures("one_thread")
PLAN = SamplePlan(samples=3, sampling=Sampling(max_len_a=0.0, max_len_b=6), seed=5, max_tokens=4000)


def measure(task: Any, teacher: Any, student: Any, plan: SamplePlan = PLAN) -> Measured:
    return Measurement(task, "test", teacher, student, plan).run(lambda samples: None)


def log_probs(model: Any, source: torch.Tensor, prefix: list[int], eos: int) -> torch.Tensor:
    """Of the next symbol after ``prefix``, float64."""
    with torch.no_grad():
        asked = (source[None], torch.tensor([len(source)]), torch.tensor([[eos, *prefix]]))
        return model(*asked)[0][0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("architecture", ["transformer", "lstm"])
def test_every_figure_is_that_of_a_plain_loop(tiny_corpus: Path, tiny_teacher: Path, architecture: str) -> None:
    """Sentence by sentence and symbol by symbol, samples that are cut among them."""
    task = open_databin(tiny_corpus, "test")
    (teacher,) = build_models([tiny_teacher], task)
    student = build(tiny_corpus, architecture=architecture, seed=4)[1].eval()
    measured, eos = measure(task, teacher, student), task.target_dictionary.eos()
    cut = {"teacher": 0, "student": 0}
    for row in range(0, 40, 5):
        sample = batch(task, "test", [row])
        source = task.dataset("test").src[row]
        for side, name, own, other in (
            ("teacher", "coverage", teacher, student),
            ("student", "likelihood", student, teacher),
        ):
            sums, means = [], []
            for number in range(3):
                seed = (5, STREAMS[side] + number)
                drawn = draw_rollouts([own], sample, PLAN.sampling, seed, task.target_dictionary)[0].tolist()
                cut[side] += len(drawn) == 7
                words = drawn[:6]  # the seventh is an </s> that nobody drew
                nll = [-log_probs(other, source, words[:t], eos)[word].item() for t, word in enumerate(words)]
                sums.append(sum(nll))
                means.append(sum(nll) / len(nll))
            assert measured.figures[name][row] == pytest.approx(sum(sums) / 3, rel=1e-5)
            assert measured.figures[f"{name}_per_token"][row] == pytest.approx(sum(means) / 3, rel=1e-5)
    assert all(0 < cut[side] <= measured.cut[side] <= 120 for side in cut)


@pytest.mark.parametrize("itself", [True, False])
def test_the_risks_are_cross_entropies_in_expectation(
    tiny_corpus: Path, tiny_teacher: Path, sure_teacher: Path, itself: bool
) -> None:
    """E −log q(y), y from p, and the other way round, over all sequences cut at two tokens; for p = q the entropy."""
    task = open_databin(tiny_corpus, "test")
    (teacher, student) = build_models([sure_teacher, sure_teacher if itself else tiny_teacher], task)
    plan = replace(PLAN, samples=60, sampling=Sampling(max_len_a=0.0, max_len_b=2))
    measured, eos = measure(task, teacher, student, plan), task.target_dictionary.eos()

    def all_sequences(model: Any, source: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of </s>, and of each pair of symbols whose first is another."""
        first = log_probs(model, source, [], eos)
        others = torch.tensor([symbol for symbol in range(len(first)) if symbol != eos])
        prefixes = torch.stack([torch.full_like(others, eos), others], dim=1)
        with torch.no_grad():
            sources = source.expand(len(others), -1)
            scores = model(sources, torch.full_like(others, len(source)), prefixes)[0][:, -1]
        pairs = first[others, None] + scores.double().log_softmax(-1)
        return torch.cat([first[eos : eos + 1], pairs.flatten()])

    expected, variance = {"likelihood": 0.0, "coverage": 0.0}, {"likelihood": 0.0, "coverage": 0.0}
    for source in (task.dataset("test").src[row] for row in range(40)):
        p, q = all_sequences(teacher, source), all_sequences(student, source)
        assert p.exp().sum().item() == pytest.approx(1, abs=1e-6)
        for name, drawn, asked in (("likelihood", q, p), ("coverage", p, q)):
            mean = -(drawn.exp() * asked).sum().item()
            expected[name] += mean / 40
            variance[name] += (drawn.exp() * (asked + mean) ** 2).sum().item() / 60 / 40**2
    for name in expected:
        assert measured.figures[name].mean() == pytest.approx(expected[name], abs=4 * variance[name] ** 0.5)
        assert variance[name] ** 0.5 < 0.05 * expected[name]
    assert (expected["likelihood"] == pytest.approx(expected["coverage"])) == itself


def test_batches_do_not_matter_and_samples_differ(tiny_corpus: Path, tiny_teacher: Path, sure_teacher: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    teacher, student = build_models([sure_teacher, tiny_teacher], task)
    large, small = (measure(task, teacher, student, replace(PLAN, max_tokens=size)) for size in (4000, 20))
    for name, values in large.figures.items():
        np.testing.assert_allclose(values, small.figures[name], rtol=1e-5)
    assert large.cut == small.cut and large.figures["teacher_dist"].mean() > 0.4
    other = measure(task, teacher, student, replace(PLAN, seed=6))
    assert (other.figures["likelihood"] != large.figures["likelihood"]).mean() > 0.9
    # The less sure of the two: a model that is sure of a sentence may draw the same one twice.
    itself = measure(task, student, student)
    assert (itself.figures["likelihood"] != itself.figures["coverage"]).mean() > 0.9  # not the same samples twice


def test_rows_beyond_either_models_positions_are_skipped(
    train: Callable[..., Path], tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    short = ("--max-source-positions", "7", "--max-target-positions", "5", "--max-update", "1", "--disable-validation")
    task = open_databin(tiny_corpus, "test")
    (student, teacher) = build_models([train(tiny_corpus, tmp_path, *short), tiny_teacher], task)
    sizes = task.dataset("test").src_sizes
    measured = measure(task, teacher, student, replace(PLAN, sampling=Sampling(max_len_a=0.0, max_len_b=50)))
    assert 0 < measured.skipped == (sizes > 7).sum() < 40 and len(measured.figures["coverage"]) == (sizes <= 7).sum()
    assert measured.cut["teacher"] > 0 and np.isfinite(measured.figures["coverage"]).all()
    assert measured.longest == 4  # of 50 that were asked for: the fifth position is that of </s>


def test_what_short_models_leave_out_is_told(
    train: Callable[..., Path], tiny_corpus: Path, sure_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("--max-source-positions", "7", "--max-target-positions", "5", "--max-update", "1", "--disable-validation")
    with caplog.at_level("WARNING"):
        made = risks(
            sure_teacher, train(tiny_corpus, tmp_path / "s", *short), tiny_corpus, tmp_path / "r", "--samples", 2
        )
    assert made["skipped"] > 0 and made["longest"] == 4 and made["cut"]["student"] > 0
    assert f"{made['skipped']} of 40 sources are left out: empty, or longer than the models' positions" in caplog.text
    assert "samples cut at 4 tokens: " in caplog.text and "200" not in caplog.text


def words(*pairs: object) -> list[str]:
    return [str(word) for word in pairs]


def risks(teacher: Path | str, model: Path | str, data: Path, output: Path, *options: object) -> dict[str, Any]:
    cli.main(words("risks", "--teacher", teacher, "--model", model, "--data", data, "--output", output, *options))
    return read_json(output)


def test_from_models_to_the_table(
    tiny_corpus: Path,
    tiny_teacher: Path,
    sure_teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    scores, measured = [], []
    for name, model in (("Teacher", sure_teacher), ("Student", tiny_teacher)):
        scores.append(tmp_path / f"{name}.json")
        measured.append(tmp_path / "risks" / f"{name}.json")
        evaluate = words("--model", model, "--data", tiny_corpus, "--output", scores[-1], "--name", name, "--beam", 1)
        cli.main(["evaluate", *evaluate, "--post-process", "none", "--max-len-b", "12"])
        risks(sure_teacher, model, tiny_corpus, measured[-1], "--max-len", 12)
    folder = tmp_path / "table"
    # without the table's own name for it, a file is known by its model's hash: the order does not matter
    files = [*scores, "--risks", *reversed(measured)]
    cli.main(words("table", *files, "--output", folder, "--teacher", "Teacher"))
    text, table = capsys.readouterr().out, read_json(folder / "table.json")
    teacher, student = (row["risks"] for row in table["rows"])
    assert student["coverage"]["mean"] > teacher["coverage"]["mean"]  # a cross-entropy is above the entropy
    assert student["likelihood"]["mean"] == read_json(measured[1])["risks"]["likelihood"]["mean"]
    low, high = student["coverage"]["interval"]
    assert low < student["coverage"]["mean"] < high and student["teacher_dist"] == teacher["teacher_dist"]
    assert "| R_llh | R_cvg |" in text and f"| {student['coverage']['mean']:.2f} |" in text and "TeacherDist" in text
    assert (folder / "risks.png").read_bytes().startswith(b"\x89PNG")
    before = measured[1].read_bytes()
    with caplog.at_level("INFO"):
        risks(sure_teacher, tiny_teacher, tiny_corpus, measured[1], "--max-len", 12, "--max-tokens", 100)
    assert "nothing to do" in caplog.text and measured[1].read_bytes() == before
    risks(sure_teacher, tiny_teacher, tiny_corpus, measured[1], "--max-len", 12, "--seed", 2)
    assert measured[1].read_bytes() != before
    with pytest.raises(
        UserError, match=r"Student\.json: measured in another way than .* \(sampling\.seed is 1 there, 2 here"
    ):
        cli.main(words("table", *scores, "--risks", *measured, "--output", folder))


def test_the_teachers_samples_are_those_that_decode_draws(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    found = risks(tiny_teacher, tiny_teacher, tiny_corpus, tmp_path / "risks.json", "--samples", 2, "--max-len", 15)
    decode = words("--model", tiny_teacher, "--data", tiny_corpus, "--subset", "test", "--output", tmp_path / "drawn")
    cli.main(["decode", *decode, "--sampling", *words("--nbest", 2, "--max-len-a", 0, "--max-len-b", 15)])
    lines = (tmp_path / "drawn" / "test.nbest.tsv").read_text().splitlines()
    texts = [line.split("\t")[3].split() for line in lines]
    shares = []
    for both in zip(texts[::2], texts[1::2], strict=True):
        pairs = [f"{text[i]} {text[i + 1]}" for text in both for i in range(len(text) - 1)]
        shares.append(len(set(pairs)) / len(pairs) if pairs else 0.0)
    assert found["risks"]["teacher_dist"]["mean"] == pytest.approx(sum(shares) / len(shares))


MISTAKES = {
    "one sample": (("--samples", 1), "--samples 1: give 2 or more"),
    "length": (("--max-len", 0), "--max-len 0: give 1 or more"),
    "batch": (("--max-tokens", 0), "--max-tokens 0: give 1 or more"),
    "seed": (("--seed", -1), "--seed -1: give a number"),
    "share": (("--top-p", 0), r"top-p 0\.0: give"),
    "symbols": (("--top-k", 10**6), r"top-k 1000000: the vocabulary has"),
    "subset": (("--subset", "nope"), "no subset 'nope'"),
    "ensemble": (("--model", "a.pt:b.pt"), r"--model 'a\.pt:b\.pt': give one checkpoint"),
    "teachers": (("--teacher", "a.pt:b.pt"), r"--teacher 'a\.pt:b\.pt': give one checkpoint"),
    "no teacher": (("--teacher", "none.pt"), r"teacher none\.pt: no such file"),
    "no model": (("--model", "none.pt"), r"model none\.pt: no such file"),
    "no data": (("--data", "none"), "data-bin none: no such folder"),
    "folder": (("--output", "."), r"--output \.: is a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, mistake: str) -> None:
    options, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message) as caught:
        risks(tiny_teacher, tiny_teacher, tiny_corpus, tmp_path / "out.json", *options)
    assert "\n" not in str(caught.value) and not (tmp_path / "out.json").exists()


def test_another_vocabulary_is_refused(tiny_teacher: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "text", {"train": 300, "valid": 40, "test": 40}, seed=2)
    other = binarise(tmp_path / "text", tmp_path / "data-bin", "--joined-dictionary")
    with pytest.raises(UserError, match=re.escape(f"teacher {tiny_teacher}: its source vocabulary")):
        risks(tiny_teacher, tiny_teacher, other, tmp_path / "out.json")
