"""What the tests of the report share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd import cli
from fairseq_kd.storage.structured import read_json

Table = Callable[..., tuple[str, dict[str, Any], Path]]


@pytest.fixture
def table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Table:
    """Run `fairseq-kd table` on results; returns (what it printed, table.json's content, its folder)."""

    def run(results: list[Any], *options: str) -> tuple[str, dict[str, Any], Path]:
        files = []
        for number, content in enumerate(results):
            files.append(tmp_path / f"{number}.json")
            files[-1].write_text(json.dumps(content))
        folder = tmp_path / "made" / "table"
        cli.main(["table", *map(str, files), "--output", str(folder), *options])
        return capsys.readouterr().out, read_json(folder / "table.json"), folder

    return run
