"""Result files that earlier versions wrote, and that stand in this repository, still read back."""

import json
from pathlib import Path

import pytest

from fairseq_kd.benchmark.gpu.markdown import markdown as gpu_markdown
from fairseq_kd.benchmark.markdown import markdown as benchmark_markdown
from fairseq_kd.diagnose.study_files import published_studies, read_studies
from fairseq_kd.report.markdown import markdown
from fairseq_kd.report.pictures.speed import write_speed
from fairseq_kd.report.pictures.table import write_plot
from fairseq_kd.study.markdown import markdown as study_markdown
from fairseq_kd.study.plots import write_axis, write_decoding, write_lengths
from tests.support.commands import ROOT

TABLES = sorted((ROOT / "results").glob("*/table.json"))
STUDIES = sorted((ROOT / "results").glob("*/study.json"))


def table_lines(text: str) -> list[str]:
    """The lines of a Markdown text that are a table's; the notes below may be worded anew."""
    return [line for line in text.splitlines() if line.startswith("|")]


def test_there_are_some() -> None:
    assert len(TABLES) >= 6 and len(STUDIES) >= 2 and published_studies() == STUDIES


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.parent.name)
def test_a_table_reads_back(path: Path, tmp_path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    of_scores = "rows" in content and "beams" in content["rows"][0]
    write = markdown if of_scores else gpu_markdown if "dry_run" in content else benchmark_markdown
    text = write(content)
    assert table_lines(text) == table_lines(path.with_name("table.md").read_text(encoding="utf-8"))
    if of_scores and path.with_name("speed.png").exists():
        write_plot(content, tmp_path / "table.png")
        write_speed(content, tmp_path / "speed.png")
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_a_study_reads_back(path: Path, tmp_path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    text = study_markdown(content)
    assert table_lines(text) == table_lines(path.with_name("study.md").read_text(encoding="utf-8"))
    if path == STUDIES[0]:  # which takes seconds
        for write in (write_axis, write_lengths, write_decoding):
            write(content, tmp_path / f"{write.__name__}.png")
        assert len(list(tmp_path.iterdir())) == 3
    (read,) = read_studies([path])
    content.pop("checksum", None)  # a study of before has none
    assert content == {key: value for key, value in read.items() if key != "sha256"}
