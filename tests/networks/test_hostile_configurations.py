"""Checkpoints whose pickle is harmless and whose configuration is not: refused in one line, nothing run or opened."""

import os
import time
from argparse import Namespace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.options import get_training_parser, parse_args_and_arch
from fairseq.tasks.translation import TranslationTask
from omegaconf import OmegaConf

from fairseq_kd.data.databins.databin import translation_task
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models, model_config, read_checkpoint
from fairseq_kd.networks.guarded_build import Refused, guarded_build, literal
from fairseq_kd.tasks.translation_kd import TranslationKDTask

SIZES = {
    f"{side}_{name}": size
    for side in ("encoder", "decoder")
    for name, size in (("layers", 1), ("embed_dim", 8), ("ffn_embed_dim", 8), ("attention_heads", 2))
}


def small_task() -> TranslationTask:
    dictionary = Dictionary()
    for index in range(10):
        dictionary.add_symbol(f"w{index}")
    return translation_task("", "en", "de", (dictionary, dictionary))


def arguments(arch: str) -> Namespace:
    sizes = SIZES | {"encoder_layers": "[(8, 3)] * 2", "decoder_layers": "[(8, 3)]"} if arch == "fconv" else SIZES
    args = Namespace(
        arch=arch,
        task="translation",
        criterion="cross_entropy",
        source_lang="en",
        target_lang="de",
        data="",
        **sizes,
    )
    ARCH_CONFIG_REGISTRY[arch](args)
    args.max_source_positions = args.max_target_positions = 64
    return args


@cache
def weights(arch: str) -> dict[str, Any]:
    return small_task().build_model(convert_namespace_to_omegaconf(arguments(arch)).model).state_dict()


def saved(path: Path, arch: str = "transformer", hydra: bool = False, **changes: Any) -> Path:
    """A sound checkpoint whose settings are changed after its model was built."""
    args = arguments(arch)
    for name, value in changes.items():
        setattr(args, name, value)
    cfg = None
    if hydra:
        cfg = {"model": vars(args) | {"_name": arch}, "task": {"_name": "translation", "data": ""}}
    torch.save({"args": None if hydra else args, "cfg": cfg, "model": weights(arch),
                "optimizer_history": [{"num_updates": 1, "optimizer_name": "", "lr_scheduler_state": {}}],
                "extra_state": {"train_iterator": {"epoch": 1}}}, path)  # fmt: skip
    return path


def refusal(path: Path) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        build_models([path], small_task(), "teacher")
    assert time.monotonic() - start < 60  # hydra 1.0 alone needs up to 17 s on a busy machine
    text = str(caught.value)
    assert f"teacher {path}: refused: " in text and "\n" not in text
    return text


@pytest.mark.parametrize("hydra", [False, True])
@pytest.mark.parametrize("arch", ["transformer", "fconv", "lstm", "transformer_iwslt_de_en"])
def test_sound_ones_are_built(tmp_path: Path, arch: str, hydra: bool) -> None:
    (model,) = build_models([saved(tmp_path / "a.pt", arch, hydra)], small_task())
    assert model.encoder is not None


@pytest.mark.parametrize(
    ("arch", "name", "hydra"),
    [
        ("transformer", "adaptive_softmax_cutoff", False),
        ("transformer", "adaptive_softmax_cutoff", True),
        ("lstm", "decoder_attention", False),
        ("fconv", "encoder_layers", True),
        ("fconv", "decoder_layers", False),
        ("fconv", "decoder_attention", False),
    ],
)
def test_text_is_not_run(tmp_path: Path, arch: str, name: str, hydra: bool) -> None:
    trap = tmp_path / "trap"
    text = f"[__import__('pathlib').Path({str(trap)!r}).touch()]"
    said = refusal(saved(tmp_path / "a.pt", arch, hydra, **{name: text}))
    assert not trap.exists()
    assert "a plain list or number" in said


@pytest.mark.parametrize("text", ["[1] * 10 ** 9", "(" * 5000, "9" * 9000, "lambda: 1", "[x for x in 'a']", "'a' * 9"])
def test_no_literal_of_that_kind(text: str) -> None:
    with pytest.raises(Refused):
        literal(text)


def test_literals_that_fairseq_documents() -> None:
    assert literal("[(512, 3)] * 20") == [(512, 3)] * 20
    assert literal("[(512, 3)] * 2 + [(1024, 1)]") == [(512, 3), (512, 3), (1024, 1)]
    assert literal("1000,2000") == (1000, 2000)
    assert literal("True") is True and literal("-1") == -1


@pytest.mark.parametrize("arch", ["transformer", "lstm", "fconv"])
@pytest.mark.parametrize("name", ["encoder_embed_path", "decoder_embed_path"])
def test_a_pipe_is_not_opened(tmp_path: Path, arch: str, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # whoever opens it waits for ever
    (model,) = build_models([saved(tmp_path / "a.pt", arch, **{name: str(tmp_path / "pipe")})], small_task())
    assert model.encoder is not None


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("transformer", {"encoder_layers": 1_000_000}),
        ("transformer", {"decoder_layers": 10**12}),
        ("transformer", {"encoder_ffn_embed_dim": 10**9}),
        ("transformer", {"encoder_embed_dim": 10**7, "decoder_embed_dim": 10**7}),
        ("transformer", {"max_source_positions": 10**9}),
        ("transformer", {"max_target_positions": 10**11}),
        ("lstm", {"encoder_layers": 1_000_000, "decoder_layers": 1_000_000}),
        ("lstm", {"encoder_hidden_size": 10**8}),
        ("fconv", {"encoder_layers": "[(8, 3)] * 9999"}),
        ("fconv", {"encoder_layers": f"[({10**9}, 3)]"}),
    ],
)
def test_a_model_is_no_larger_than_its_weights(tmp_path: Path, arch: str, changes: dict[str, Any]) -> None:
    assert "far larger than its weights" in refusal(saved(tmp_path / "a.pt", arch, **changes))


@pytest.mark.parametrize("hydra", [False, True])
def test_the_environment_is_not_read(tmp_path: Path, hydra: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a-password")
    said = refusal(saved(tmp_path / "a.pt", hydra=hydra, activation_fn="${oc.env:SECRET}"))
    assert "a-password" not in said and "from this machine" in said
    with pytest.raises(UserError, match="from this machine"):
        model_config(tmp_path / "a.pt")


def test_a_pickled_configuration_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a-password")
    state = torch.load(saved(tmp_path / "a.pt", hydra=True), weights_only=True)
    torch.save({**state, "cfg": OmegaConf.create(state["cfg"])}, tmp_path / "b.pt")
    assert build_models([tmp_path / "b.pt"], small_task())
    state["cfg"]["model"]["activation_fn"] = "${oc.env:SECRET}"
    torch.save({**state, "cfg": OmegaConf.create(state["cfg"])}, tmp_path / "c.pt")
    assert "from this machine" in refusal(tmp_path / "c.pt")


def test_a_language_is_no_path(tmp_path: Path) -> None:
    assert "as source_lang" in refusal(saved(tmp_path / "a.pt", source_lang="../../etc/x"))


def test_nesting(tmp_path: Path) -> None:
    deep: Any = "relu"
    for _ in range(300):
        deep = [deep]
    assert "nested deeper" in refusal(saved(tmp_path / "a.pt", activation_fn=deep))


@pytest.mark.parametrize("name", ["task", "criterion", "optimizer", "lr_scheduler", "bpe"])
def test_the_training_used_a_plugin_that_is_not_here(tmp_path: Path, name: str) -> None:
    state = read_checkpoint(saved(tmp_path / "a.pt", **{name: "of_another_plugin"}))
    assert build_models([tmp_path / "a.pt"], small_task(), states=[state])


def test_all_options_of_a_command_line(tmp_path: Path) -> None:
    """fairseq 0.10 saved every option of fairseq-train, --save-dir and --pipeline-checkpoint among them."""
    words = ["--task", "translation", "--arch", "transformer", "-s", "en", "-t", "de"]
    words += ["--save-dir", "kept", "--tensorboard-logdir", "logs"]
    words += [word for name, size in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(size))]
    words += ["--encoder-embed-path", str(tmp_path / "gone")]
    args = parse_args_and_arch(get_training_parser(), ["data", *words])
    state = read_checkpoint(saved(tmp_path / "a.pt", **vars(args)))
    assert state["cfg"].checkpoint.save_dir == "kept"
    assert build_models([tmp_path / "a.pt"], small_task(), states=[state])


def test_fairseqs_own_loader_runs_nothing_with_the_task(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"[__import__('pathlib').Path({str(trap)!r}).touch()]"
    cfg = convert_namespace_to_omegaconf(arguments("transformer"))
    cfg.model.adaptive_softmax_cutoff = text
    task = small_task()
    task.__class__ = TranslationKDTask
    with pytest.raises(Refused):
        task.build_model(cfg.model, from_checkpoint=True)
    assert not trap.exists()


def test_other_code_may_evaluate_and_open(tmp_path: Path) -> None:
    def build() -> torch.nn.Module:
        assert eval("1 + 1") == 2
        (tmp_path / "own").write_text("x")
        return torch.nn.Linear(2, 2)

    assert guarded_build(build, {}).weight.shape == (2, 2)
