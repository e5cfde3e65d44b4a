"""What the tests of the HTML report share: result files, a page of them, and a browser."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.evaluate.saved_outputs import save_outputs
from fairseq_kd.evaluate.sentences import Sentences
from fairseq_kd.report import report
from tests.support.browser import Browser, find_chromium
from tests.support.results import scored

SOURCES = [f"Source {row} of the page" + " and more" * (row % 7) for row in range(30)]


def write_results(folder: Path, results: Sequence[dict[str, Any]], sources: Sequence[str] = SOURCES) -> list[Path]:
    """Result files, and what --save-outputs would write beside each."""
    paths = []
    for number, one in enumerate(results):
        path = folder / f"{number}.json"
        path.write_text(json.dumps(one))
        sentences = Sentences([], one["references"], "test", "sentencepiece")
        hypotheses = {beam: found["hypotheses"] for beam, found in one["beams"].items()}
        save_outputs(folder / f"{number}.jsonl", sentences, sources, hypotheses)
        paths += [path, folder / f"{number}.jsonl"]
    return paths


def cost(rate: float, times: float) -> dict[str, Any]:
    """What evaluate --cost --teacher measures, with one engine and both beams."""
    same = {"engine": "fairseq", "precision": "float32", "memory": 3.5, "target_tokens_per_second": 80.0}
    lines = [
        {**same, "batched": batched, "beam": beam, "sentences_per_second": rate / beam, "times_teacher": times / beam}
        for batched in (True, False)
        for beam in (1, 5)
    ]
    teacher = {"models": [{"sha256": "Teacher1"}], "beam": 5}
    return {"measured": lines, "sentences": 30, "teacher": teacher}


def some_results() -> list[dict[str, Any]]:
    """Four rows of different quality and speed; one has two seeds."""
    made = []
    for name, every, seed, times in (
        ("Teacher", 30, 1, 5.0), ("Baseline", 2, 1, 20.0), ("Student", 4, 1, 30.0), ("Student", 5, 2, 30.0),
        ("Slow", 3, 1, 2.0),
    ):  # fmt: skip
        more = {"nonzero_parameters": 1_000_000, "precision": "float32", "cost": cost(100 * times, times)}
        made.append(scored(name, every, seed=seed, parameters=1_234_567 if name != "Teacher" else 5_000_000, **more))
    return made


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of :func:`some_results`."""
    return write_results(tmp_path_factory.mktemp("results"), some_results())


@pytest.fixture(scope="session")
def page(files: list[Path]) -> Path:
    """A report of these files."""
    output = files[0].parent / "report.html"
    report(files, output, title="Some rows", teacher="Teacher", baseline="Baseline")
    return output


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests."""
    command = find_chromium()
    if command is None:
        pytest.skip("needs chromium")
    one = Browser(command, tmp_path_factory.mktemp("browser"))
    yield one
    one.close()
