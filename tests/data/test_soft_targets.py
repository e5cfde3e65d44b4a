"""Soft targets on disk and in batches, without a model."""

import json
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, LanguagePairDataset
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fairseq_kd.data.cached_dataset import CachedDataset
from fairseq_kd.data.record_files import open_records, write_records
from fairseq_kd.data.soft_targets import (
    SoftTargets,
    claim,
    encode,
    id_type,
    normalised,
    offsets,
    read_manifest,
    record_type,
    splits,
    untaught,
)
from fairseq_kd.errors import UserError
from fairseq_kd.losses.divergences import cross_entropy

SIZES = np.array([3, 1, 4, 1, 5, 9, 2])


def settings(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"models": ["a" * 64], "subset": "train", "rows": 7, "block_rows": 3, "top_k": 2}
    made |= {"temperature": 1.0, "vocabulary": 100, "max_positions": [9, 9], "ids": "uint16"}
    return made | changes


def answers(tokens: int, made: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token t of the split has the ids t, t + 1, … and probabilities of its own."""
    k = made["top_k"]
    ids = torch.arange(tokens)[:, None] + torch.arange(k)
    logits = torch.randn(tokens, k + 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ids, logits.log_softmax(-1)


def write(folder: Path, made: dict[str, Any], sizes: np.ndarray = SIZES) -> None:
    starts = offsets(sizes)
    ids, log_probs = answers(int(starts[-1]), made)
    for block in claim(folder, made).blocks:
        span = slice(starts[block.rows.start], starts[block.rows.stop])
        ends = starts[block.rows.start + 1 : block.rows.stop + 1] - starts[block.rows.start]
        write_records(block, encode(ids[span], log_probs[span], made), ends.tolist())


@pytest.mark.parametrize(("ids", "k", "size"), [("uint16", 8, 34), ("uint16", 1, 6), ("int32", 8, 50)])
def test_bytes_for_each_token(ids: str, k: int, size: int) -> None:
    assert record_type(settings(ids=ids, top_k=k)).itemsize == size


def test_ids_are_as_narrow_as_the_vocabulary_allows() -> None:
    assert [id_type(size) for size in (100, 65_536, 65_537)] == ["uint16", "uint16", "int32"]


@pytest.mark.parametrize(("ids", "largest"), [("uint16", 65_535), ("int32", 250_000)])
def test_the_largest_ids_come_back(ids: str, largest: int, tmp_path: Path) -> None:
    made = settings(ids=ids, rows=1, vocabulary=largest + 1)
    (block,) = claim(tmp_path, made).blocks
    write_records(block, encode(torch.tensor([[largest, 0]]), torch.tensor([[0.5, 0.3, 0.2]]).log(), made), [1])
    found = SoftTargets(tmp_path, made, np.array([1])).of([0])["ids"]
    assert found.dtype == torch.int64 and found.tolist() == [[largest, 0]]


@hypothesis_settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-60, 0), min_size=3, max_size=12), st.sampled_from(["uint16", "int32"]))
def test_rounding_keeps_a_distribution_and_moves_it_little(logits: list[float], ids: str) -> None:
    log_probs = torch.tensor([logits], dtype=torch.float64).log_softmax(-1)
    made = settings(top_k=len(logits) - 1, ids=ids)
    records = encode(torch.arange(len(logits) - 1)[None], log_probs, made)
    found = normalised(torch.from_numpy(records["log_probs"]))
    assert found.dtype == torch.float32
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-6)
    # Each moves by 2⁻¹¹ of its size, and so does, weighted, what they are normalised by.
    assert ((found - log_probs).abs() <= 2**-11 * log_probs.abs() + 2**-11 * 3 + 1e-6).all()


def test_a_tail_without_mass_breaks_no_loss() -> None:
    log_probs = torch.tensor([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]]).log()
    records = encode(torch.zeros(2, 2, dtype=torch.int64), log_probs, settings())
    assert records["log_probs"].min() == -65504
    teacher = normalised(torch.from_numpy(records["log_probs"]))
    torch.testing.assert_close(teacher.exp(), log_probs.exp(), rtol=0, atol=1e-3)
    student = torch.zeros(2, 3, requires_grad=True)
    loss = cross_entropy(teacher, student.log_softmax(-1))
    loss.sum().backward()
    assert loss.isfinite().all() and student.grad is not None and student.grad.isfinite().all()


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 7))
def test_rows_are_read_in_any_order_from_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], block_rows: int
) -> None:
    folder, made = tmp_path_factory.mktemp("cache"), settings(block_rows=block_rows)
    write(folder, made)
    found = SoftTargets(folder, made, SIZES).of(rows)
    starts = offsets(SIZES)
    expected = [token for row in rows for token in range(starts[row], starts[row + 1])]
    assert found["ids"][:, 0].tolist() == expected
    assert found["log_probs"].dtype == torch.float16
    stored = answers(int(starts[-1]), made)[1][expected]
    torch.testing.assert_close(normalised(found["log_probs"]).double(), stored, rtol=2e-3, atol=2e-3)


def test_a_batch_from_more_blocks_than_files_may_be_open(tmp_path: Path) -> None:
    """A large cache has thousands of blocks, a batch of short sentences rows of most of them."""
    sizes, made = np.ones(600, dtype=int), settings(rows=600, block_rows=1, vocabulary=1000)
    write(tmp_path, made, sizes)
    targets = SoftTargets(tmp_path, made, sizes)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        assert targets.of(range(600))["ids"][:, 0].tolist() == list(range(600))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        with pytest.raises(UserError, match=r"00000\.npy: this process may open no more files; raise .*ulimit -n"):
            targets.of([0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_folder_keeps_to_its_settings_and_its_splits_to_one_kind(tmp_path: Path) -> None:
    claim(tmp_path, settings())
    claim(tmp_path, settings())
    with pytest.raises(UserError, match=r"train has other settings than this cache: top_k is 2 there, 3 here"):
        claim(tmp_path, settings(top_k=3))
    with pytest.raises(UserError, match=r"another kind than valid's: models\.0 is aaaaaaaaaaaa there, bbbbbbbbbbbb"):
        claim(tmp_path, settings(subset="valid", models=["b" * 64]))
    with pytest.raises(UserError, match=r"another kind than valid's: teacher_tokens\.0\.languages\.0 is absent there"):
        claim(tmp_path, settings(subset="valid", teacher_tokens=[{"languages": ["en", "de"]}]))
    claim(tmp_path, settings(subset="valid", rows=3, block_rows=1))
    assert splits(tmp_path) == ["train", "valid"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a part of this path is a file"):
        claim(tmp_path / "file", settings())


def test_a_renamed_folder_is_one_line(tmp_path: Path) -> None:
    claim(tmp_path, settings())
    (tmp_path / "train").rename(tmp_path / "valid")
    with pytest.raises(UserError, match=r"of the subset 'train', its folder is named 'valid'; give the folder"):
        read_manifest(tmp_path, "valid")


def test_a_direction_that_is_none_is_one_line(tmp_path: Path) -> None:
    claim(tmp_path, settings(teacher_tokens=[{"languages": ["en", "de"]}]))
    path = tmp_path / "train" / "manifest.json"
    path.write_text(json.dumps({**settings(), "teacher_tokens": [{"languages": 5}]}))
    with pytest.raises(UserError, match=r"manifest\.json: .*teacher_tokens\.0\.languages"):
        read_manifest(tmp_path, "train")


@pytest.mark.parametrize(
    ("sizes", "top_k", "ids"), [(SIZES + 1, 2, "uint16"), (SIZES, 3, "uint16"), (SIZES, 2, "int32")]
)
def test_records_that_are_not_the_manifests_are_refused(
    sizes: np.ndarray, top_k: int, ids: str, tmp_path: Path
) -> None:
    write(tmp_path, settings(top_k=top_k, ids=ids), sizes)
    with pytest.raises(UserError, match=r"00000\.npy: damaged \(it does not hold 8 records of this cache\); delete it"):
        SoftTargets(tmp_path, settings(), SIZES)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_a_block_that_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, settings())
    (tmp_path / "train" / "00001.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"00001\.npy: damaged"):
        SoftTargets(tmp_path, settings(), SIZES)


def test_the_files_are_where_older_versions_put_them(tmp_path: Path) -> None:
    write(tmp_path, settings())
    names = ["train", "train/00000.npy", "train/00001.npy", "train/00002.npy", "train/manifest.json"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == names
    assert np.load(tmp_path / "train" / "00001.npy").dtype.descr == [("ids", "<u2", (2,)), ("log_probs", "<f2", (3,))]
    expected = {name: tensor.tolist() for name, tensor in SoftTargets(tmp_path, settings(), SIZES).of(range(7)).items()}
    # What version 0.1.0 wrote: no checksums.
    (tmp_path / "train" / "manifest.json").write_text(json.dumps(settings(), indent=1, ensure_ascii=False) + "\n")
    for number in range(3):
        path = tmp_path / "train" / f"{number:05d}.npy"
        np.save(path, np.load(path))
    open_records.cache_clear()
    claim(tmp_path, settings())
    found = SoftTargets(tmp_path, read_manifest(tmp_path, "train"), SIZES).of(range(7))
    assert {name: tensor.tolist() for name, tensor in found.items()} == expected


def test_missing_blocks_are_named(tmp_path: Path) -> None:
    write(tmp_path, settings())
    for number in (0, 2):
        (tmp_path / "train" / f"{number:05d}.npy").unlink()
    with pytest.raises(UserError, match="train: 2 of 3 blocks are missing: 0, 2; run their shards again"):
        SoftTargets(tmp_path, settings(), SIZES)


def pairs(left_pad_target: bool = False) -> LanguagePairDataset:
    """Rows of SIZES target tokens; the source's lengths are the target's backwards."""
    dictionary = Dictionary()
    for number in range(20):
        dictionary.add_symbol(f"w{number}")
    targets = [torch.cat([torch.full((size - 1,), 4 + i), torch.tensor([2])]) for i, size in enumerate(SIZES)]
    sources = targets[::-1]
    lengths = [len(source) for source in sources]
    return LanguagePairDataset(
        sources,
        lengths,
        dictionary,
        targets,
        SIZES.tolist(),
        dictionary,
        left_pad_target=left_pad_target,
        shuffle=False,
    )


@pytest.mark.parametrize("left_pad_target", [False, True])
def test_a_batch_has_its_rows_soft_targets_in_the_order_of_its_tokens(left_pad_target: bool, tmp_path: Path) -> None:
    write(tmp_path, settings())
    dataset = CachedDataset(pairs(left_pad_target), SoftTargets(tmp_path, settings(), SIZES), np.zeros(7, bool))
    for worker in (dataset, pickle.loads(pickle.dumps(dataset))):
        sample = worker.collater([worker[row] for row in (5, 0, 3, 2)])
        assert sample["id"].tolist() != [5, 0, 3, 2] and sample["target"].eq(1).any()
        starts = offsets(SIZES)
        expected = torch.full_like(sample["target"], -1)
        for i, row in enumerate(sample["id"].tolist()):
            expected[i, sample["target"][i].ne(1)] = torch.arange(starts[row], starts[row + 1])
        assert torch.equal(sample["soft_targets"]["ids"][:, 0], expected[sample["target"].ne(1)])
    assert dataset.collater([]) == {}
    assert dataset.collater([dataset[0]], pad_to_length={"source": 12, "target": 11})["target"].shape == (1, 11)


def test_nothing_of_the_dataset_gets_lost(tmp_path: Path) -> None:
    write(tmp_path, settings())
    inner = pairs()
    dataset = CachedDataset(inner, SoftTargets(tmp_path, settings(), SIZES), np.zeros(7, bool))
    indices = inner.ordered_indices()
    assert np.array_equal(dataset.ordered_indices(), indices)
    for name in vars(inner):
        assert getattr(dataset, name) is getattr(inner, name)
    assert np.array_equal(dataset.num_tokens_vec(indices), inner.num_tokens_vec(indices))
    for name in ("supports_prefetch", "supports_fetch_outside_dataloader", "can_reuse_epoch_itr_across_epochs"):
        assert getattr(dataset, name) == getattr(inner, name)
    assert dataset.get_batch_shapes() == inner.get_batch_shapes() and len(dataset) == 7
    assert [dataset.size(row) for row in range(7)] == [inner.size(row) for row in range(7)]
    assert [dataset.num_tokens(row) for row in range(7)] == [inner.num_tokens(row) for row in range(7)]
    one, other = (some.batch_by_size(indices, max_tokens=12) for some in (dataset, inner))
    assert [list(batch) for batch in one] == [list(batch) for batch in other]
    with pytest.raises(AttributeError):
        _ = dataset.no_such_thing


def test_rows_without_soft_targets_count_as_too_long(tmp_path: Path) -> None:
    write(tmp_path, settings())
    inner = pairs()
    missed = untaught(inner.sizes, [9, 4])
    assert missed.tolist() == [False, False, False, False, True, True, False]
    dataset = CachedDataset(inner, SoftTargets(tmp_path, settings(), SIZES), missed)
    kept, ignored = dataset.filter_indices_by_size(np.arange(7), (4, 100))
    assert kept.tolist() == [0, 3, 6] and sorted(ignored) == [1, 2, 4, 5]
