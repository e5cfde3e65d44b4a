"""The YAML files in configs/, as the workflow reads them."""

import argparse
import functools
import shlex
from pathlib import Path
from typing import Any

import yaml
from fairseq import options as fairseq_options

from tests.support.commands import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def read(path: Path, point: float | None = None) -> dict[str, Any]:
    """What the workflow reads, with the keys of a study's point in place."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config if point is None else config | config["points"][point]


@functools.cache
def parse_training(options: str) -> argparse.Namespace:
    """What fairseq-train reads from a config's options; it exits where it knows one not.

    Parsed once: several tests ask.
    """
    words = [
        "data-bin",
        "--user-dir",
        str(ROOT / "fairseq_kd"),
        "--save-dir",
        "x",
        "--seed",
        "1",
        *shlex.split(options),
    ]
    return fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)


def row_options(config: dict[str, Any], key: str) -> str:
    """What the workflow hands to the training of a row, besides its start."""
    row = config["rows"][key]
    size = config["teacher" if row.get("start") == "teacher" else "student"]
    more = config.get("fine_tuning", "") if "start" in row else ""
    return f"{config['training']} {size} {more} {row['options']}"
