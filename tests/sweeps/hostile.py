"""Give every command prepared checkpoints, and count what ran, hung, took the memory or told a secret.

    python -m tests.sweeps.hostile --output DIR

DIR gets hostile.md and hostile.json after every checkpoint; checkpoints that hostile.json has are not tried again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.storage.provenance import commit, machine, versions
from tests.support.commands import BIN, PLUGIN, environment
from tests.support.models import ARCHITECTURES
from tests.sweeps.prepared import CHANGES, prepare, sound
from tests.sweeps.stages import SEARCH, Material, make_material

TRAINING = (
    "--cpu",
    "--optimizer",
    "adam",
    "--lr",
    "0.01",
    "--max-tokens",
    "400",
    "--max-epoch",
    "1",
    "--num-workers",
    "0",
)
SECRET = "a-password-of-this-machine"
SECONDS = 60
WORST = ("ran", "hung", "took the memory", "told a secret", "traceback")
Words = Callable[["Given", Path], list[str | Path]]


@dataclass(frozen=True)
class Given:
    """What a command reads: a prepared checkpoint, the architecture that it was made from, and sound material."""

    model: Path
    architecture: str
    sound: Material


def _verb(*words: str) -> Words:
    """A verb of fairseq-kd, with the names of a checkpoint, material and output filled in."""

    def line(given: Given, output: Path) -> list[str | Path]:
        places = {"model": given.model, "sound": given.sound.model, "spm": given.model.with_name("spm.model")}
        places |= {"data": given.sound.data, "text": given.sound.text, "out": output}
        return ["fairseq-kd", *(word.format(**places) for word in words)]

    return line


def _training(*words: str) -> Words:
    """fairseq-train with the plugin, which reads the checkpoint by one of its options."""

    def line(given: Given, output: Path) -> list[str | Path]:
        own = [word.format(model=given.model, data=given.sound.data) for word in words]
        plugin = ["--user-dir", PLUGIN, "--task", "translation_kd", "--save-dir", output]
        model = ARCHITECTURES[given.architecture].split()
        return ["fairseq-train", given.sound.data, *plugin, *TRAINING, *model, *own]

    return line


SUBSET = ("--data", "{data}", "--subset", "test")
COMMANDS: dict[str, Words] = {
    "decode, fairseq": _verb(
        "decode", "--engine", "fairseq", "--model", "{model}", *SUBSET, "--output", "{out}", *SEARCH
    ),
    "decode, CTranslate2": _verb(
        "decode", "--engine", "ctranslate2", "--model", "{model}", *SUBSET, "--output", "{out}", *SEARCH
    ),
    "decode a text": _verb(
        *("decode", "--model", "{model}", "--input", "{text}/test.src", "--spm-model", "{spm}", "--output", "{out}"),
        *SEARCH,
    ),
    "translate": _verb("translate", "--model", "{model}", "--spm-model", "{spm}", *SEARCH),
    "evaluate": _verb("evaluate", "--model", "{model}", *SUBSET, "--output", "{out}.json", *SEARCH),
    "risks": _verb(
        *("risks", "--teacher", "{model}", "--model", "{sound}", *SUBSET, "--samples", "2", "--output", "{out}.json")
    ),
    "diagnose": _verb("diagnose", "--teacher", "{model}", *SUBSET, "--output", "{out}.json"),
    "cache": _verb("cache", "--model", "{model}", *SUBSET, "--top-k", "4", "--output", "{out}"),
    "filter": _verb(
        *("filter", "--input", "{text}/test", "--source-lang", "tgt", "--target-lang", "src", "--output", "{out}"),
        *(
            "--post-process",
            "none",
            "--reverse-model",
            "{model}",
            "--reverse-share",
            "0.1",
            "--reverse-spm-model",
            "{spm}",
        ),
    ),
    "init-student": _verb("init-student", "--teacher", "{model}", "--encoder-layers", "1", "--output", "{out}.pt"),
    "prune": _verb("prune", "--model", "{model}", "--sparsity", "0.5", "--output", "{out}.pt"),
    "trim": _verb("trim", "--model", "{model}", "--data", "{data}", "--output", "{out}"),
    "average": _verb("average", "{model}", "{sound}", "--output", "{out}.pt"),
    "export to CTranslate2": _verb(
        "export", "--model", "{model}", "--data", "{data}", "--to", "ctranslate2", "--output", "{out}"
    ),
    "export, sparse": _verb("export", "--model", "{model}", "--to", "sparse", "--output", "{out}.sparse"),
    "last-checkpoint": lambda given, output: ["fairseq-kd", "last-checkpoint", "--finish", given.model.parent],
    "--teacher-path": _training("--criterion", "token_kd", "--teacher-path", "{model}", "--teacher-data", "{data}"),
    "--finetune-from-model": _training(
        "--criterion", "label_smoothed_cross_entropy", "--finetune-from-model", "{model}"
    ),
    "--restore-file": _training("--criterion", "label_smoothed_cross_entropy", "--restore-file", "{model}"),
}


def outcome(words: list[str | Path], stdin: str, trap: Path, output: Path) -> tuple[str, str]:
    """How a command ended: one of WORST, "refused" or "as if sound"; and the last line that it wrote."""
    output.mkdir()
    env = environment() | {"SECRET": SECRET, "SWEEP_HOOK": "tests.sweeps.limit", "TMPDIR": str(output)}
    env["FAIRSEQ_KD_CACHE"] = str(output / "cache")
    running = subprocess.Popen(
        [str(BIN / str(words[0])), *map(str, words[1:])], env=env, text=True, start_new_session=True, errors="replace",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = running.communicate(stdin, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return "hung", ""
    last = (err.strip() or out.strip()).rpartition("\n")[2].replace(f"{trap.parent}/", "")
    files = [path for path in output.rglob("*") if path.is_file()]
    if trap.exists():
        trap.unlink()
        return "ran", last
    if SECRET in out + err or any(SECRET.encode() in path.read_bytes() for path in files):
        return "told a secret", last
    if running.returncode < 0 or "allocate memory" in err or "MemoryError" in err:
        return "took the memory", last
    if "Traceback" in err and words[0] == "fairseq-kd":
        return "traceback", last
    return ("as if sound" if running.returncode == 0 else "refused"), last


def main() -> int:
    """Try all checkpoints; the exit status is 1 where one of WORST happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweeps.hostile", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--checkpoint", nargs="+", choices=list(CHANGES), metavar="NAME")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    kept = options.output / "hostile.json"
    rows: dict[str, Any] = json.loads(kept.read_text())["checkpoints"] if kept.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = make_material(folder / "given")
        models, text = sound(given.data, folder / "sound"), given.text.joinpath("test.src").read_text()
        for change in options.checkpoint or CHANGES:
            if change in rows:
                continue
            spm = given.model.with_name("spm.model")
            model = prepare(change, models, given.data, spm, folder / f"prepared{len(rows)}")
            read = Given(model, CHANGES[change][0], given)
            rows[change] = {}
            for command, words in COMMANDS.items():
                output = folder / f"{len(rows)}-{len(rows[change])}"
                rows[change][command] = outcome(words(read, output / "out"), text, folder / "trap", output)
                if rows[change][command][0] in WORST:
                    print(change, command, *rows[change][command], sep=" | ", flush=True)
            table = {"checkpoints": rows, "machine": machine(), "versions": versions(), "commit": commit()}
            kept.write_text(json.dumps(table, indent=1) + "\n")
            (options.output / "hostile.md").write_text(_markdown(table))
    return int(any(end in WORST for row in rows.values() for end, _ in row.values()))


def _markdown(table: dict[str, Any]) -> str:
    ends = (*WORST, "refused", "as if sound")
    lines = ["# Prepared checkpoints", "", f"| checkpoint | {' | '.join(ends)} |", "| --- |" + " ---: |" * len(ends)]
    total: Counter[str] = Counter()
    for change, row in table["checkpoints"].items():
        count = Counter(end for end, _ in row.values())
        total += count
        lines.append(f"| {change} | {' | '.join(str(count[end]) for end in ends)} |")
    lines += [f"| **all** | {' | '.join(str(total[end]) for end in ends)} |", ""]
    lines += [
        f"Each row stands for {len(COMMANDS)} commands. Each gets at most {SECONDS} seconds and 6 GiB. They are:",
        "",
        *(f"- {command}" for command in COMMANDS),
        "",
        "The last three are fairseq-train with the plugin; its own tracebacks count as refusals. As if sound: the "
        "command ended well, since it had no use for what was prepared.",
        "",
    ]
    found = ", ".join(f"{name} {version}" for name, version in table["versions"].items())
    return "\n".join([*lines, f"Versions: {found}. Commit: {table['commit']}.", ""])


if __name__ == "__main__":
    sys.exit(main())
