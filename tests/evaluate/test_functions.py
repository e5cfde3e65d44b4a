"""`evaluate` and `risks` as functions: what they return, what they write, and what their command lines hand over."""

import math
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd import cli
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate import evaluate, risks
from fairseq_kd.evaluate.options import SamplePlan, ScoreOptions
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.storage.structured import read_json
from tests.support.models import edited

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = ("seconds", "sentences_per_second", "target_tokens_per_second")


def without_times(made: dict[str, Any]) -> dict[str, Any]:
    """An evaluation without what differs from run to run."""
    beams = {
        beam: {key: value for key, value in one.items() if key not in TIMES} for beam, one in made["beams"].items()
    }
    return {**made, "beams": beams}


def test_evaluate_returns_what_it_writes_and_the_command_line_calls_it(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("reference", "other")]
    (tmp_path / "reference").write_text("3 4 5 6\n" * 40)
    (tmp_path / "other").write_text("\n3 4\n" * 20)
    made = evaluate(
        tiny_teacher,
        tiny_corpus,
        subset="valid",
        beams=(2, 1, 2),
        lengths=DecodingOptions(max_len_a=1.2, max_len_b=5, max_tokens=300),
        engine="fairseq",
        scoring=ScoreOptions(files, post_process="none", metrics=("rouge", "bleu2"), lowercase=True),
        name="a name",
        seed=3,
        output=tmp_path / "one.json",
    )
    assert {"rouge1", "rougeL", "bleu2", "bleu"} <= set(made["beams"]["2"])
    assert made["references"] == ["3 4 5 6"] * 40 and made["more_references"] == [[None, "3 4"] * 20]
    assert made["beams"]["1"]["bleu"]["signature"].startswith("nrefs:var|case:lc|") and made["lowercase"] is True
    assert "|case:lc|" in made["teacher_forced"]["bleu"]["signature"]
    assert made == read_json(tmp_path / "one.json") and list(made["beams"]) == ["1", "2"]
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--subset", "valid", "--beam", 1, 2, "--max-len-a", 1.2]
    words += ["--max-len-b", 5, "--max-tokens", 300, "--engine", "fairseq", "--post-process", "none"]
    words += ["--reference", *files, "--metrics", "rouge", "bleu2", "--lowercase"]
    words += ["--name", "a name", "--seed", 3, "--output", tmp_path / "two.json"]
    cli.main(["evaluate", *map(str, words)])
    assert without_times(read_json(tmp_path / "two.json")) == without_times(made)


def test_risks_returns_what_it_writes_and_reads_it_again(tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    plan = SamplePlan(samples=2, sampling=Sampling(max_len_a=0.0, max_len_b=8), seed=2)
    made = risks(tiny_teacher, tiny_teacher, tiny_corpus, plan=plan, output=tmp_path / "risks.json")
    assert made == read_json(tmp_path / "risks.json")
    before = (tmp_path / "risks.json").stat().st_mtime_ns
    assert risks(tiny_teacher, tiny_teacher, tiny_corpus, plan=plan, output=tmp_path / "risks.json") == made
    assert (tmp_path / "risks.json").stat().st_mtime_ns == before
    assert risks(tiny_teacher, tiny_teacher, tiny_corpus, plan=plan)["risks"] == made["risks"]


def test_scores_that_are_not_finite_are_told_with_what_to_check(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    def spoil(state: dict[str, Any]) -> None:
        state["model"]["decoder.layers.0.fc1.weight"].fill_(math.nan)

    broken = edited(tiny_teacher, tmp_path, spoil)
    assert read_checkpoint(broken)["model"]["decoder.layers.0.fc1.weight"].isnan().all()
    plan = SamplePlan(samples=2, sampling=Sampling(max_len_a=0.0, max_len_b=4))
    with pytest.raises(UserError, match="NaN or infinite scores; check its weights"):
        risks(tiny_teacher, broken, tiny_corpus, plan=plan)
