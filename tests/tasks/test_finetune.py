"""scripts/train.sh --finetune-from-model: Seq-Inter's second training, killed and run again."""

import shutil
import subprocess
from pathlib import Path

import torch

from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_parameter
from tests.support.commands import ROOT, environment
from tests.support.models import ARCHITECTURES
from tests.support.training import train_model

OPTIONS = (
    "--optimizer adam --lr 0.001 --max-tokens 400 --max-update 8 --save-interval-updates 4 --num-workers 0 --seed 3"
)
OPTIONS += " --task translation_kd --criterion label_smoothed_cross_entropy --disable-validation --dropout 0"


def finetune(save_dir: Path, data: Path, start: Path) -> subprocess.CompletedProcess:
    words = [save_dir, data, *OPTIONS.split(), *ARCHITECTURES["transformer"].split(), "--finetune-from-model", start]
    command = ["bash", str(ROOT / "scripts" / "train.sh"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


def test_it_starts_from_the_model_and_goes_on_from_its_own(
    tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    start = shutil.copy(tiny_teacher, tmp_path / "start.pt")
    done = finetune(tmp_path / "whole", tiny_corpus, start)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "whole" / "train.log").read_text()
    assert f"loading pretrained model from {start}" in log and "Start iterating over samples" in log
    weights, begun = (read_checkpoint(path) for path in (tmp_path / "whole" / "checkpoint_last.pt", start))
    assert weights["last_optimizer_state"]["state"][0]["step"] == 8 != begun["last_optimizer_state"]["state"][0]["step"]
    moved = max(
        (weights["model"][name] - begun["model"][name]).abs().max() for name in filter(is_parameter, begun["model"])
    )
    assert 0 < moved < 0.05  # 8 steps of 0.001, and not another start's weights

    # What a kill after the fourth update leaves, with its last checkpoint cut short
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / "done").unlink()
    for path in (tmp_path / "killed").glob("checkpoint*.pt"):
        if not path.name.endswith("_4.pt"):
            path.write_bytes(path.read_bytes()[:1000])
    again = finetune(tmp_path / "killed", tiny_corpus, start)
    assert again.returncode == 0 and "going on from checkpoint_1_4.pt" in again.stderr, again.stderr
    ended = read_checkpoint(tmp_path / "killed" / "checkpoint_last.pt")["model"]
    for name in filter(is_parameter, ended):
        torch.testing.assert_close(ended[name], weights["model"][name], rtol=0, atol=0)

    assert "done before" in finetune(tmp_path / "killed", tiny_corpus, start).stderr
    train_model(tiny_corpus, tmp_path / "other", "--max-update", "1")
    shutil.copy(tmp_path / "other" / "checkpoint_last.pt", start)
    refused = finetune(tmp_path / "killed", tiny_corpus, start)
    assert refused.returncode == 1 and "trained with other arguments" in refused.stderr


def test_a_model_that_is_missing_is_told(tiny_corpus: Path, tmp_path: Path) -> None:
    refused = finetune(tmp_path / "x", tiny_corpus, tmp_path / "none.pt")
    assert refused.returncode == 1 and "none.pt: no such file" in refused.stderr.splitlines()[-1]
