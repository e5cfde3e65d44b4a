"""A packed checkpoint unpacks to the same bits."""

import gzip
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.compress.export import export
from fairseq_kd.compress.packing import STARTS, pack, to_bytes, unpack, unpack_bytes, untrained, write_once
from fairseq_kd.errors import UserError


def state() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    embeddings = torch.randn(11, 7, generator=draw) * (torch.rand(11, 7, generator=draw) < 0.2)
    embeddings[3, 2] = -0.0
    model = {
        "encoder.version": torch.tensor([3.0]),
        "encoder.embed_tokens.weight": embeddings,
        "encoder.layers.0.fc1.weight": torch.zeros(3, 5, 1),
        "encoder.layers.0.fc1.bias": torch.randn(3, generator=draw),
        "encoder.layers.0.fc2.weight": embeddings[:4].half(),
        "encoder.layers.0.empty": torch.empty(0, 4),
        "decoder.embed_tokens.weight": embeddings.clone(),
    }
    return {"args": None, "cfg": {"model": {"_name": "x"}}, "model": model, "last_optimizer_state": {"step": 1}}


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


def test_what_is_unpacked_has_the_same_bits(tmp_path: Path) -> None:
    kept = untrained(state())
    (tmp_path / "sparse").write_bytes(pack(kept))
    found = unpack(tmp_path / "sparse")
    assert list(found) == list(kept) and found["cfg"] == kept["cfg"] and "last_optimizer_state" not in found
    assert list(found["model"]) == list(kept["model"])
    for name, tensor in state()["model"].items():
        other = found["model"][name]
        assert (other.shape, other.dtype, bits(other)) == (tensor.shape, tensor.dtype, bits(tensor)), name
    tied = [found["model"][f"{side}.embed_tokens.weight"].data_ptr() for side in ("encoder", "decoder")]
    assert tied[0] == tied[1] == found["extra_state"]["ema"]["encoder.embed_tokens.weight"].data_ptr()


def test_a_resumed_training_leaves_no_trace() -> None:
    """How often a training was interrupted must not change what is pruned or exported from it, not by a byte."""
    begun = {"restore_file": "checkpoint_last.pt", "finetune_from_model": "teacher.pt", "reset_optimizer": True}
    resumed = {"restore_file": "run/checkpoint_last.pt", "finetune_from_model": None, "reset_optimizer": False}
    step = {"criterion_name": "TokenKD", "optimizer_name": "FairseqAdam", "num_updates": 100}
    unbroken = {**state(), "optimizer_history": [{**step, "num_updates": 200}]}
    unbroken["cfg"] = {"model": Namespace(arch="x", **begun), "checkpoint": begun, "task": {**begun}}
    broken = {**state(), "optimizer_history": [step, {**step, "num_updates": 200}]}
    broken["cfg"] = {"model": Namespace(arch="x", **resumed), "checkpoint": resumed, "task": {**resumed}}
    assert to_bytes(untrained(unbroken)) == to_bytes(untrained(broken))
    assert pack(untrained(unbroken)) == pack(untrained(broken))
    assert unbroken["cfg"]["checkpoint"] is begun and begun["finetune_from_model"] == "teacher.pt"
    old = {**state(), "cfg": None, "args": Namespace(arch="x", **begun)}
    kept = untrained(old)["args"]
    assert vars(kept) == {"arch": "x", **{name: STARTS[name] for name in begun}} and old["args"].reset_optimizer


def test_the_size_is_that_of_the_non_zero_weights() -> None:
    weight = torch.zeros(1000, 1000)
    weight.view(-1)[torch.randperm(10**6, generator=torch.Generator().manual_seed(1))[:100_000]] = torch.randn(100_000)
    size = len(pack(untrained({"cfg": {}, "model": {"encoder.layers.0.fc1.weight": weight}})))
    assert 4 * 100_000 * 0.85 < size < 4 * 100_000 + 10**6 / 8 + 10_000


def test_what_is_no_packed_checkpoint_is_told(tmp_path: Path) -> None:
    packed = pack(untrained(state()))
    for data, told in (
        (b"PK\x03\x04", "no sparse export"),
        (packed[:-100], "damaged"),
        (packed[:60] + b"x" + packed[61:], "damaged"),
    ):
        with pytest.raises(UserError, match=f"model file: {told}"):
            unpack_bytes(data, Path("file"))
    with pytest.raises(UserError, match="no such file"):
        unpack(tmp_path / "none")


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return gzip.compress(buffer.getvalue())


OTHERS = {
    "text": gzip.compress(b"A dog runs .\n"),
    "a list": saved([1]),
    "code": saved({"packed_model": torch.nn.Linear(1, 1)}),
    "a number for a weight": saved({"packed_model": {"encoder.layers.0.fc1.weight": 3}}),
    "a name that is not there": saved({"packed_model": {"encoder.layers.0.fc1.weight": "other"}}),
    "too few values": saved(
        {
            "packed_model": {
                "x": {"shape": [2], "bitmap": torch.tensor([0xC0], dtype=torch.uint8), "values": torch.ones(1)[:0]}
            }
        }
    ),
}


@pytest.mark.parametrize("content", OTHERS)
def test_other_gzipped_files_are_told_in_one_line(content: str) -> None:
    with pytest.raises(UserError, match="model file: damaged, or no sparse export") as told:
        unpack_bytes(OTHERS[content], Path("file"))
    assert "\n" not in str(told.value)


def test_a_file_is_written_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new" / "file"
    write_once(path, b"one")
    before = path.stat().st_mtime_ns
    write_once(path, b"one")
    assert path.stat().st_mtime_ns == before and "nothing to do" in caplog.text
    for other in (path, tmp_path):
        with pytest.raises(UserError, match="holds something else"):
            write_once(other, b"two")
    assert path.read_bytes() == b"one"


def test_a_sparse_export_keeps_nan(tiny_teacher: Path, tmp_path: Path) -> None:
    """fairseq 0.12.2 saves a buffer that it never sets, so that it can be NaN."""
    state = torch.load(tiny_teacher, weights_only=True)
    name = "encoder.embed_positions._float_tensor"
    state["model"][name] = torch.tensor([float("nan")])
    torch.save(state, tmp_path / "model.pt")
    export(str(tmp_path / "model.pt"), "sparse", tmp_path / "sparse")
    assert unpack(tmp_path / "sparse")["model"][name].isnan().all()
    with pytest.raises(UserError, match="--source-lang: is for --to ctranslate2 alone"):
        export(str(tmp_path / "model.pt"), "sparse", tmp_path / "other", languages=("src", None))
