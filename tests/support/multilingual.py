"""Teachers of fairseq's multilingual tasks, on text in which the target language decides the translation."""

import random
import shutil
from pathlib import Path
from typing import Any

import torch
from fairseq import tasks
from omegaconf import OmegaConf

from tests.support import mbart_task
from tests.support.commands import run_command
from tests.support.models import build, configured
from tests.support.training import AT_THE_END, train_model

USER_DIR = Path(mbart_task.__file__).parent
ONE_BATCH = ("--required-batch-size-multiple", "1")
"""fairseq-generate leaves out the last batch where there are several."""
ROWS = {"train": 300, "valid": 30, "test": 30}
PAIRS = ("--lang-pairs", "en-de,en-fr", "--langs", "en,de,fr")
MULTI = ("--task", "translation_multi_simple_epoch", *PAIRS, "--sampling-method", "temperature")
MBART = ("--task", "translation_from_pretrained_bart", "--langs", "en,de,fr")
KINDS: dict[str, tuple[str, ...]] = {
    "source": (*MULTI, "--encoder-langtok", "tgt"),
    "both": (*MULTI, "--encoder-langtok", "src", "--decoder-langtok", "--lang-tok-style", "mbart"),
    "replacing": (*MULTI, "--encoder-langtok", "tgt", "--decoder-langtok", "--lang-tok-replacing-bos-eos"),
    "mbart": (*MBART, "-s", "en", "-t", "de"),
    "bos": (*MBART, "-s", "en", "-t", "de", "--prepend-bos"),
}
"""Options of the teachers, by a name for the tests."""


def write_data(folder: Path) -> None:
    """``both``, a data-bin of en-de and en-fr; ``de``, one of en-de alone with the same dictionary."""
    draw = random.Random(1)
    words = [f"{letter}{number}" for letter in "sdf" for number in range(12)]
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words))
    for split, count in ROWS.items():
        rows = [[f"s{draw.randrange(12)}" for _ in range(draw.randint(2, 7))] for _ in range(count)]
        for pair, letter in (("en-de", "d"), ("en-fr", "f")):
            # German keeps the order, French turns it round.
            sides = {"en": rows, pair[-2:]: [row[:: 1 if letter == "d" else -1] for row in rows]}
            for language, lines in sides.items():
                text = "".join(" ".join(line) + "\n" for line in lines)
                text = text if language == "en" else text.replace("s", letter)
                (folder / f"{split}.{pair}.{language}").write_text(text)
    for output, pairs in (("both", ("en-de", "en-fr")), ("de", ("en-de",))):
        for pair in pairs:
            words = ["-s", "en", "-t", pair[-2:], "--srcdict", folder / "dict.txt", "--tgtdict", folder / "dict.txt"]
            for split, option in (("train", "--trainpref"), ("valid", "--validpref"), ("test", "--testpref")):
                words += [option, folder / f"{split}.{pair}"]
            run_command("fairseq-preprocess", *words, "--destdir", folder / output)


def train_teacher(data: Path, folder: Path, kind: str, updates: int = 250) -> Path:
    """A teacher of one of the kinds, its dictionaries beside it; the path of its checkpoint."""
    options = ("--user-dir", str(USER_DIR), "--max-update", str(updates), *AT_THE_END)
    path = train_model(data / "both", folder, *KINDS[kind], *options)
    for language in ("en", "de", "fr"):
        shutil.copy(data / "both" / f"dict.{language}.txt", folder)
    return path


def untrained(data: Path, folder: Path, kind: str, *options: str) -> Path:
    """A checkpoint of a teacher that no training made surer of anything: its symbols' own mass is large."""
    config = configured(data / "both", *KINDS[kind], *options)
    task = tasks.setup_task(config.task)
    torch.manual_seed(5)
    state = {"cfg": OmegaConf.to_container(config), "args": None, "model": task.build_model(config.model).state_dict()}
    history = {"criterion_name": "", "num_updates": 0, "lr_scheduler_state": {}}
    torch.save({**state, "optimizer_history": [history], "extra_state": {"epoch": 1}}, folder / "checkpoint.pt")
    for language in ("en", "de", "fr"):
        shutil.copy(data / "both" / f"dict.{language}.txt", folder)
    return folder / "checkpoint.pt"


def generated(data: Path, teacher: Path, kind: str, target: str = "de") -> list[str]:
    """fairseq-generate's translations of the test set with the teacher's own task, row by row."""
    words = [data / "both", "--path", teacher, "--user-dir", USER_DIR, "--cpu", *KINDS[kind], "-s", "en", "-t", target]
    done = run_command("fairseq-generate", *words, "--gen-subset", "test", "--max-len-b", "12", *ONE_BATCH)
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("H-")]
    return [text for _, text in sorted((int(name[2:]), text) for name, _, text in lines)]


def own_task(data: Path, kind: str, target: str = "de") -> Any:
    """The teacher's own task for one direction, as fairseq-generate sets it up."""
    return build(data / "both", *KINDS[kind], "-s", "en", "-t", target)[0]
