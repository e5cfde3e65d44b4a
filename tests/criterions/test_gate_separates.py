"""A task whose right gate is known, and what the default gate makes of it.

Half of the sentences are `noisy`: their targets in the training text are random, so the token-level loss on them harms,
and the teacher's output is right. The other half are `many`: each word has four right translations, of which the
teacher's output has one: the sentence-level loss hides three quarters of what is right. Validation and test are clean.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from fairseq_kd.networks.teacher import Teacher
from tests.support.corpora import binarise
from tests.support.models import batch, build

WORDS, SYNONYMS, ROWS = 10, 4, {"train": 1200, "valid": 200, "test": 300}
KINDS = ("noisy", "many")
WIDTHS = "--encoder-embed-dim 32 --decoder-embed-dim 32 --encoder-ffn-embed-dim 64 --decoder-ffn-embed-dim 64"
SIZE = (*WIDTHS.split(), "--share-all-embeddings")


def write_kinds(folder: Path) -> None:
    """The text: ``clean`` as the teacher sees it, ``noisy`` as the student does."""
    for name in ("clean", "noisy"):
        (folder / name).mkdir()
        draw, noise = random.Random(1), random.Random(2)
        for split, rows in ROWS.items():
            sources, targets = [], []
            for row in range(rows):
                kind = KINDS[row % 2]
                words = [draw.randrange(WORDS) for _ in range(draw.randint(3, 6))]
                sources.append([f"{kind}{word}" for word in words])
                if kind == "many":
                    targets.append([f"tmany{word}.{draw.randrange(SYNONYMS)}" for word in words])
                else:
                    wrong = name == "noisy" and split == "train"
                    targets.append([f"tnoisy{noise.randrange(WORDS) if wrong else word}" for word in words])
            for side, lines in (("src", sources), ("tgt", targets)):
                (folder / name / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines))


def learn(task: Any, model: Any, criterion: Any, updates: int, seed: int = 1) -> list[dict[str, Any]]:
    """Train with Adam on random batches of 64 rows; the logs of all updates."""
    task.load_dataset("train")
    draw, logs = random.Random(seed), []
    parameters = [*model.parameters(), *criterion.parameters()]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.98))
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = 5e-3 * min(1, (update + 1) / 50)
        task.update = update
        optimizer.zero_grad()
        loss, sample_size, log = criterion(model.train(), batch(task, "train", draw.sample(range(ROWS["train"]), 64)))
        (loss / float(sample_size)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if hasattr(criterion, "after_update"):
            criterion.after_update([log])
        logs.append(log)
    return logs


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the data-bins ``clean``, ``noisy`` and ``distilled``, and the teacher's weights."""
    folder = tmp_path_factory.mktemp("kinds")
    write_kinds(folder)
    binarise(folder / "clean", folder / "clean-bin", "--joined-dictionary")
    same = ("--srcdict", folder / "clean-bin/dict.src.txt", "--tgtdict", folder / "clean-bin/dict.src.txt")
    binarise(folder / "noisy", folder / "noisy-bin", *map(str, same))
    words = ("--task", "translation_kd", "--criterion", "fused_cross_entropy", *SIZE)
    task, teacher, criterion = build(folder / "clean-bin", *words)
    learn(task, teacher, criterion, 400)
    torch.save(teacher.state_dict(), folder / "teacher.pt")
    search = SequenceGenerator([teacher.eval()], task.target_dictionary, beam_size=5, max_len_b=12)
    sample = batch(task, "train", list(range(ROWS["train"])))
    best = {
        int(row): found[0]["tokens"]
        for row, found in zip(sample["id"], search.generate([teacher], sample), strict=True)
    }
    distilled = folder / "distilled"
    distilled.mkdir()
    for split in ROWS:
        for side in ("src", "tgt"):
            (distilled / f"{split}.{side}").write_text((folder / "noisy" / f"{split}.{side}").read_text())
    lines = [task.target_dictionary.string(best[row]) for row in range(ROWS["train"])]
    (distilled / "train.tgt").write_text("\n".join(lines) + "\n")
    binarise(distilled, folder / "distilled-bin", *map(str, same))
    return folder


def student(kinds: Path, *options: str, updates: int = 350) -> dict[str, dict[str, float]]:
    """What a student scores by kind, and the last g of each kind."""
    words = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--distilled-data", str(kinds / "distilled-bin"))
    task, model, criterion = build(kinds / "noisy-bin", *words, *options, *SIZE)
    _, teacher, _ = build(kinds / "clean-bin", *SIZE)
    teacher.load_state_dict(torch.load(kinds / "teacher.pt", weights_only=True))
    task._teacher = Teacher([teacher.eval().requires_grad_(False)])
    learn(task, model, criterion, updates)
    found: dict[str, dict[str, float]] = {"nll": {}, "g": {}}
    for number, kind in enumerate(KINDS):
        rows = range(number, ROWS["test"], 2)
        sample = batch(task, "test", list(rows))
        with torch.no_grad():
            log_probs = model.eval().get_normalized_probs(model(**sample["net_input"]), log_probs=True)
            found["g"][kind] = float(criterion(model, batch(task, "train", list(rows)))[2]["gate_g"] / len(rows))
        real = sample["target"].ne(task.target_dictionary.pad())
        nll = -log_probs.gather(2, sample["target"][:, :, None]).squeeze(2)[real]
        found["nll"][kind] = float(nll.mean())
    return found


@pytest.mark.slow
def test_the_default_gate_finds_the_loss_that_helps_each_kind(kinds: Path) -> None:
    constant = {g: student(kinds, "--gate", "fixed", "--gate-value", str(g))["nll"] for g in (0.0, 0.5, 1.0)}
    default = student(kinds)
    print(constant, default)
    # Each pure loss fails on one kind.
    assert constant[1.0]["noisy"] > default["nll"]["noisy"] + 0.2
    assert constant[0.0]["many"] > default["nll"]["many"] + 0.5
    # The gate separates the kinds, and beats the constants.
    assert default["g"]["noisy"] < 0.2 and default["g"]["many"] > 0.6
    assert sum(default["nll"].values()) < min(sum(nll.values()) for nll in constant.values()) - 0.05
