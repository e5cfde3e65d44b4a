"""Checkpoints whose data is hostile, not their text: tensors larger than their memory, shared nodes, lists in files."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.nodes import StringNode

from fairseq_kd.compress.init_student import init_student
from fairseq_kd.compress.prune import prune
from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint, read_checkpoint
from fairseq_kd.networks.guarded_build import Refused, guarded_build
from fairseq_kd.networks.plain_configuration import plain_configuration
from fairseq_kd.networks.teacher_tasks import TeacherTask
from tests.networks.test_hostile_configurations import saved, small_task

BILLION = 10**6, 10**6


def tampered(path: Path, **entries: Any) -> Path:
    state = torch.load(saved(path), weights_only=True)
    torch.save({**state, "model": state["model"] | entries}, path)
    return path


def said_of(path: Path) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        check_checkpoint(path, "teacher")
    assert time.monotonic() - start < 20
    return str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(BILLION),
        torch.empty(BILLION, device="meta"),
        torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.zeros(1), BILLION, check_invariants=False),
        "no tensor",
    ],
    ids=["expanded", "meta", "sparse", "text"],
)
def test_a_weight_is_held_in_full(tmp_path: Path, tensor: Any) -> None:
    said = said_of(tampered(tmp_path / "a.pt", junk=tensor))
    assert "junk" in said and "no plain weight" in said
    with pytest.raises(UserError, match="no plain weight"):
        prune(tmp_path / "a.pt", tmp_path / "out.pt", 0.5)


def test_a_weight_has_a_name(tmp_path: Path) -> None:
    state = torch.load(saved(tmp_path / "a.pt"), weights_only=True)
    torch.save({**state, "model": {**state["model"], 1: torch.zeros(1)}}, tmp_path / "a.pt")
    assert "no plain weight" in said_of(tmp_path / "a.pt")


def test_weights_that_share_their_memory_count_once() -> None:
    one = torch.zeros(1000)
    weights = {f"w{i}": one.view(10, 100) for i in range(5000)}
    with pytest.raises(Refused, match="far larger"):
        guarded_build(lambda: torch.nn.Linear(1000, 10000), weights)


@pytest.mark.parametrize(
    "text",
    ["${${task.name}:SECRET}", "${ oc.env:SECRET}", "${${task.name}:SECRET,''}", StringNode("${oc.env:SECRET}")],
    ids=["nested", "spaced", "default", "node"],
)
def test_no_disguise_reads_the_environment(monkeypatch: pytest.MonkeyPatch, text: Any) -> None:
    monkeypatch.setenv("SECRET", "a-password")
    with pytest.raises(Refused, match="from this machine"):
        plain_configuration({"model": {"x": text}, "task": {"name": "oc.env"}})


def test_a_references_value_is_plain() -> None:
    plain = plain_configuration(
        {"model": {"dropout": 0.1, "own": "${model.dropout}", "all": "${optimization.lr}", "gone": "${common.gone}"},
         "optimization": {"lr": [0.5, "${model.own}"]}}
    )  # fmt: skip
    made = OmegaConf.create(plain)
    assert (made.model.own, made.model.all) == (0.1, [0.5, 0.1])
    assert made.model.dropout == 0.1


def laughs(make: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"x0": "ha"}
    for level in range(1, 36):
        settings[f"x{level}"] = make(level - 1, settings)
    return {"model": settings}


@pytest.mark.parametrize(
    "make",
    [
        lambda level, _: f"${{model.x{level}}}${{model.x{level}}}",
        lambda level, _: [f"${{model.x{level}}}"] * 2,
        lambda level, known: [known[f"x{level}"]] * 2,
    ],
    ids=["text", "references", "shared"],
)
def test_a_small_configuration_does_not_grow(make: Any) -> None:
    start = time.monotonic()
    with pytest.raises(Refused):
        plain_configuration(laughs(make))
    assert time.monotonic() - start < 10


def test_a_shared_node_does_not_grow() -> None:
    with pytest.raises(Refused):
        plain_configuration(
            {"model": OmegaConf.create({"a": laughs(lambda i, _: [f"${{model.a.x{i}}}"] * 2)["model"]})}
        )


def test_references_in_a_circle() -> None:
    with pytest.raises(Refused):
        plain_configuration({"model": {"a": "${model.b}", "b": ["${model.a}"]}})


def test_text_translation_reads_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a-password")
    state = torch.load(saved(tmp_path / "a.pt", hydra=True), weights_only=True)
    state["cfg"]["task"] |= {"data": "${oc.env:SECRET}", "source_lang": "en", "target_lang": "de"}
    torch.save({**state, "cfg": OmegaConf.create(state["cfg"])}, tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        open_translator(str(tmp_path / "a.pt"))
    assert "a-password" not in str(caught.value) and "from this machine" in str(caught.value)


@pytest.mark.parametrize("content", ["root:x:0:0", "a b", "\0", "x" * 100])
def test_a_list_of_languages_is_no_other_file(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"de\n{content}\n")
    path = saved(tmp_path / "a.pt", hydra=True)
    state = torch.load(path, weights_only=True)
    state["cfg"]["task"] = {
        "_name": "translation_multi_simple_epoch",
        "data": "",
        "lang_dict": str(secret),
        "lang_pairs": "en-de",
        "decoder_langtok": True,
    }
    torch.save(state, path)
    read = TeacherTask(str(path), read_checkpoint(path)["cfg"], small_task(), (None, None), "teacher")
    with pytest.raises(UserError) as caught:
        read.known_languages()
    assert "no list of languages" in str(caught.value) and content not in str(caught.value)


def test_the_list_beside_the_checkpoint_comes_first(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "langs").write_text("xx\n")
    (tmp_path / "langs").write_text("en\nde\n")
    path = saved(tmp_path / "a.pt", hydra=True)
    state = torch.load(path, weights_only=True)
    state["cfg"]["task"] = {
        "_name": "translation_multi_simple_epoch",
        "lang_dict": str(tmp_path / "elsewhere" / "langs"),
        "lang_pairs": "en-de",
    }
    torch.save(state, path)
    read = TeacherTask(str(path), read_checkpoint(path)["cfg"], small_task(), (None, None), "teacher")
    assert read.known_languages() == ["en", "de"]


@pytest.mark.parametrize("layers", [2, 10**12])
def test_a_teacher_has_as_many_layers_as_its_weights(tmp_path: Path, layers: int) -> None:
    """init-student builds no model, and would list the layers that the configuration names."""
    with pytest.raises(UserError, match=f"refused: its configuration has {layers} decoder layers and its weights 1"):
        init_student(saved(tmp_path / "a.pt", decoder_layers=layers), tmp_path / "student.pt")
    assert not (tmp_path / "student.pt").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"adaptive_softmax_cutoff": "[__import__('os').getpid()]"},
        {"adaptive_softmax_cutoff": "[().__class__]"},
        {"activation_fn": "--user-dir=/tmp/of-somebody"},
    ],
)
def test_a_students_options_hold_no_text_to_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    """init-student prints them for fairseq-train, which evaluates some."""
    with pytest.raises(UserError, match="refused: its configuration has"):
        init_student(saved(tmp_path / "a.pt", **changes), tmp_path / "student.pt")
    assert not (tmp_path / "student.pt").exists()
