"""Bad checkpoints: one line each, no code run."""

import os
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd.data.databins.databin import open_dictionaries, translation_task
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models, check_checkpoint, read_checkpoint


class Trap:
    """Touches a file when unpickled by a reader that runs what it reads."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def sound(path: Path) -> Path:
    torch.save({"model": {"w": torch.ones(1000)}, "args": Namespace(arch="transformer"), "cfg": None}, path)
    return path


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_checkpoint(path, "teacher")
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


def test_a_sound_one_passes(tmp_path: Path) -> None:
    check_checkpoint(sound(tmp_path / "a.pt"))


def test_numbers_and_meters_of_fairseq_pass(tmp_path: Path) -> None:
    from fairseq.meters import AverageMeter

    bleu_counts = AverageMeter()
    bleu_counts.update(np.array([3, 2, 1, 0]))  # as --eval-bleu keeps them
    extra = {"best": np.float64(3.5), "meters": bleu_counts, "size": np.int64(3)}
    torch.save({"model": {}, "args": Namespace(), "extra_state": extra}, tmp_path / "a.pt")
    check_checkpoint(tmp_path / "a.pt")


def test_a_tasks_dictionaries_pass(tmp_path: Path) -> None:
    """Tasks of speech and of classification keep theirs in "task_state", since February 2021."""
    labels = Dictionary()
    labels.add_symbol("label")
    torch.save({"model": {}, "args": Namespace(), "task_state": {"target_dictionary": labels}}, tmp_path / "a.pt")
    assert check_checkpoint(tmp_path / "a.pt")["task_state"]["target_dictionary"].symbols[-1] == "label"


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, touched = tmp_path / "evil.pt", tmp_path / "touched"
    torch.save({"model": {}, "args": Trap(touched)}, path, _use_new_zipfile_serialization=zipped)
    text = message(path)
    assert "refused and not run" in text and "posix.system" in text
    assert not touched.exists()
    with pytest.raises(UserError):
        read_checkpoint(path)
    assert not touched.exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Trap(touched)))
    message(tmp_path / "evil.pt")
    assert not touched.exists()


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "none.pt")
    assert "a folder, not a fairseq checkpoint (.pt)" in message(tmp_path)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    whole = sound(tmp_path / "a.pt").read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.pt").write_bytes(whole[: int(len(whole) * share)])
        assert "cut short" in message(tmp_path / "cut.pt")


def test_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello, this is no checkpoint\n" * 9)
    assert "not a whole fairseq checkpoint" in message(tmp_path / "text.pt")
    (tmp_path / "empty.pt").touch()
    assert "not a whole fairseq checkpoint" in message(tmp_path / "empty.pt")
    torch.save({"weights": torch.ones(3)}, tmp_path / "other.pt")
    assert "no fairseq checkpoint" in message(tmp_path / "other.pt")
    torch.save({"model": {}, "args": Namespace(), "optimizer_history": []}, tmp_path / "history.pt")
    assert "its optimizer_history is empty, so fairseq cannot read it" in message(tmp_path / "history.pt")


def test_weights_of_another_size_are_told_with_what_to_do(tiny_teacher: Path, tiny_corpus: Path) -> None:
    own = open_dictionaries(tiny_corpus)
    size, small = len(own.source_dictionary), dictionary(["a", "b"])
    with pytest.raises(UserError, match=rf"has {size} rows, the data's dictionary has 6 symbols; give the data-bin"):
        build_models([tiny_teacher], translation_task("", "src", "tgt", (small, small)))
    state = read_checkpoint(tiny_teacher)
    state["model"]["encoder.layers.0.fc1.bias"] = torch.ones(3)
    with pytest.raises(UserError, match=r"fc1\.bias.* its configuration is not that of its weights"):
        build_models([tiny_teacher], own, states=[state])


words = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)


def dictionary(symbols: list[str]) -> Dictionary:
    made = Dictionary()
    for symbol in symbols:
        made.add_symbol(symbol)
    return made


@given(words, words)
def test_dictionaries_are_the_same_only_symbol_by_symbol(first: list[str], second: list[str]) -> None:
    difference = first_difference(dictionary(first), dictionary(second))
    assert (difference is None) == (first == second)
    if difference:
        assert f"{len(first) + 4} symbols against {len(second) + 4}" in difference


def test_the_first_difference_is_named() -> None:
    assert "number 5, 'b' against 'c'" in str(
        first_difference(dictionary(["a", "b", "c"]), dictionary(["a", "c", "b"]))
    )
    assert "'b'" in str(first_difference(dictionary(["a"]), dictionary(["a", "b"])))


@pytest.mark.parametrize(
    ("present", "former"),
    [("numpy._core.multiarray", "numpy.core.multiarray"), ("fairseq.logging.meters", "fairseq.meters")],
)
def test_names_of_earlier_releases(tmp_path: Path, present: str, former: str) -> None:
    from fairseq.logging import meters

    meter = meters.AverageMeter()
    meter.update(np.array([3, 2, 1, 0]))
    extra = {"best": np.float64(3.5), "train_meters": {"loss": meter, "wall": meters.TimeMeter()}}
    torch.save({"model": {}, "args": Namespace(), "extra_state": extra}, tmp_path / "a.pt")
    renamed = tmp_path / "b.pt"
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(renamed, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            body = old.read(item)
            if item.filename.endswith("data.pkl"):
                assert f"c{present}\n".encode() in body
                body = body.replace(f"c{present}\n".encode(), f"c{former}\n".encode())
            new.writestr(item.filename, body)
    read = check_checkpoint(renamed)["extra_state"]
    assert read["best"] == 3.5
    assert read["train_meters"]["loss"].val.tolist() == [3, 2, 1, 0]
