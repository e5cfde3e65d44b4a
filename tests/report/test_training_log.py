"""Trainings read from fairseq-train's own logs, and from logs as a kill leaves them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.cli.named_files import named_files
from fairseq_kd.errors import UserError
from fairseq_kd.report.page.cells import training_table
from fairseq_kd.report.pictures.gates import gated_rows, write_gates
from fairseq_kd.report.training_log import read_training_log
from fairseq_kd.report.training_table import read_trainings, training_section
from tests.support.results import BAD, result
from tests.support.training import train_command

TASK = ["--task", "translation_kd", "--criterion", "hybrid_kd"]
TASK += ["--validate-interval-updates", "2", "--save-interval-updates", "2"]
BLEU = ["--eval-bleu", "--eval-bleu-args", '{"beam": 1}']
BLEU += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
CONFIG = "2026-01-01 | INFO | fairseq_cli.train | {'_name': None, 'common': {'seed': 7, 'cpu': True}}\n"


def intervals(log: str, key: str) -> list[float]:
    """A value of each interval, whatever the log's format."""
    lines = [line for line in log.splitlines() if "| train_inner |" in line]
    return [float(re.split(rf'\b{key}"?[=:] ?"?', line)[1].split(",")[0].strip('"')) for line in lines]


@pytest.fixture(scope="module")
def hybrid_logs(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Logs of an epoch of hybrid_kd on the same batches, by the prefixes of its token-level loss."""
    folder = tmp_path_factory.mktemp("hybrids")
    shared = ["--teacher-path", str(tiny_teacher), "--distilled-data", str(distilled), "--max-update", "6"]
    shared += ["--gate", "schedule", "--gate-updates", "5", "--gate-start", "0.2", "--gate-end", "0.7"]
    for prefixes, form in (("gold", "simple"), ("distilled", "json")):
        options = [*shared, "--gate-token-prefixes", prefixes, "--log-format", form]
        done = train_command(tiny_corpus, folder / prefixes, *TASK, *BLEU, *options)
        (folder / f"{prefixes}.log").write_text(done.stdout + done.stderr)
    return {prefixes: folder / f"{prefixes}.log" for prefixes in ("gold", "distilled")}


def test_a_hybrids_tokens_are_those_that_its_student_saw(hybrid_logs: dict[str, Path]) -> None:
    seen = {prefixes: read_training_log(log)["target_tokens"] for prefixes, log in hybrid_logs.items()}
    gold = sum(intervals(hybrid_logs["gold"].read_text(), "wpb"))
    # On the teacher's prefixes the student never sees the gold target; its own has other lengths.
    assert seen["gold"] == seen["distilled"] + gold
    assert 0.9 * gold < seen["distilled"] < 1.1 * gold


@pytest.mark.parametrize("prefixes", ["gold", "distilled"])
def test_a_real_hybrids_log(hybrid_logs: dict[str, Path], tmp_path: Path, prefixes: str) -> None:
    text, log = hybrid_logs[prefixes].read_text(), tmp_path / "train.log"
    made = read_training_log(hybrid_logs[prefixes])
    assert (made["seed"], made["updates"], made["epochs"]) == (3, 6, 1)
    assert made["target_tokens"] == sum(intervals(text, "seen_wpb"))
    course = made["gate"].pop("course")
    assert course["updates"] == [1, 2, 3, 4, 5, 6] and course["spread"] == [0] * 6
    assert course["mean"] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert made["gate"] == {"mean": 0.7, "spread": 0, "high": 0, "low": 0}
    validation = made["validation"]
    assert validation["updates"] == [2, 4, 6] and len(validation["bleu"]) == len(validation["loss"]) == 3
    assert made["best"]["by"] == "bleu" and made["best"]["bleu"] == max(validation["bleu"])
    assert made["best"]["loss"] == validation["loss"][validation["updates"].index(made["best"]["updates"])]
    # Of a single validation, as fairseq logs it, the configuration tells the measure.
    first, *_ = [line for line in text.splitlines() if "| valid |" in line]
    log.write_text("\n".join(line for line in text.splitlines() if "| valid |" not in line or line == first))
    assert read_training_log(log)["best"] == {**made["best"], "updates": 2, **read_scores(validation, 0)}
    # Where the log has no shorter intervals, the gate's course is that of whole epochs.
    epochs = [line for line in text.splitlines() if "| train_inner |" not in line]
    log.write_text("\n".join(epochs))
    (mean,), (spread,) = (read_training_log(log)["gate"]["course"][name] for name in ("mean", "spread"))
    assert 0.2 < mean < 0.7 and spread > 0


def read_scores(validation: dict[str, list[float]], place: int) -> dict[str, float]:
    return {name: validation[name][place] for name in ("bleu", "loss", "nll_loss")}


def epoch(number: int, updates: int, bleu: float, best: float | None, *, wpb: float = 100, seconds: int = 3) -> str:
    """The two lines that fairseq-train logs at the end of an epoch; the loss is 100 − BLEU."""
    head = f"2026-01-01 | INFO | valid | epoch {number:03d} | valid on 'valid' subset | loss {100 - bleu} | nll_loss 2"
    known = "" if best is None else f" | best_bleu {best}"
    return (
        f"{head} | bleu {bleu} | wps 0 | num_updates {updates}{known}\n"
        f"2026-01-01 | INFO | train | epoch {number:03d} | loss 5.1 | ppl inf | wpb {wpb} | num_updates {updates} "
        f"| train_wall {seconds} | wall {10 * updates}\n"
    )


def written(folder: Path, text: str) -> dict[str, Any]:
    (folder / "train.log").write_text(text)
    return read_training_log(folder / "train.log")


def test_epochs_add_up_and_the_last_of_equal_scores_is_the_best(tmp_path: Path) -> None:
    text = epoch(1, 10, 4.0, None) + epoch(2, 25, 5.0, 5.0, wpb=200) + epoch(3, 30, 5.0, 5.0) + epoch(4, 40, 3.0, 5.0)
    made = written(tmp_path, CONFIG + text)
    assert made == {
        "seed": 7,
        "updates": 40,
        "epochs": 4,
        "target_tokens": 10 * 100 + 15 * 200 + 5 * 100 + 10 * 100,
        "seconds": 12,
        "best": {"by": "bleu", "updates": 30, "bleu": 5.0, "loss": 95.0, "nll_loss": 2.0},
        "validation": {
            "updates": [10, 25, 30, 40],
            "bleu": [4.0, 5.0, 5.0, 3.0],
            "loss": [96.0, 95.0, 95.0, 97.0],
            "nll_loss": [2.0] * 4,
        },
    }


def test_updates_that_a_resumed_training_made_again_count_once(tmp_path: Path) -> None:
    whole = epoch(1, 10, 4.0, None) + epoch(2, 20, 6.0, 6.0) + epoch(3, 30, 5.0, 6.0)
    lost = epoch(1, 10, 4.0, None) + epoch(2, 20, 9.0, 9.0, wpb=7) + epoch(3, 30, 9.5, 9.5, wpb=7)
    resumed = (
        lost + '| train | {"epoch": 4, "train_num_updates": "4\n' + epoch(2, 20, 6.0, 6.0) + epoch(3, 30, 5.0, 6.0)
    )
    assert written(tmp_path, resumed) == written(tmp_path, whole)


def test_a_training_chosen_by_its_loss_and_one_without_validation(tmp_path: Path) -> None:
    by_loss = (epoch(1, 10, 4.0, None) + epoch(2, 20, 6.0, 6.0)).replace("best_bleu 6.0", "best_loss 94.0")
    assert written(tmp_path, by_loss)["best"]["by"] == "loss"
    assert written(tmp_path, by_loss)["best"]["updates"] == 20 and written(tmp_path, by_loss)["seed"] is None
    without = "".join(line for line in by_loss.splitlines(keepends=True) if "| valid |" not in line)
    made = written(tmp_path, without)
    assert made["best"] is None and made["validation"] == {"updates": []} and made["updates"] == 20


def test_what_is_no_training_log_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("| valid | epoch 001 | loss 3 | num_updates 1\n")
    for name, message in (("log", "has no training in it"), ("x", "No such"), (".", "cannot be read")):
        with pytest.raises(UserError, match=message):
            read_training_log(tmp_path / name)


def gate_line(updates: int, mean: float) -> str:
    figures = f"gate={mean}, gate_high=0.25, gate_low=0, gate_spread=0.125, gate_length_correlation=-0.5"
    return f"| train_inner | epoch 001: {updates} / 99 loss=3, {figures}, num_updates={updates}, wpb=9, seen_wpb=18\n"


def test_a_gate_that_weighed_the_sentence_level_loss_is_turned(tmp_path: Path) -> None:
    """Earlier versions logged that gate, and no seen_wpb; this training went on with the present version."""
    begun, gone_on = gate_line(5, 0.25).replace(", seen_wpb=18", ""), gate_line(10, 0.75)
    found = written(tmp_path, begun)["gate"]
    figures = {"mean": 0.75, "spread": 0.125, "high": 0, "low": 0.25, "length_correlation": 0.5}
    assert found == {**figures, "course": {"updates": [5], "mean": [0.75], "spread": [0.125]}}
    assert written(tmp_path, begun + gone_on)["gate"]["course"]["mean"] == [0.75, 0.75]


def test_the_table_has_a_section_a_picture_and_all_figures(table, tmp_path: Path) -> None:
    words = []
    for seed, best in ((1, 4.0), (2, 6.0)):
        log = tmp_path / f"{seed}.log"
        log.write_text(
            f"Namespace(arch='transformer', seed={seed})\n"
            + gate_line(5, 0.5)
            + gate_line(10, best / 8)
            + epoch(1, 10, best, None, seconds=2 * seed + 1)
        )
        words.append(f"g = 0.5={log}")
    (tmp_path / "plain.log").write_text(CONFIG + epoch(1, 2000, 30.0, None, wpb=1000, seconds=1234))
    runs = [result("g = 0.5", 1, BAD), result("g = 0.5", 2, BAD), result("plain", 7, BAD), result("no log", 1, BAD)]
    text, content, folder = table(runs, "--training-log", *words, f"plain={tmp_path / 'plain.log'}")
    assert "| row | updates | target tokens (M) | seconds | validation BLEU | final g ± spread |\n" in text
    assert "| g = 0.5 | 10 | 0.00 | 4 | 5.00 ± 1.41 | 0.625 ± 0.125 |\n" in text
    assert "| plain | 2,000 | 2.00 | 1,234 | 30.00 | – |\n" in text and "| no log | 1.23 |" in text
    first, second = content["rows"][0]["training"]
    assert (first["seed"], second["seed"]) == (1, 2) and "training" not in content["rows"][2]
    course = {"updates": [5, 10], "mean": [0.5, 0.5], "spread": [0.125, 0.125]}
    figures = {"mean": 0.5, "spread": 0.125, "high": 0.25, "low": 0, "length_correlation": -0.5}
    assert first["gate"] == {**figures, "course": course}
    assert str(tmp_path) not in json.dumps(content)
    shown = training_table(content)
    assert shown and shown["rows"][0][4][1] == "5.00"
    # One seed without a validation BLEU: the other seed's would stand for both.
    lacking = {**first, "best": {key: one for key, one in first["best"].items() if key != "bleu"}}
    rows = [{**content["rows"][0], "training": [lacking, second]}]
    shown = training_table({"rows": rows})
    assert shown and shown["rows"][0][4][1] == "–" and "| 4 | – |" in "\n".join(training_section({"rows": rows}))
    # The picture is redrawn from table.json alone; without a validation BLEU its second panel goes.
    assert (folder / "gate.png").read_bytes().startswith(b"\x89PNG")
    write_gates(content, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (folder / "gate.png").read_bytes()
    for training in content["rows"][0]["training"]:
        del training["validation"]["bleu"]
    write_gates(content, tmp_path / "low.png")
    pictures = (tmp_path / "again.png", tmp_path / "low.png")
    heights = [int.from_bytes(path.read_bytes()[20:24], "big") for path in pictures]
    assert heights[1] < 0.7 * heights[0]


def test_a_mean_over_fewer_logs_than_results_is_told(table, tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / f"{seed}.log").write_text(CONFIG.replace("7", str(seed)) + epoch(1, 10, 4.0, None))
    logs = [f"a={tmp_path / '1.log'}", f"a={tmp_path / '2.log'}"]
    runs = [result("a", 1, BAD), result("a", 2, BAD), result("b", 1, BAD)]
    told = "Rows with another number of logs than of results: a (1 of 2)."
    text, content, _ = table(runs, "--training-log", logs[0], f"b={tmp_path / '1.log'}")
    shown = training_table(content)
    assert f"- {told}" in text and shown and told in shown["notes"]
    assert "number of logs" not in table(runs, "--training-log", *logs)[0]


def test_without_logs_there_is_no_section() -> None:
    assert training_section({"rows": [{"name": "a"}]}) == [] and gated_rows({"rows": [{"name": "a"}]}) == []


def test_logs_of_rows_that_do_not_exist_and_of_one_seed_twice(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(CONFIG + epoch(1, 10, 4.0, None))
    with pytest.raises(UserError, match="--training-log 'x': no such row; the rows are: a, b"):
        read_trainings({"x": [log]}, ["a", "b"])
    with pytest.raises(UserError, match="--training-log 'a': two logs have seed 7"):
        read_trainings({"a": [log, log]}, ["a", "b"])
    log.write_text(epoch(1, 10, 4.0, None))
    assert len(read_trainings({"a": [log, log]}, ["a", "b"])["a"]) == 2


def test_names_and_files(tmp_path: Path) -> None:
    assert named_files("--x", ["a=1", "g = 0.5=2", "a=3"]) == {"a": ["1", "3"], "g = 0.5": ["2"]}
    path = tmp_path / "lr=0.1" / "train.log"
    path.parent.mkdir()
    path.touch()
    assert named_files("--x", [f"a={path}", f"g = 0.5={path}"]) == {"a": [str(path)], "g = 0.5": [str(path)]}
    for word in ("log", "=log", "a="):
        with pytest.raises(UserError, match=f"--training-log {word}: give NAME=FILE"):
            named_files("--training-log", [word])
