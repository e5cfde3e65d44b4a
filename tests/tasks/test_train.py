"""The plugin in real fairseq commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import tasks
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.optim import build_optimizer

from fairseq_kd.criterions.base import FusedConfig
from fairseq_kd.criterions.fused_cross_entropy import FusedCrossEntropyCriterion
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint, read_checkpoint
from tests.support.commands import BIN, PLUGIN, ROOT, generated_rows, run_command
from tests.support.corpora import binarise, write_text
from tests.support.models import ARCHITECTURES, assert_same_weights, build, configured
from tests.support.training import losses, train_command, train_model, train_on_two_processes, train_with_hydra

NARROW = ("--encoder-embed-dim", "12", "--decoder-embed-dim", "8")
"""Than the teacher: pre_distill then has parameters of its own."""


def kd(teacher: Path, *options: str) -> tuple[str, ...]:
    return ("--task", "translation_kd", "--criterion", "token_kd", "--teacher-path", str(teacher), *options)


@pytest.mark.parametrize("student", ARCHITECTURES)
def test_every_architecture_learns_from_a_transformer(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, student: str
) -> None:
    options = kd(tiny_teacher, "--max-update", "12", "--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 12}')
    done = train_command(tiny_corpus, tmp_path, *options, architecture=student)
    series = losses(done.stdout + done.stderr, "kd_loss")
    assert series[-1] < series[0]
    assert all(0 <= share <= 1 for share in losses(done.stdout + done.stderr, "agreement"))
    assert "| bleu " in done.stdout + done.stderr


@pytest.mark.parametrize("teacher", ["lstm", "fconv", "lightconv"])
def test_every_architecture_teaches(tiny_corpus: Path, tmp_path: Path, teacher: str) -> None:
    path = train_model(tiny_corpus, tmp_path / "teacher", "--max-update", "1", architecture=teacher)
    data = str(tiny_corpus)
    assert train_model(data, tmp_path / "student", *kd(path, "--teacher-data", data, "--max-update", "2")).exists()


@pytest.mark.parametrize(
    "criterion",
    [
        ("--kd-top-k", "6"),
        ("--kd-top-k", "0", "--share-all-embeddings"),
        ("--criterion", "f_distill", "--divergence", "tvd", "--online-teacher-samples"),
        ("--criterion", "pre_distill", *NARROW),
    ],
    ids=["top-k", "tied", "f_distill", "pre_distill"],
)
def test_update_freq_and_two_processes_give_one_gradient(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, criterion: tuple[str, ...]
) -> None:
    """One SGD step over the same two batches, accumulated or shared out."""
    options = [*kd(tiny_teacher, *criterion), "--optimizer", "sgd", "--max-update", "1", "--disable-validation"]
    options += ["--dropout", "0", "--lr", "1.0", "--clip-norm", "0"]
    accumulated = train_model(tiny_corpus, tmp_path / "accumulated", *options, "--update-freq", "2")
    single = train_model(tiny_corpus, tmp_path / "single", *options)
    shared = train_on_two_processes(tiny_corpus, tmp_path / "two", *options)
    assert_same_weights(accumulated, shared, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_same_weights(accumulated, single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("criterion", [(), ("--criterion", "pre_distill", *NARROW)], ids=["token_kd", "pre_distill"])
def test_resume_gives_the_parameters_of_an_unbroken_run(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, criterion: tuple[str, ...]
) -> None:
    options = kd(tiny_teacher, "--dropout", "0.2", *criterion)
    unbroken = train_model(tiny_corpus, tmp_path / "unbroken", *options, "--max-update", "17")
    for updates in ("4", "14"):  # in the first epoch and, where stock fairseq draws other batches, in the third
        train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", updates)
    broken = train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", "17")
    assert_same_weights(unbroken, broken, rtol=0, atol=0)


STAND_INS = {
    "hybrid_kd": "--criterion hybrid_kd --gate fixed --distilled-data {distilled} --teacher-path {teacher}",
    "soft targets": "--criterion token_kd --teacher-cache {cache}",
    "rollouts ahead": "--criterion f_distill --divergence rkl --rollout-refresh 2 --teacher-path {teacher}",
}


@pytest.mark.parametrize("kind", STAND_INS)
def test_the_stand_in_of_a_process_without_a_batch_is_like_its_batches(
    kind: str, tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    """fairseq gives a batch of the validation set, where soft targets, say, are missing: no figure could be summed."""
    if kind == "soft targets":
        write = ("--data", tiny_corpus, "--subset", "train", "--output", tmp_path / "cache", "--top-k", "4")
        run_command("fairseq-kd", "cache", "--model", tiny_teacher, *write)
    words = STAND_INS[kind].format(distilled=distilled, teacher=tiny_teacher, cache=tmp_path / "cache")
    task, model, criterion = build(tiny_corpus, "--task", "translation_kd", *words.split())
    cfg = configured(tiny_corpus, "--lr", "0.1").optimizer
    optimizer = build_optimizer(cfg, list(model.parameters()))
    for split in ("train", "valid"):
        task.load_dataset(split)
    iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=400, seed=1)
    other = task.get_batch_iterator(task.dataset("valid"), max_tokens=400, seed=1).first_batch
    of_batch, of_stand_in = (
        task.train_step(sample, model, criterion.train(), optimizer, 0, ignore_grad=ignored)
        for sample, ignored in ((next(iterator.next_epoch_itr()), False), (other, True))
    )
    assert of_stand_in[0] == 0
    assert [*of_stand_in[2]] == [*of_batch[2]]


def test_a_student_needs_no_teacher_any_more(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """Stock fairseq-generate --task translation, and fairseq-validate, after the teacher is gone."""
    folder = tmp_path / "teacher"
    shutil.copytree(tiny_teacher.parent, folder)
    bleu = ("--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 12}')
    student = train_model(tiny_corpus, tmp_path / "student", *kd(folder / tiny_teacher.name, *bleu))
    assert not any("teacher" in name for name in read_checkpoint(student)["model"])
    shutil.rmtree(folder)
    shared = ("--path", student, "--user-dir", PLUGIN, "--cpu")
    for task in ("translation", "translation_kd"):
        assert generated_rows(tiny_corpus, student, task) == 40
    done = run_command("fairseq-validate", tiny_corpus, *shared, "--task", "translation_kd", "--max-tokens", "400")
    assert "nll_loss" in done.stdout + done.stderr


def test_hydra_train(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    groups = {
        "task": {"_name": "translation_kd", "teacher_path": str(tiny_teacher)},
        "criterion": {"_name": "token_kd", "kd_alpha": 0.3, "kd_top_k": 4},
        "dataset": {"disable_validation": False},
    }
    folder = train_with_hydra(tiny_corpus, tmp_path, {"layers": 1, "embed_dim": 16}, **groups)
    saved = read_checkpoint(folder / "checkpoint_last.pt")["cfg"]
    assert saved.criterion.kd_alpha == 0.3 and saved.task.teacher_path == str(tiny_teacher)


@pytest.mark.slow
def test_pip_installed_from_another_folder(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """The plugin is found by name where the package lies beside fairseq, and by `fairseq-kd user-dir` anywhere."""
    site = tmp_path / "site"
    source = tmp_path / "source"
    shutil.copytree(PLUGIN, source / "fairseq_kd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(source),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run_there(*words: str) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)}
        done = subprocess.run(words, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    user_dir = run_there(sys.executable, "-m", "fairseq_kd.cli", "user-dir").splitlines()[-1]
    assert user_dir == str(site / "fairseq_kd")
    options = [*ARCHITECTURES["transformer"].split(), *kd(tiny_teacher), "--cpu", "--optimizer", "adam"]
    options += ["--max-tokens", "400", "--max-update", "1", "--save-dir", "save", "--num-workers", "1"]
    run_there(str(BIN / "fairseq-train"), str(tiny_corpus), "--user-dir", user_dir, *options)
    assert (elsewhere / "save" / "checkpoint_last.pt").exists()


def cut_short(teacher: Path, folder: Path, corpus: Path) -> tuple[str, ...]:
    (folder / "teacher.pt").write_bytes(teacher.read_bytes()[:-500])
    return kd(folder / "teacher.pt")


def no_dictionary(teacher: Path, folder: Path, corpus: Path) -> tuple[str, ...]:
    state = torch.load(teacher, weights_only=True)
    state["cfg"]["task"]["data"] = str(folder / "gone")
    torch.save(state, folder / "teacher.pt")
    return kd(folder / "teacher.pt")


def other_order(teacher: Path, folder: Path, corpus: Path) -> tuple[str, ...]:
    for name in ("dict.src.txt", "dict.tgt.txt"):
        lines = (corpus / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines if "src" in name else [*lines[:2], lines[3], lines[2], *lines[4:]]))
    return kd(teacher, "--teacher-data", str(folder))


BAD: dict[str, tuple[Any, str]] = {
    "missing": (lambda teacher, folder, corpus: kd(folder / "none.pt"), "no such file"),
    "no path": (lambda teacher, folder, corpus: kd(teacher)[:-2], "--teacher-path"),
    "cut short": (cut_short, "cut short"),
    "no dictionary": (no_dictionary, "--teacher-data"),
    "other order": (other_order, "its target vocabulary"),
    "half on a CPU": (lambda teacher, folder, corpus: kd(teacher, "--teacher-fp16"), "needs a GPU"),
    "no criterion": (lambda teacher, folder, corpus: kd(teacher)[:2] + kd(teacher)[4:], "learns from no teacher"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_teacher_is_one_line(name: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    make, expected = BAD[name]
    done = train_command(tiny_corpus, tmp_path / "save", *make(tiny_teacher, tmp_path, tiny_corpus), check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert expected in line


@pytest.mark.parametrize("criterion", ["label_smoothed_cross_entropy", "fused_cross_entropy"])
@pytest.mark.parametrize("option", ["--teacher-path", "--teacher-cache", "--teacher-spm"])
def test_a_teacher_that_the_criterion_does_not_ask_is_refused(option: str, criterion: str, tiny_corpus: Path) -> None:
    words = ("--task", "translation_kd", "--criterion", criterion, option, "x")
    told = f"--criterion {criterion} learns from no teacher: leave out {option}, or give --criterion token_kd"
    with pytest.raises(UserError, match=told):
        build(tiny_corpus, *words)
    # fairseq-validate builds both from what a checkpoint recorded, which no option can change.
    config = configured(tiny_corpus, *words)
    task = tasks.setup_task(config.task)
    task.build_model(config.model, from_checkpoint=True)
    task.build_criterion(config.criterion)


def test_a_criterion_of_the_users_own_may_ask_a_teacher(tiny_corpus: Path) -> None:
    """Nothing is known of it, whichever criterion it extends."""
    for number, base in enumerate((FusedCrossEntropyCriterion, CrossEntropyCriterion)):
        name = f"own_{number}"
        register_criterion(name, dataclass=FusedConfig)(type(name, (base,), {"__module__": __name__}))
        words = ("--task", "translation_kd", "--criterion", name, "--teacher-path", "x")
        assert type(build(tiny_corpus, *words)[2]).__name__ == name


def test_assume_same_dictionary_is_the_way_round(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    options = no_dictionary(tiny_teacher, tmp_path, tiny_corpus)
    done = train_command(tiny_corpus, tmp_path / "save", *options, "--assume-same-dictionary", "--max-update", "1")
    assert "are not compared with the data's" in done.stdout + done.stderr


def test_a_student_of_another_vocabulary_is_refused(tiny_teacher: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "text", {"train": 100, "valid": 10, "test": 10}, seed=4)
    text = tmp_path / "text" / "train.src"
    text.write_text(text.read_text().replace("s1 ", "sx "))
    data = binarise(tmp_path / "text", tmp_path / "data-bin", "--joined-dictionary")
    done = train_command(data, tmp_path / "save", *kd(tiny_teacher), check=False)
    assert done.returncode != 0 and "its source vocabulary" in done.stderr and "symbols against" in done.stderr


@pytest.mark.parametrize("more", ["--best-checkpoint-metric ppl", "--reset-meters"])
def test_another_search_for_the_best_starts_anew(more: str, tiny_corpus: Path, tmp_path: Path) -> None:
    """Without a learning rate no validation is better than the first; a perplexity is never below a loss in bits."""
    words = "--task translation_kd --lr 0 --patience 2 --max-update 0 --criterion fused_cross_entropy"
    options = [*words.split(), "--max-epoch"]
    train_model(tiny_corpus, tmp_path, *options, "2")
    done = train_command(tiny_corpus, tmp_path, *options, "8", *more.split())
    assert re.findall("epoch ([0-9]+) [|] valid on", done.stdout + done.stderr) == ["003", "004", "005"]
    best = check_checkpoint(tmp_path / "checkpoint_best.pt")["extra_state"]
    assert best["train_iterator"]["epoch"] == 6 and best["best"] == best["val_loss"]  # a tie counts as best
    warned = "the checkpoint's best validation is of loss; the search for the best starts anew"
    assert (warned in done.stdout + done.stderr) == ("ppl" in more)


def test_a_best_metric_that_validation_does_not_log_is_one_line(
    tiny_corpus: Path, distilled: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """Without gold targets in its loss, f_distill has no nll_loss. fairseq ended in a KeyError."""
    words = ("--task", "translation_kd", "--criterion", "f_distill", "--divergence", "kl", "--max-tokens-valid", "100")
    options = (*words, "--distilled-data", str(distilled), "--teacher-path", str(tiny_teacher), "--max-update", "1")
    done = train_command(tiny_corpus, tmp_path / "none", *options, "--best-checkpoint-metric", "nll_loss", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    expected = "--best-checkpoint-metric nll_loss: validation on 'valid' logs no such figure, but bsz, loss, "
    assert done.stderr.splitlines()[-1].startswith(f"fairseq_kd: error: {expected}")
    train_command(tiny_corpus, tmp_path / "one", *options, "--best-checkpoint-metric", "teacher_divergence")
    assert (tmp_path / "one" / "checkpoint_best.pt").exists()
