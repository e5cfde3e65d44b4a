"""scripts/train.sh, run again in the same folder after its data changed."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.report.training_log import read_training_log
from tests.support.commands import environment, run_command
from tests.support.training import train_sh


def train(
    save_dir: Path, data: str, *options: object, validate: bool = False, **variables: str
) -> subprocess.CompletedProcess:
    words = train_sh(save_dir, Path(data), *map(str, options), "--max-epoch", "1")
    words += ["--disable-validation"] * (not validate)
    return subprocess.run(words, capture_output=True, text=True, env=environment() | variables)


def reword(data: Path, split: str = "train") -> None:
    """Another word in the place of a row's first one: the lengths and the index stay."""
    path = data / f"{split}.src-tgt.tgt.bin"
    symbols = np.fromfile(path, dtype=np.uint16)
    symbols[0] = symbols[0] % 10 + 5
    symbols.tofile(path)


def assert_refused(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 1 and "was trained with other arguments, data or teacher" in done.stderr, done.stderr


def test_text_of_the_same_lengths_is_other_text(tiny_corpus: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_corpus, tmp_path / "data")
    assert train(tmp_path / "save", str(data)).returncode == 0
    assert "done before" in train(tmp_path / "save", str(data)).stderr
    reword(data)
    for _ in range(2):
        assert_refused(train(tmp_path / "save", str(data)))
    # A folder of a version that did not count the text
    (tmp_path / "save" / "texts").unlink()
    assert "done before" in train(tmp_path / "save", str(data)).stderr


@pytest.mark.parametrize("words", [("--train-subset", "valid"), ("--train-subset=valid",)])
def test_the_text_of_another_training_split_counts(words: tuple[str, ...], tiny_corpus: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_corpus, tmp_path / "data")
    assert train(tmp_path / "save", str(data), *words).returncode == 0
    reword(data)  # is not trained on
    assert "done before" in train(tmp_path / "save", str(data), *words).stderr
    reword(data, "valid")
    assert_refused(train(tmp_path / "save", str(data), *words))


@pytest.mark.parametrize(
    ("words", "unused", "used"),
    [
        ((), "test", "valid"),
        (("--valid-subset", "valid,test"), None, "test"),
        (("--valid-subset=test",), "valid", "test"),
        (("--disable-validation",), "valid", "train"),
    ],
)
def test_the_text_of_a_validation_counts(
    words: tuple[str, ...], unused: str | None, used: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    """checkpoint_best.pt is the best on it: scores on other text would be compared with those on the old one."""
    data = shutil.copytree(tiny_corpus, tmp_path / "data")
    assert train(tmp_path / "save", str(data), *words, validate=True).returncode == 0
    if unused:
        reword(data, unused)
        assert "done before" in train(tmp_path / "save", str(data), *words, validate=True).stderr
    reword(data, used)
    assert_refused(train(tmp_path / "save", str(data), *words, validate=True))


@pytest.mark.parametrize("word", ["--distilled", "--distilled=x", "--teacher-p", "--finetune", "--tas"])
def test_options_whose_files_count_have_whole_names(word: str, tmp_path: Path) -> None:
    """fairseq-train takes the beginning of a name for it, but the script would count nothing of the file."""
    done = train(tmp_path / "save", str(tmp_path), word, "x")
    assert done.returncode == 1 and f"error: {word.partition('=')[0]}: write --" in done.stderr, done.stderr
    assert done.stderr.endswith(" in full\n") and not (tmp_path / "save").exists()


def test_options_of_a_training_that_failed_at_once_may_be_corrected(tiny_corpus: Path, tmp_path: Path) -> None:
    failed = train(tmp_path / "save", str(tiny_corpus), "--dropuot", "0.3")
    assert failed.returncode == 1 and "unrecognized arguments: --dropuot" in failed.stderr
    done = train(tmp_path / "save", str(tiny_corpus), "--dropout", "0.3")
    assert done.returncode == 0, done.stderr
    assert_refused(train(tmp_path / "save", str(tiny_corpus), "--dropout", "0.4"))


def test_a_training_that_left_no_checkpoint_is_not_done(tiny_corpus: Path, tmp_path: Path) -> None:
    """fairseq-train ends with status 0 where a learning rate below --stop-min-lr, or a missing package, stops it."""
    failed = train(tmp_path / "save", str(tiny_corpus), "--stop-min-lr", "1")
    assert failed.returncode == 1 and not (tmp_path / "save" / "done").exists()
    assert "error: the training ended without a checkpoint: " in failed.stderr, failed.stderr
    assert train(tmp_path / "save", str(tiny_corpus)).returncode == 0  # without the option
    wanted = train(tmp_path / "unsaved", str(tiny_corpus), "--no-save")
    assert wanted.returncode == 0 and (tmp_path / "unsaved" / "done").exists()


def test_a_folder_behind_a_link_is_done(tiny_corpus: Path, tmp_path: Path) -> None:
    """A study's points share the teacher's folder by links."""
    (tmp_path / "common").mkdir()
    (tmp_path / "link").symlink_to("common")
    done = train(tmp_path / "link", str(tiny_corpus))
    assert done.returncode == 0 and (tmp_path / "common" / "done").exists(), done.stderr


def test_another_sentencepiece_model_of_the_teacher_counts(tiny_corpus: Path, tmp_path: Path) -> None:
    models = [tmp_path / "source.model", tmp_path / "target.model"]
    for path in models:
        path.write_text("a")
    launcher = tmp_path / "launcher"  # in the place of a training that fails after its first checkpoint
    launcher.write_text(f"#!/bin/sh\n: >{tmp_path}/save/checkpoint_1_1.pt\nexit 1\n")
    launcher.chmod(0o755)
    words = ["--teacher-spm", ":".join(map(str, models))]
    begun = train(tmp_path / "save", str(tiny_corpus), *words, FAIRSEQ_KD_LAUNCHER=str(launcher))
    assert "training failed" in begun.stderr
    assert "no sound checkpoint" in train(tmp_path / "save", str(tiny_corpus), *words).stderr
    models[1].write_text("b")
    assert_refused(train(tmp_path / "save", str(tiny_corpus), *words))


def test_a_folder_that_was_begun_in_another_locale(tiny_corpus: Path, tmp_path: Path) -> None:
    """A job of a cluster often has LC_ALL=C, the terminal in which the training was begun has not."""
    data, save = shutil.copytree(tiny_corpus, tmp_path / "übung"), tmp_path / "save"
    assert train(save, str(data), LC_ALL="C.UTF-8").returncode == 0
    for locale in ("C", "C.UTF-8"):
        assert "done before" in train(save, str(data), LC_ALL=locale).stderr
    # A version before this wrote the words as the locale had them
    path = save / "arguments"
    assert "$'" in path.read_text()
    path.write_text(path.read_text().replace("$'", "").replace("'", "").replace(r"\303\274", "ü"))
    assert f"{data} " in path.read_text()
    assert "done before" in train(save, str(data), LC_ALL="C.UTF-8").stderr
    assert_refused(train(save, str(data), "--dropout", "0.3", LC_ALL="C.UTF-8"))


@pytest.mark.parametrize("option", ["--distilled-data", "--teacher-cache"])
def test_folders_for_several_data_bins(option: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    bins = [shutil.copytree(tiny_corpus, tmp_path / name) for name in "ab"]
    given = bins
    options: list[object] = ["--criterion", "f_distill", "--divergence", "kl", "--teacher-path", tiny_teacher]
    if option == "--teacher-cache":
        given, options = [tmp_path / name for name in "xy"], ["--criterion", "token_kd"]
        for data, folder in zip(bins, given, strict=True):
            words = ["--model", tiny_teacher, "--data", data, "--output", folder, "--top-k", "4"]
            run_command("fairseq-kd", "cache", *words)
    options += [option, ":".join(map(str, given))]
    joined = ":".join(map(str, bins))
    done = train(tmp_path / "save", joined, *options)
    assert done.returncode == 0, done.stderr
    assert "done before" in train(tmp_path / "save", joined, *options).stderr
    if option == "--teacher-cache":
        path = given[1] / "train" / "manifest.json"
        path.write_text(path.read_text() + " ")
    else:
        reword(given[1])
    assert_refused(train(tmp_path / "save", joined, *options))


def test_a_checkpoint_that_somebody_put_there(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """fairseq-train starts from SAVE_DIR/checkpoint_last.pt and obeys --reset-optimizer; resuming forgets it."""
    save = tmp_path / "save"
    save.mkdir()
    shutil.copy(tiny_teacher, save / "checkpoint_last.pt")
    done = train(save, str(tiny_corpus), "--reset-optimizer", "--reset-dataloader")
    assert done.returncode == 1 and "--reset-optimizer begins a new one" in done.stderr, done.stderr
    for words in (["--restore-file", str(tiny_teacher)], [f"--restore-file={tiny_teacher}"]):
        done = train(save, str(tiny_corpus), *words)
        assert done.returncode == 1 and "--restore-file begins a new one" in done.stderr, done.stderr
    assert not (save / "arguments").exists() and not (save / "train.log").exists()
    # Options of a training that added nothing may be corrected.
    assert "unrecognized arguments" in train(save, str(tiny_corpus), "--dropuot", "0.3").stderr
    # Without such an option, or with its default, it is resumed, as fairseq-train does.
    done = train(save, str(tiny_corpus), "--restore-file", "checkpoint_last.pt")
    assert done.returncode == 0 and "going on from checkpoint_last.pt" in done.stderr


def test_patience_counts_over_an_interruption(tiny_corpus: Path, tmp_path: Path) -> None:
    """Without a learning rate no validation is better than the first, so that --patience 2 ends the third epoch."""
    options = ("--lr", "0", "--patience", "2", "--max-epoch", "8")
    words = [word for word in train_sh(tmp_path / "whole", tiny_corpus, *options) if word != "--no-epoch-checkpoints"]
    subprocess.run(words, check=True, capture_output=True, env=environment())
    whole = tmp_path / "whole"
    assert sorted(path.name for path in whole.glob("checkpoint[0-9]*")) == [f"checkpoint{n}.pt" for n in (1, 2, 3)]
    for epochs in (2, 3):  # 3: killed after the last checkpoint, and before the end
        cut = shutil.copytree(whole, tmp_path / f"cut{epochs}")
        for name in ("done", "train.log", "checkpoint_best.pt", *["checkpoint3.pt"] * (epochs == 2)):
            (cut / name).unlink()
        shutil.copy(cut / f"checkpoint{epochs}.pt", cut / "checkpoint_last.pt")
        subprocess.run([*words[:2], str(cut), *words[3:]], check=True, capture_output=True, env=environment())
        trained = re.findall("epoch ([0-9]+) [|] valid on", (cut / "train.log").read_text())
        assert trained == ["003"] * (epochs == 2) and (cut / "done").exists()


def test_a_training_that_reached_max_update_is_not_trained_on(tiny_corpus: Path, tmp_path: Path) -> None:
    """A kill before `done` leaves a whole training; fairseq-train would look at --max-update after one more update."""
    words = train_sh(tmp_path, tiny_corpus, "--max-update", "3", "--save-interval-updates", "2")
    subprocess.run(words, check=True, capture_output=True, env=environment())
    save, log = Path(words[2]), Path(words[2], "train.log")
    before, whole = (save / "checkpoint_last.pt").read_bytes(), read_training_log(log)
    # fairseq-train logs the figures of the part of an epoch after its last checkpoint, too.
    text = log.read_text()
    log.write_text(text[: text.rindex("| train | epoch 001")])
    (save / "done").unlink()
    again = subprocess.run(words, check=True, capture_output=True, env=environment(), text=True)
    assert (save / "checkpoint_last.pt").read_bytes() == before and (save / "done").exists()
    assert "the training had reached --max-update" in again.stderr and read_training_log(log) == whole


@pytest.mark.parametrize("limit", [("--max-update=5",), ("--max-epoch", "1")])
def test_the_max_update_of_an_earlier_training_is_not_that_of_the_next(
    limit: tuple[str, ...], tiny_corpus: Path, tmp_path: Path
) -> None:
    """A training that goes on from checkpoints of fairseq-train, killed before it has saved one of its own."""
    words = train_sh(tmp_path / "one", tiny_corpus, "--max-update", "3")
    subprocess.run(words, check=True, capture_output=True, env=environment())
    save = tmp_path / "next"
    save.mkdir()
    shutil.copy(tmp_path / "one" / "checkpoint_last.pt", save)
    launcher = tmp_path / "launcher"
    launcher.write_text("#!/bin/sh\nkill -9 $PPID\n")
    launcher.chmod(0o755)
    words = train_sh(save, tiny_corpus, *limit)
    killed = subprocess.run(words, capture_output=True, env=environment() | {"FAIRSEQ_KD_LAUNCHER": str(launcher)})
    assert killed.returncode == -9 and (save / "arguments").exists()
    subprocess.run(words, check=True, capture_output=True, env=environment())
    history = read_checkpoint(save / "checkpoint_last.pt")["optimizer_history"]
    assert history[-1]["num_updates"] > 3 and (save / "done").exists()
