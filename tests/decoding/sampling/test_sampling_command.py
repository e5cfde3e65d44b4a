"""`fairseq-kd decode --sampling`: translations drawn from a model."""

import math
import subprocess
from pathlib import Path

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from tests.support.commands import ROOT, environment
from tests.support.training import train_command

pytestmark = pytest.mark.usefixtures("one_thread")
SAMPLING = ("--sampling", "--nbest", 2, "--block-rows", 20, "--max-len-b", 20)


def decode(model: Path | str, data: Path, output: Path, *options: object) -> None:
    cli.main(["decode", *map(str, ("--model", model, "--data", data, "--output", output, *options))])


def samples(folder: Path, subset: str = "test") -> list[list[str]]:
    return [line.split("\t") for line in (folder / f"{subset}.nbest.tsv").read_text().splitlines()]


def test_shards_draw_what_one_run_draws(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    decode(tiny_teacher, tiny_corpus, tmp_path / "one", "--subset", "test", *SAMPLING)
    for shard in (1, 0):
        shards = ("--shards", 2, "--shard", shard)
        decode(tiny_teacher, tiny_corpus, tmp_path / "two", "--subset", "test", *SAMPLING, *shards)
    cli.main(["merge", str(tmp_path / "two")])
    assert (tmp_path / "one" / "test.nbest.tsv").read_bytes() == (tmp_path / "two" / "test.nbest.tsv").read_bytes()
    lines = samples(tmp_path / "one")
    assert len(lines) == 80 and [line[1] for line in lines[:4]] == ["1", "2", "1", "2"]
    assert sum(one[3] != other[3] for one, other in zip(lines[::2], lines[1::2], strict=True)) > 30


def test_batches_change_no_sample(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """Also where the length limit binds: it counts a row's own source, not the padding of its batch."""
    limit = ("--max-len-a", 0.5, "--max-len-b", 1, "--temperature", 2)
    for size in (15, 4000):
        folder = tmp_path / str(size)
        decode(tiny_teacher, tiny_corpus, folder, "--subset", "test", *SAMPLING, *limit, "--max-tokens", size)
    small, large = samples(tmp_path / "15"), samples(tmp_path / "4000")
    # A score's last printed digit, the sixth, may depend on the shapes of matrices: by 2 at most.
    digits = [[round(1e6 * float(line[2])) for line in lines] for lines in (small, large)]
    assert max(abs(one - other) for one, other in zip(*digits, strict=True)) <= 2
    assert [(*line[:2], line[3]) for line in small] == [(*line[:2], line[3]) for line in large]
    test = open_databin(tiny_corpus, "test").dataset("test")
    limits = [int(0.5 * test.src_sizes[int(line[0])] + 1) for line in small]
    lengths = [len(line[3].split()) for line in small]
    assert all(size <= limit for size, limit in zip(lengths, limits, strict=True))
    assert len({limit for size, limit in zip(lengths, limits, strict=True) if size == limit}) > 2


def test_another_seed_draws_others_and_is_another_decode(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        decode(tiny_teacher, tiny_corpus, tmp_path / str(seed), "--subset", "test", *SAMPLING, "--seed", seed)
    one, other = samples(tmp_path / "1"), samples(tmp_path / "2")
    assert sum(a[3] != b[3] for a, b in zip(one, other, strict=True)) > 60
    with pytest.raises(UserError, match=r"sampling\.seed"):
        decode(tiny_teacher, tiny_corpus, tmp_path / "1", "--subset", "test", *SAMPLING, "--seed", 2)
    with pytest.raises(UserError, match="other settings"):
        decode(tiny_teacher, tiny_corpus, tmp_path / "1", "--subset", "test", *SAMPLING[1:], "--engine", "fairseq")


def test_samples_of_a_row_differ_with_the_largest_seed(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    decode(tiny_teacher, tiny_corpus, tmp_path, "--subset", "test", *SAMPLING, "--seed", 2**32 - 1)
    lines = samples(tmp_path)
    assert sum(one[3] != other[3] for one, other in zip(lines[::2], lines[1::2], strict=True)) > 30


def test_a_score_is_the_models_log_probability(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    decode(tiny_teacher, tiny_corpus, tmp_path, "--subset", "test", *SAMPLING, "--temperature", "0.7", "--top-k", 9)
    task = open_databin(tiny_corpus, "test")
    (model,) = build_models([tiny_teacher], task)
    dictionary = task.target_dictionary
    for row, _, score, text in samples(tmp_path)[:12]:
        source = task.dataset("test").src[int(row)]
        target = [dictionary.index(word) for word in text.split()] + [dictionary.eos()]
        with torch.no_grad():
            previous = torch.tensor([[dictionary.eos(), *target[:-1]]])
            log_probs = model(source[None], torch.tensor([len(source)]), previous)[0][0].log_softmax(-1)
        expected = log_probs[range(len(target)), target].mean().item() / math.log(2)
        assert float(score) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_f_distill_learns_from_them(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """The whole way of KL distilling: samples drawn once, a data-bin of them, a student."""
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--output", tmp_path / "distilled"]
    script = ROOT / "scripts" / "generate_distilled_corpus.sh"
    subprocess.run(["bash", str(script), *map(str, words), *map(str, SAMPLING)], env=environment(), check=True)
    options = ["--task", "translation_kd", "--criterion", "f_distill", "--divergence", "kl", "--max-update", "3"]
    options += ["--teacher-path", str(tiny_teacher), "--distilled-data", str(tmp_path / "distilled" / "data-bin")]
    done = train_command(tiny_corpus, tmp_path / "student", *options)
    assert "teacher_divergence=" in done.stdout + done.stderr


MISTAKES = {
    "not sampling": (("--top-k", 5), "--top-k goes with --sampling"),
    "seed": (("--sampling", "--seed", -1), "--seed -1: give"),
    "seed of nothing": (("--seed", 2), "--seed goes with --sampling"),
    "engine": (("--sampling", "--engine", "ctranslate2"), "leave out --engine"),
    "vocabulary": (("--sampling", "--top-k", 10**6), "the vocabulary has"),
    "share": (("--sampling", "--top-p", 2), "top-p 2.0: give"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, mistake: str) -> None:
    options, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        decode(tiny_teacher, tiny_corpus, tmp_path, "--subset", "test", *options)


def test_an_ensemble_is_not_sampled_from(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="draws from a single model"):
        decode(f"{tiny_teacher}:{tiny_teacher}", tiny_corpus, tmp_path, "--subset", "test", "--sampling")
