"""The soft-target cache with real models: against the live teacher, in shards, killed, and in fairseq-train."""

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.corpus.cache import cache as cache_function
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.soft_targets import normalised, read_manifest
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import mean_log_probs
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.teacher import load_teacher
from fairseq_kd.storage.block_folder import Shard
from fairseq_kd.storage.structured import read_json
from tests.support.commands import BIN, PLUGIN, run_command
from tests.support.corpora import binarise, write_text
from tests.support.files import contents
from tests.support.gradients import gradient
from tests.support.kills import Moment, files_there, kill_and_run_again
from tests.support.models import batch, build
from tests.support.training import train_command, train_model

pytestmark = pytest.mark.usefixtures("one_thread")
KD = ("--task", "translation_kd", "--criterion", "token_kd")
IN_BLOCKS = ("--block-rows", 20)
K = 4


def cache_words(model: Path | str, data: Path, output: Path, *options: object) -> list[str]:
    return ["cache", *map(str, ("--model", model, "--data", data, "--output", output, "--top-k", K, *options))]


def cache(*words: object) -> None:
    cli.main(cache_words(*words))


@pytest.fixture(scope="module")
def unbroken(one_thread: None, tiny_corpus: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The soft targets of train, 15 blocks written at one go, and of valid."""
    output = tmp_path_factory.mktemp("cache") / "out"
    cache(tiny_teacher, tiny_corpus, output, *IN_BLOCKS)
    cache(tiny_teacher, tiny_corpus, output, "--subset", "valid")
    return output


def loss_and_gradient(model: Any, criterion: Any, sample: dict[str, Any]) -> tuple[float, torch.Tensor, dict[str, Any]]:
    model.zero_grad()
    loss, _, log = criterion(model, sample)
    loss.backward()
    return loss.item(), gradient(model), log


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("temperature", ["1.0", "2.0"])
def test_loss_and_gradient_are_the_live_teachers(
    ensemble: bool, temperature: str, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """float16 moves a log-probability by at most 2⁻¹¹ ≈ 0.0005 of its size, hence a soft loss by about as much."""
    teacher = f"{tiny_teacher}:{tiny_teacher.with_name('checkpoint_best.pt')}" if ensemble else str(tiny_teacher)
    cache(teacher, tiny_corpus, tmp_path, "--temperature", temperature, *IN_BLOCKS)
    shared = (*KD, "--kd-alpha", "0.8", "--kd-temperature", temperature, "--kd-top-k", str(K))
    cached = build(tiny_corpus, *shared, "--teacher-cache", str(tmp_path))
    live = build(tiny_corpus, *shared, "--teacher-path", teacher)
    rows = [21, 3, 299, 0, 40, 17]
    sample, without = batch(cached[0], "train", rows), batch(live[0], "train", rows)
    assert sample["target"].eq(cached[0].target_dictionary.pad()).any() and "soft_targets" not in without
    found, slope, log = loss_and_gradient(*cached[1:], sample)
    expected, live_slope, live_log = loss_and_gradient(*live[1:], without)
    assert found == pytest.approx(expected, rel=1e-3)
    assert log["kd_loss"].item() == pytest.approx(live_log["kd_loss"].item(), rel=1e-3)
    assert (slope - live_slope).norm() < 2e-3 * live_slope.norm()
    assert log["agreed"] == live_log["agreed"] and log["kd_ntokens"] == live_log["kd_ntokens"]
    assert cached[0]._teacher is None


def test_every_batch_has_its_own_rows_in_its_own_order(unbroken: Path, tiny_corpus: Path, tiny_teacher: Path) -> None:
    """Against the live teacher's buckets, over all batches of an epoch."""
    task, _, _ = build(tiny_corpus, *KD, "--teacher-cache", str(unbroken))
    task.load_dataset("train")
    teacher = load_teacher([str(tiny_teacher)], task, None, False, None)
    iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=200, max_positions=(64, 64), num_workers=2)
    tokens = 0
    for sample in iterator.next_epoch_itr(shuffle=True):
        real = sample["target"].ne(task.target_dictionary.pad())
        with torch.no_grad():
            answers = mean_log_probs(teacher.next_tokens(sample, real), slice(None))
        soft = sample["soft_targets"]
        stored = normalised(soft["log_probs"])
        assert soft["ids"].shape == (sample["ntokens"], K) and stored.shape == (sample["ntokens"], K + 1)
        torch.testing.assert_close(stored[:, :K].exp(), answers.gather(-1, soft["ids"]).exp(), rtol=5e-3, atol=1e-4)
        torch.testing.assert_close(stored.exp().sum(-1), torch.ones(len(stored)))
        tokens += len(stored)
    settings = read_manifest(unbroken, "train")
    assert settings is not None and tokens == settings["tokens"]


def test_shards_write_the_same_bytes(unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    cache(tiny_teacher, tiny_corpus, tmp_path, *IN_BLOCKS, "--shards", 2, "--shard", 1)
    with pytest.raises(UserError, match=r"8 of 15 blocks are missing: 0, 2, 4, 6, 8, 10, 12, 14; run their shards"):
        build(tiny_corpus, *KD, "--teacher-cache", str(tmp_path))[0].load_dataset("train")
    cache(tiny_teacher, tiny_corpus, tmp_path, *IN_BLOCKS, "--shards", 2, "--shard", 0)
    assert contents(tmp_path / "train") == contents(unbroken / "train")


def test_the_function_returns_the_manifest(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    manifest = cache_function(str(tiny_teacher), tiny_corpus, tmp_path, K, shard=Shard(block_rows=20))
    assert manifest == read_manifest(tmp_path, "train") == read_manifest(unbroken, "train")
    assert contents(tmp_path / "train") == contents(unbroken / "train")


@pytest.mark.slow
def test_killed_at_random_points_and_run_again_gives_the_same_bytes(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    draw = random.Random(1)
    words = cache_words(tiny_teacher, tiny_corpus, tmp_path, *IN_BLOCKS)
    moments = [
        Moment(files_there(tmp_path, "train/*.npy", blocks), draw.random() * 0.005)
        for blocks in sorted(draw.sample(range(12), 2))
    ]

    def leave_a_half() -> None:
        (tmp_path / "train" / "00003.npy.77.tmp").write_bytes(b"half")

    kill_and_run_again([str(BIN / "fairseq-kd"), *words], moments, between=leave_a_half, forked=False)
    assert contents(tmp_path / "train") == contents(unbroken / "train")


def test_again_does_nothing_and_other_settings_are_refused(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    with caplog.at_level("INFO"):
        cache(tiny_teacher, tiny_corpus, unbroken, *IN_BLOCKS)
    assert "nothing to do" in caplog.text
    for options, told in (
        (("--top-k", 5), "top_k is 4 there, 5 here"),
        (("--temperature", 2), r"temperature is 1\.0 there, 2\.0 here"),
        (("--block-rows", 30), "block_rows is 20 there, 30 here"),
    ):
        with pytest.raises(UserError, match=told):
            cache(tiny_teacher, tiny_corpus, unbroken, *IN_BLOCKS, *options)
    with pytest.raises(UserError, match=r"soft targets of another kind than test's: top_k is 4 there, 6 here"):
        cache(tiny_teacher, tiny_corpus, unbroken, "--subset", "test", "--top-k", 6)
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_training_without_the_teacher(unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """The teacher's file is gone; two loader workers, --update-freq 2, a cached and an uncached split, and a resume."""
    folder = tmp_path / "teacher"
    shutil.copytree(tiny_teacher.parent, folder)
    own = tmp_path / "cache"
    cache(folder / tiny_teacher.name, tiny_corpus, own, "--subset", "train")
    cache(folder / tiny_teacher.name, tiny_corpus, own, "--subset", "valid")
    shutil.rmtree(folder)
    options = [*KD, "--teacher-cache", str(own), "--num-workers", "2", "--update-freq", "2", "--dropout", "0.2"]
    options += ["--valid-subset", "valid,test", "--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_b": 12}']
    done = train_command(tiny_corpus, tmp_path / "unbroken", *options, "--max-update", "8")
    log = done.stdout + done.stderr
    validated = {name: line for line in log.splitlines() for name in ("valid", "test") if f"| {name} | epoch" in line}
    assert "kd_loss" in validated["valid"] and "kd_loss" not in validated["test"] and "nll_loss" in validated["test"]
    assert all("bleu" in line for line in validated.values())
    assert log.count("no soft targets of test in") == 1 and "kd_loss=" in log
    train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", "5")
    train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", "8")
    one, other = (read_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("unbroken", "broken"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    assert not any("teacher" in name for name in one)
    shutil.rmtree(own)
    words = ("--path", tmp_path / "broken" / "checkpoint_last.pt", "--user-dir", PLUGIN, "--cpu", "--max-tokens", "400")
    done = run_command("fairseq-validate", tiny_corpus, *words, "--task", "translation_kd")
    assert "nll_loss" in done.stdout + done.stderr


def test_training_from_the_cache_is_training_from_the_teacher(
    unbroken: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """One SGD step over the same batches; the cache's roundings are all that parts them."""
    options = [*KD, "--optimizer", "sgd", "--max-update", "1", "--disable-validation", "--dropout", "0", "--lr", "1.0"]
    options += ["--clip-norm", "0", "--kd-top-k", str(K)]
    cached = train_model(tiny_corpus, tmp_path / "cached", *options, "--teacher-cache", str(unbroken))
    live = train_model(tiny_corpus, tmp_path / "live", *options, "--teacher-path", str(tiny_teacher))
    one, other = (read_checkpoint(path)["model"] for path in (cached, live))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-3)


def test_options_that_the_cache_does_not_have_are_refused(unbroken: Path, tiny_corpus: Path) -> None:
    for option, told in ((("--kd-temperature", "2"), "are at 1.0"), (("--kd-top-k", "8"), "have 4 symbols")):
        with pytest.raises(UserError, match=told):
            build(tiny_corpus, *KD, "--teacher-cache", str(unbroken), *option)


def refused(data: Path | str, cache_folder: Path, *options: str, split: str = "train", **load: Any) -> str:
    with pytest.raises(UserError) as caught:
        build(Path(data), *KD, "--teacher-cache", str(cache_folder), *options)[0].load_dataset(split, **load)
    line = str(caught.value)
    assert line.startswith("fairseq_kd: error: ") and "\n" not in line
    return line


def test_a_cache_of_something_else_is_refused(
    unbroken: Path, tiny_text: Path, tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    assert "it has no soft targets of train; write them with" in refused(tiny_corpus, tmp_path / "none")
    text = tmp_path / "text"
    shutil.copytree(tiny_text, text)
    words = (text / "train.src").read_text().split(" ")
    (text / "train.src").write_text(" ".join(["s3" if words[0] != "s3" else "s4", *words[1:]]))
    names = ["--srcdict", str(tiny_corpus / "dict.src.txt"), "--tgtdict", str(tiny_corpus / "dict.tgt.txt")]
    changed = binarise(text, tmp_path / "changed", *names)
    line = refused(changed, unbroken)
    assert "data.train.src-tgt.src.bin is" in line and "tgt.bin" not in line
    write_text(text, {"train": 299})
    assert "rows is 300 there, 299 here" in refused(binarise(text, tmp_path / "fewer", *names), unbroken)
    other = tmp_path / "other-dictionary"
    shutil.copytree(tiny_corpus, other)
    lines = (other / "dict.tgt.txt").read_text().splitlines(keepends=True)
    (other / "dict.tgt.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert "data.dict.tgt.txt is" in refused(other, unbroken)
    combined = tmp_path / "combined"
    shutil.copytree(tiny_corpus, combined)
    for path in combined.glob("test.*"):
        shutil.copy(path, combined / path.name.replace("test", "train1"))
    assert "rows is 300 there, 340 here" in refused(combined, unbroken, "--upsample-primary", "1", combine=True)
    for path in combined.glob("test.*"):
        shutil.copy(path, combined / path.name.replace("test", "valid1"))
    line = refused(combined, unbroken, "--upsample-primary", "1", split="valid", combine=True)
    assert "valid has 80 rows then" in line and "--ignore-unused-valid-subsets --valid-subset valid,valid1" in line
    assert "1 folders for 2 data-bins; give one for each" in refused(f"{tiny_corpus}:{changed}", unbroken)
    teachers = f"{tiny_teacher}:{tiny_teacher}"
    assert "made with another teacher than --teacher-path: models.1 is absent there" in refused(
        tiny_corpus, unbroken, "--teacher-path", teachers
    )
    build(tiny_corpus, *KD, "--teacher-cache", str(unbroken), "--teacher-path", str(tiny_teacher))[0].load_dataset(
        "train"
    )


def test_a_cache_that_is_damaged_or_mixed_is_refused(unbroken: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(unbroken, damaged)
    path = damaged / "train" / "00007.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: damaged" in refused(tiny_corpus, damaged)
    mixed = tmp_path / "mixed"
    shutil.copytree(unbroken, mixed)
    manifest = mixed / "valid" / "manifest.json"
    manifest.write_text(json.dumps(read_json(manifest) | {"temperature": 3.0}))
    assert "of another kind than train's: temperature is 3.0 there, 1.0 here" in refused(tiny_corpus, mixed)
    manifest.write_text("{")
    assert "cannot be read" in refused(tiny_corpus, mixed, split="valid")


def test_a_damaged_row_ends_a_training_with_one_line(unbroken: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    """The row is read in a data loader's worker."""
    shutil.copytree(unbroken, tmp_path / "cache")
    path = tmp_path / "cache" / "train" / "00007.npy"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    options = (*KD, "--teacher-cache", str(tmp_path / "cache"), "--num-workers", "1", "--max-epoch", "1")
    done = train_command(tiny_corpus, tmp_path / "out", *options, "--max-update", "0", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"00007\.npy: damaged \(the checksum of row \d+ of this block differs\)", done.stderr), done.stderr


def test_rows_beyond_the_teachers_positions_are_left_out(
    tiny_text: Path, tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("--max-source-positions", "8", "--max-target-positions", "8")
    teacher = train_model(tiny_corpus, tmp_path / "teacher", "--max-update", "1", "--disable-validation", *short)
    own = tmp_path / "cache"
    cache(teacher, tiny_corpus, own, "--teacher-data", tiny_corpus)
    assert "rows are longer than the teacher's positions (8, 8)" in caplog.text
    task, model, criterion = build(tiny_corpus, *KD, "--teacher-cache", str(own))
    task.load_dataset("train")
    dataset = task.dataset("train")
    iterator = task.get_batch_iterator(dataset, max_tokens=400, max_positions=(64, 64), ignore_invalid_inputs=True)
    rows = [row for some in iterator.frozen_batches for row in some]
    assert sorted(rows) == [row for row in range(300) if max(dataset.size(row)) <= 8]
    assert all(criterion(model, sample)[0].isfinite() for sample in iterator.next_epoch_itr())
    # Validation leaves them out, too: fairseq asks for it without ignore_invalid_inputs.
    cache(teacher, tiny_corpus, own, "--teacher-data", tiny_corpus, "--subset", "valid")
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    iterator = task.get_batch_iterator(dataset, max_tokens=400, max_positions=(64, 64))
    rows = [row for some in iterator.frozen_batches for row in some]
    assert sorted(rows) == [row for row in range(40) if max(dataset.size(row)) <= 8] != list(range(40))


def test_a_target_that_holds_padding_is_refused(tiny_text: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    shutil.copytree(tiny_text, text)
    lines = (text / "valid.tgt").read_text().splitlines()
    lines[5] = f"t1 <pad> {lines[5]}"
    (text / "valid.tgt").write_text("".join(line + "\n" for line in lines))
    names = [str(tiny_teacher.with_name(f"dict.{side}.txt")) for side in ("src", "tgt")]
    data = binarise(text, tmp_path / "data-bin", "--srcdict", names[0], "--tgtdict", names[1])
    assert (open_databin(data, "valid").dataset("valid").tgt[5] == 1).any()
    with pytest.raises(UserError, match=r"the target of row 5 \(from 0\) holds the padding symbol '<pad>'"):
        cache(tiny_teacher, data, tmp_path / "out", "--subset", "valid")
