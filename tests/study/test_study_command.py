"""A study from raw text to figures, killed and run again; the teacher-forced accuracy it shows, and the entropy."""

import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.evaluate.teacher_forcing import teacher_forced
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.storage.structured import read_json
from tests.support.commands import BIN, ROOT, environment
from tests.support.models import ARCHITECTURES


def test_teacher_forced_figures_are_those_of_a_loop(sure_teacher: Path, tiny_teacher: Path, tiny_corpus: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    models = build_models([sure_teacher, tiny_teacher], task)
    dataset, correct, entropies = task.dataset("test"), [], []
    for row in range(len(dataset)):
        source, target = dataset.src[row], dataset.tgt[row]
        previous = torch.cat([target[-1:], target[:-1]])[None]
        with torch.no_grad():
            outputs = [model(source[None], torch.tensor([len(source)]), previous)[0].double() for model in models]
        probabilities = sum(output.softmax(dim=-1) for output in outputs)[0] / 2
        correct.append(int((probabilities.argmax(dim=-1) == target).sum()))
        entropies += [-sum(p * math.log(p) for p in token if p > 0) for token in probabilities.tolist()]
    for max_tokens in (30, 4000):
        found = teacher_forced(models, task, "test", max_tokens)
        assert found["correct"] == correct and found["tokens"] == [len(row) for row in dataset.tgt]
        assert found["accuracy"] == pytest.approx(100 * sum(correct) / sum(found["tokens"]))
        assert found["entropy"] == pytest.approx(sum(entropies) / len(entropies), rel=1e-5)
    assert 0 < sum(correct) < sum(found["tokens"])


def test_rows_that_a_model_cannot_take_have_nothing_right(sure_teacher: Path, tiny_corpus: Path) -> None:
    task = open_databin(tiny_corpus, "test")
    (model,) = build_models([sure_teacher], task)
    longest = int(task.dataset("test").tgt_sizes.max())
    every = teacher_forced([model], task, "test", 4000)
    model.decoder.max_target_positions = longest - 1
    fewer = teacher_forced([model], task, "test", 4000)
    assert fewer["tokens"] == every["tokens"]
    assert fewer["entropy"] != every["entropy"] > 0
    assert fewer["correct"] == [
        0 if size == longest else right for size, right in zip(every["tokens"], every["correct"], strict=True)
    ]
    task.dataset("test").tgt = None
    assert teacher_forced([model], task, "test", 4000) is None


def test_evaluate_writes_it(sure_teacher: Path, tiny_corpus: Path, tiny_text: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        "--model",
        str(sure_teacher),
        "--data",
        str(tiny_corpus),
        "--beam",
        "1",
        "--post-process",
        "none",
    ]
    cli.main([*words, "--output", str(tmp_path / "scores.json")])
    content = read_json(tmp_path / "scores.json")
    sides = [
        [len(line.split()) for line in (tiny_text / f"test.{side}").read_text().splitlines()] for side in ("src", "tgt")
    ]
    assert content["source_lengths"] == sides[0]
    assert content["teacher_forced"]["tokens"] == [size + 1 for size in sides[1]]
    assert 50 < content["teacher_forced"]["accuracy"] <= 100


TRAINING = (
    f"--task translation_kd {ARCHITECTURES['transformer']} --share-all-embeddings --optimizer adam --lr 0.01 "
    "--max-tokens 800 --max-epoch 1 --no-epoch-checkpoints --log-format simple --num-workers 0"
)
STUDY = {
    "title": "A study",
    "languages": ["src", "tgt"],
    "raw": "fairseq-kd synthetic --output {output} --train 200 --valid 20 --test 30",
    "vocabulary": 200,
    "training": TRAINING,
    "teacher": "--criterion fused_cross_entropy",
    "decoding": "--max-len-a 1.2 --max-len-b 10",
    "beams": "1",
    "seeds": [1],
    "rows": {
        "seq_kd": {"name": "Seq-KD", "data": "distilled", "options": "--criterion fused_cross_entropy"},
    },
    "baseline": "Seq-KD",
    "axis": {"label": "dropout", "scale": "linear"},
    "points": {drop: {"student": f"--dropout {drop} --encoder-layers 2"} for drop in (0, 0.5)},
}


@pytest.mark.slow
def test_from_raw_text_to_figures(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    (clone / ".venv").symlink_to(BIN.parent)
    (clone / "scripts" / "setup.sh").write_text("# The environment is the tests' own: nothing is installed into it.\n")
    (clone / "configs").mkdir()
    (clone / "configs" / "study_tiny.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))

    runs, results = clone / "runs" / "study_tiny", clone / "results" / "study_tiny"

    def study() -> subprocess.CompletedProcess:
        command = ["bash", str(clone / "scripts" / "study.sh"), "tiny"]
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    # The second point's student cannot be trained.
    (runs / "0.5").mkdir(parents=True)
    (runs / "0.5" / "students").touch()
    stopped = study()
    assert stopped.returncode == 1 and "study.sh: error: stopped: " in stopped.stderr and not results.exists()
    (runs / "0.5" / "students").unlink()
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.pt")}
    assert before
    again = study()
    assert again.returncode == 0, again.stderr
    assert "dropout: 0.5" in again.stderr and {path: path.stat().st_mtime_ns for path in before} == before

    content = read_json(results / "study.json")
    assert content["over_axis"]["places"] == [0, 0.5] and content["axis"]["label"] == "dropout"
    assert list(content["over_axis"]["scores"]["beam 1"]) == ["Teacher", "Seq-KD"]
    # One teacher, two students.
    first, second = (point["models"] for point in content["points"])
    assert first["Teacher"] == second["Teacher"] and first["Seq-KD"] != second["Seq-KD"]
    assert (
        len(list(runs.rglob("data-bin"))) == 2 and (runs / "0.5" / "teacher").resolve() == runs / "common" / "teacher"
    )
    made = {"study.md", "study.json", "study.png", "length.png", "report.html"}
    assert {path.name for path in results.iterdir()} == made
    # What `fairseq-kd diagnose` finds it by, and what it then names.
    for point in content["points"]:
        ratio = point["parameters"]["Seq-KD"] / point["parameters"]["Teacher"]
        assert point["diagnosis"]["size_ratio"] == ratio > 1 and None not in point["diagnosis"].values()
    row = STUDY["rows"]["seq_kd"]
    assert content["methods"] == {"Seq-KD": {"data": row["data"], "options": row["options"]}}
