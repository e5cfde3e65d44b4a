"""Disturb each stage many times and count the losses.

    python -m tests.sweeps --output DIR [--tries 20] [--stage NAME …] [--kind KIND …]

It needs root, for file systems that are full or read-only. DIR gets stages.md and stages.json after every stage;
stages that stages.json has are not tried again.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from fairseq_kd.storage.provenance import commit, machine, versions
from tests.sweeps.stages import STAGES, make_material
from tests.sweeps.trials import KINDS, Trials

FEW = ("full disk", "two at once", "output obstructed", "SIGTERM or SIGINT")
"""Tried a quarter as often as the kills."""


def main() -> int:
    """Try all stages; the exit status is 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweeps", description="Disturb each stage, count the losses.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tries", type=int, default=20, help="kills of a stage, half of them at random moments")
    parser.add_argument("--stage", nargs="+", choices=[stage.name for stage in STAGES], metavar="NAME")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    options = parser.parse_args()
    # A background job of a script ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options.output.mkdir(parents=True, exist_ok=True)
    kept = options.output / "stages.json"
    table: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"stages": {}, "made": {}}
    rows = table["stages"]
    with tempfile.TemporaryDirectory() as folder:
        given = make_material(Path(folder) / "given")
        for stage in STAGES:
            if stage.name in rows or (options.stage and stage.name not in options.stage):
                continue
            trials = Trials(stage, given, Path(folder) / "work")
            trials.unbroken()
            rows[stage.name] = {kind: _try(trials, kind, options.tries) for kind in options.kind}
            table["made"][stage.name] = {"machine": machine(), "versions": versions(), "commit": commit()}
            kept.write_text(json.dumps(table, indent=1) + "\n")
            (options.output / "stages.md").write_text(_markdown(table))
    return int(any(cell["losses"] for row in rows.values() for cell in row.values()))


def _try(trials: Trials, kind: str, tries: int) -> dict[str, Any]:
    count = max(1, tries // 4 if kind in FEW else tries // 2)
    losses = [lost for lost in (KINDS[kind](trials) for _ in range(count)) if lost]
    for lost in losses:
        print(f"{trials.stage.name}, {kind}: {lost}", file=sys.stderr, flush=True)
    print(f"{trials.stage.name}, {kind}: {count} tries, {len(losses)} losses", flush=True)
    return {"tries": count, "losses": losses}


def _markdown(table: dict[str, Any]) -> str:
    kinds = list(KINDS)
    lines = ["# Stages that are disturbed", "", f"| stage | {' | '.join(kinds)} |", "| --- |" + " ---: |" * len(kinds)]
    for name, row in table["stages"].items():
        cells = [f"{len(row[kind]['losses'])} of {row[kind]['tries']}" if kind in row else "" for kind in kinds]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lost = [(name, kind, one) for name, row in table["stages"].items() for kind in row for one in row[kind]["losses"]]
    lines += ["", "Each cell: losses of so many tries.", *[f"- {name}, {kind}: {one}" for name, kind, one in lost], ""]
    by_origin: dict[str, list[str]] = {}
    for name, made in table["made"].items():
        found = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
        origin = f"Processor: {made['machine']['processor']}. Versions: {found}. Commit: {made['commit']}."
        by_origin.setdefault(origin, []).append(name)
    return "\n".join([*lines, *(f"- {', '.join(names)}: {origin}" for origin, names in by_origin.items()), ""])


if __name__ == "__main__":
    sys.exit(main())
