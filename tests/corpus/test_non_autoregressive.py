"""fairseq's non-autoregressive students train on a distilled data-bin, as docs/how-to/non-autoregressive.md says."""

from pathlib import Path

import pytest

from fairseq_kd.networks.checkpoints import read_checkpoint
from tests.support.commands import PLUGIN, run_command
from tests.support.scripts import shell

SMALL = """
  --share-all-embeddings --apply-bert-init --encoder-learned-pos --decoder-learned-pos --pred-length-offset
  --length-loss-factor 0.1 --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16
  --encoder-ffn-embed-dim 16 --decoder-ffn-embed-dim 16 --encoder-attention-heads 2 --decoder-attention-heads 2
"""
TRAINING = """
  --cpu --task translation_lev --criterion nat_loss --optimizer adam --lr 0.005 --max-tokens 400 --max-update 6
  --log-format simple --num-workers 0 --no-epoch-checkpoints --data-buffer-size 0 --seed 1
"""


@pytest.fixture(scope="module")
def distilled(tiny_corpus: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    words = ("--model", tiny_teacher, "--data", tiny_corpus, "--output", folder / "out", "--max-len-b", "20")
    done = shell("generate_distilled_corpus.sh", *words, "--beam", "4", "--lenpen", "0.6", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "data-bin"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "noise", "passes"),
    [("nonautoregressive_transformer", "full_mask", "0"), ("cmlm_transformer", "random_mask", "2")],
)
def test_a_student_trains_and_translates(
    distilled: Path, tmp_path: Path, architecture: str, noise: str, passes: str
) -> None:
    options = [*TRAINING.split(), *SMALL.split(), "--arch", architecture, "--noise", noise]
    run_command("fairseq-train", distilled, "--user-dir", PLUGIN, *options, "--save-dir", tmp_path)
    student = tmp_path / "checkpoint_last.pt"
    assert read_checkpoint(student)["cfg"]["model"]._name == architecture
    search = (
        "--gen-subset",
        "valid",
        "--beam",
        "1",
        "--iter-decode-max-iter",
        passes,
        "--iter-decode-eos-penalty",
        "0",
    )
    words = ("--user-dir", PLUGIN, "--cpu", "--task", "translation_lev", "--path", student)
    done = run_command("fairseq-generate", distilled, *words, *search, "--required-batch-size-multiple", "1")
    rows = [line for line in done.stdout.splitlines() if line.startswith("H-")]
    gold = [line for line in done.stdout.splitlines() if line.startswith("T-")]
    assert len(rows) == len(gold) > 0
    decoded = run_command(
        *("fairseq-kd", "decode", "--model", student, "--data", distilled, "--subset", "valid"),
        *("--output", tmp_path / "decoded"),
        check=False,
    )
    assert decoded.returncode == 1
    assert "'translation_lev' is not served" in decoded.stderr and len(decoded.stderr.splitlines()) == 1
