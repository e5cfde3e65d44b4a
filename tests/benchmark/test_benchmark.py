"""The benchmark's ratios and its measurements; its timings are nobody's test."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fairseq_kd.benchmark import benchmark
from fairseq_kd.benchmark.calls import loss_calls, rollout_calls, selection_calls, training_calls
from fairseq_kd.benchmark.comparison import make_cache
from fairseq_kd.benchmark.loss_speed import ALPHA, LOSSES
from fairseq_kd.benchmark.markdown import markdown
from fairseq_kd.benchmark.plot import write_plot
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.timing.interleaved import TimedCall, measure, table_lines

CALLS = [TimedCall(*names, dict, {}) for names in (("A", "first"), ("A", "second"), ("B", "alone"), ("C", "lists"))]
MEASURED = [
    [{"seconds": 2.0, "memory": 100.0}, {"seconds": 3.0, "memory": 100.0}, {"seconds": 8.0, "memory": 90.0}],
    [{"seconds": 1.0, "memory": 10.0}, {"seconds": 1.0, "memory": 10.0}, {"seconds": 2.0, "memory": 10.0}],
    [{"seconds": 5.0, "sentences_per_second": 7.0, "bleu": 30.0, "identical": 0.995}] * 3,
    [{"seconds": 2.0, "candidates_per_second": 40000.0}] * 3,
]


def table() -> dict:
    made = table_lines(CALLS, MEASURED)
    return {"rows": made, "rounds": 3, "teacher": "0" * 64, "versions": {"torch": "x"}, "machine": {}, "commit": None}


def test_a_speed_is_the_median_ratio_within_a_round() -> None:
    first, second, alone, _ = table()["rows"]
    assert (first["speed"], alone["speed"]) == (1.0, 1.0)
    assert second["speed"] == 3.0 and second["speed_range"] == [2.0, 4.0]  # not the ratio of the medians, 3.0 / 1.0
    assert second["seconds"] == 1.0 and first["memory"] == 100.0


def test_the_table_shows_what_was_measured(tmp_path: Path) -> None:
    text = markdown(table())
    assert "| second | 1,000 ms | 3.00 (2.00 to 4.00) | 10 MiB |" in text
    assert "7 sentences/s, BLEU 30.00, 99.50% of lines as the first" in text and "3 rounds" in text
    assert "| lists | 2,000 ms | 1.00 (1.00 to 1.00) |  | 40,000 candidates/s |" in text
    write_plot(table(), tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 1000


def test_every_loss_that_is_compared_is_the_same_loss() -> None:
    """A benchmark of two different losses would say nothing."""
    draw = torch.Generator().manual_seed(1)
    student, teacher = (
        (torch.randn(50, width, generator=draw), torch.randn(30, width, generator=draw)) for width in (4, 6)
    )
    target = torch.randint(30, (50,), generator=draw)
    figures = {}
    for name, loss in LOSSES.items():
        own = [tensor.clone().requires_grad_() for tensor in student]
        value = loss(own, teacher, target)
        value.backward()
        figures[name] = (value.item(), own)
    p = (teacher[0] @ teacher[1].t()).softmax(-1)
    entropy = ALPHA * torch.distributions.Categorical(p).entropy().sum().item()
    # The textbook's F.kl_div is the KL; token_kd's soft loss is the cross-entropy: constant apart, the same gradient.
    assert figures["fused_kd"][0] == pytest.approx(figures["dense_kd"][0] + entropy, rel=1e-5)
    assert figures["fused_ce"][0] == pytest.approx(figures["stock_ce"][0], rel=1e-5)
    for one, other in (("fused_kd", "dense_kd"), ("fused_ce", "stock_ce")):
        for mine, theirs in zip(figures[one][1], figures[other][1], strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_selection_is_measured(tiny_corpus: Path, tmp_path: Path) -> None:
    """Each of what is compared reads all of the lists."""
    lines = [f"{row}\t{rank}\t-0.1\tt{row % 20} t{rank}\n" for row in range(40) for rank in (1, 2)]
    (tmp_path / "valid.nbest.tsv").write_text("".join(lines))
    for call in selection_calls(tmp_path, str(tiny_corpus)):
        figures = call.function(**call.arguments)
        assert figures["seconds"] * figures["candidates_per_second"] == pytest.approx(80)


def test_a_loss_is_measured() -> None:
    for call in loss_calls()[:2]:
        small = {**call.arguments, "vocabulary": 20, "tokens": 10, "width": 4, "teacher_width": 4}
        figures = call.function(**small)
        assert figures["seconds"] > 0 and math.isfinite(figures["memory"])


@pytest.mark.slow
def test_all_ways_to_draw_are_measured(tiny_corpus: Path, tiny_teacher: Path) -> None:
    for call in rollout_calls(str(tiny_teacher), str(tiny_corpus)):
        options = ["--arch", "transformer", "--optimizer", "adam", "--max-tokens", "100"]
        small = {**call.arguments, "options": options, "batches": 2, "steps": 1}
        figures = call.function(**small)
        assert figures["seconds"] == pytest.approx(10000 / figures["tokens_per_second"]) and figures["seconds"] > 0


@pytest.mark.slow
@pytest.mark.integration
def test_a_training_step_is_measured_in_a_process_of_its_own(tiny_corpus: Path, tmp_path: Path) -> None:
    """There nothing but the measurement itself makes the plugin's task and criterions known to fairseq."""
    call = training_calls("teacher.pt", str(tiny_corpus), tmp_path)[1]
    assert "fused_cross_entropy" in call.arguments["options"]
    options = [*call.arguments["options"], "--task", "translation_kd", "--max-tokens", "100"]
    figures = measure(replace(call, arguments={**call.arguments, "options": options, "steps": 1}))
    assert figures["seconds"] > 0 and figures["memory"] > 0


def test_a_teacher_that_has_no_dictionaries_has_those_of_the_data(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    """It may have been trained in another folder, whose relative path to its data it has recorded."""
    state = read_checkpoint(tiny_teacher)
    state["cfg"]["task"]["data"] = "data/data-bin"
    torch.save(state, tmp_path / "teacher.pt")
    cache = make_cache(str(tmp_path / "teacher.pt"), str(tiny_corpus), tmp_path / "output")
    assert (cache / "train" / "manifest.json").is_file()


def test_the_function_refuses_before_it_measures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--rounds 0: give 1 or more"):
        benchmark("none.pt", "none", tmp_path / "out", rounds=0)
    with pytest.raises(UserError, match=r"none\.pt: no such file"):
        benchmark("none.pt", "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
