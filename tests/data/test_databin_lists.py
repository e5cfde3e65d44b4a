"""Several data-bins that share a training split, ``a:b``: decoded, cached and trained on, each with its own folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.lists import beside, each_with
from fairseq_kd.data.databins.row_files import open_row_files
from fairseq_kd.errors import UserError
from tests.support.files import contents
from tests.support.gradients import gradient
from tests.support.models import batch, build
from tests.support.training import losses, train_command

pytestmark = pytest.mark.usefixtures("one_thread")
TASK = ("--task", "translation_kd")
Both = tuple[Path, Path]


def part(data: Path, folder: Path, rows: range, *, alone: bool) -> Path:
    """A data-bin of some training rows; ``alone``, without valid and test, as fairseq allows it behind the first."""
    folder.mkdir()
    for path in data.iterdir():
        if path.name.startswith("dict") or (not alone and path.name.startswith(("valid", "test"))):
            shutil.copy(path, folder)
    pairs = open_databin(data, "train").dataset("train")
    for side, language in ((pairs.src, "src"), (pairs.tgt, "tgt")):
        some = [side[row].numpy() for row in rows]
        with open_row_files(folder / f"train.src-tgt.{language}", len(pairs.src_dict)) as files:
            files.add(np.array([len(row) for row in some]), np.concatenate(some))
    return folder


def parts(data: Path, folder: Path) -> Both:
    """The first 100 rows of train, and the other 200."""
    folder.mkdir()
    return (
        part(data, folder / "a", range(100), alone=False),
        part(data, folder / "b", range(100, 300), alone=True),
    )


@pytest.fixture(scope="module")
def gold(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return parts(tiny_corpus, tmp_path_factory.mktemp("gold") / "bins")


@pytest.fixture(scope="module")
def other(distilled: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The distilled data of each."""
    return parts(distilled, tmp_path_factory.mktemp("distilled") / "bins")


def joined(paths: Both) -> str:
    return ":".join(map(str, paths))


def run(verb: str, *words: object) -> None:
    cli.main([verb, *map(str, words)])


@pytest.fixture(scope="module")
def caches(one_thread: None, gold: Both, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Soft targets of each, by one command."""
    folder = tmp_path_factory.mktemp("caches")
    found = folder / "x", folder / "y"
    run("cache", "--model", tiny_teacher, "--data", joined(gold), "--output", joined(found), "--top-k", 4)
    return found


def test_cache_and_decode_fill_a_folder_for_each(gold: Both, caches: Both, tiny_teacher: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "p", tmp_path / "q"
    search = ("--model", tiny_teacher, "--beam", 2, "--max-len-b", 9)
    run("decode", *search, "--data", joined(gold), "--output", joined(outputs))
    for number in (0, 1):
        run("decode", *search, "--data", gold[number], "--output", tmp_path / "alone" / str(number))
        assert contents(outputs[number]) == contents(tmp_path / "alone" / str(number))
        run("cache", "--model", tiny_teacher, "--data", gold[number], "--output", tmp_path / str(number), "--top-k", 4)
        assert contents(caches[number]) == contents(tmp_path / str(number))
    assert [(path / "train.src").read_text().count("\n") for path in outputs] == [100, 200]
    run("decode", *search, "--data", joined(gold), "--output", tmp_path / "v", "--subset", "valid")
    assert (tmp_path / "v" / "valid.src").read_text().count("\n") == 40


CRITERIONS = {
    "token_kd, cache": (("--criterion", "token_kd"), ("--teacher-cache",)),
    "token_kd, live": (("--criterion", "token_kd"), ("--teacher-path",)),
    "hybrid_kd, cache": (("--criterion", "hybrid_kd"), ("--teacher-cache", "--distilled-data")),
    "hybrid_kd, live": (("--criterion", "hybrid_kd"), ("--teacher-path", "--distilled-data")),
    "f_distill": (("--criterion", "f_distill", "--divergence", "kl"), ("--teacher-path", "--distilled-data")),
}


@pytest.mark.parametrize("kind", CRITERIONS)
def test_an_epoch_is_that_of_its_data_bin_alone(
    kind: str, gold: Both, other: Both, caches: Both, tiny_teacher: Path
) -> None:
    """Loss and gradient of the same rows, in the second and the third epoch."""
    criterion, options = CRITERIONS[kind]
    folders = {"--teacher-cache": caches, "--distilled-data": other}

    def words(number: int | None) -> list[str]:
        found = [*TASK, *criterion]
        for option in options:
            given = folders.get(option)
            value = tiny_teacher if given is None else joined(given) if number is None else given[number]
            found += [option, str(value)]
        return found

    def loss_and_gradient(data: str | Path, number: int | None, epoch: int) -> tuple[float, torch.Tensor]:
        task, model, criterion = build(Path(data), *words(number), "--dropout", "0")
        task.load_dataset("train", epoch=epoch)
        loss = criterion(model, batch(task, "train", [3, 50, 99]))[0]
        loss.backward()
        return loss.item(), gradient(model)

    for epoch, number in ((2, 1), (3, 0)):
        loss, found = loss_and_gradient(joined(gold), None, epoch)
        wanted, expected = loss_and_gradient(gold[number], number, 1)
        assert loss == wanted and torch.equal(found, expected) and found.norm() > 0


def test_a_training_over_both(gold: Both, other: Both, caches: Both, tmp_path: Path) -> None:
    options = ["--criterion", "hybrid_kd", "--teacher-cache", joined(caches), "--distilled-data", joined(other)]
    options += ["--max-update", "0", "--dropout", "0"]
    bins = Path(joined(gold))
    whole = train_command(bins, tmp_path / "a", *TASK, *options, "--max-epoch", "3")
    assert "epoch 003" in whole.stderr + whole.stdout and "Traceback" not in whole.stderr
    train_command(bins, tmp_path / "b", *TASK, *options, "--max-epoch", "1")
    rest = train_command(bins, tmp_path / "b", *TASK, *options, "--max-epoch", "3")
    found, wanted = (losses(one.stderr + one.stdout, "loss") for one in (rest, whole))
    assert len(wanted) > len(found) > 1 and found == wanted[-len(found) :]


def refused(gold: Both, *options: object) -> str:
    with pytest.raises(UserError) as caught:
        build(Path(joined(gold)), *TASK, "--criterion", "token_kd", *map(str, options))[0].load_dataset("train")
    return str(caught.value)


def test_folders_that_do_not_go_together(
    gold: Both, other: Both, caches: Both, tiny_teacher: Path, tmp_path: Path
) -> None:
    few = f"{caches[0]}: 1 folders for 2 data-bins; give one for each, in their order, joined by ':'"
    assert few in refused(gold, "--teacher-cache", caches[0])
    assert "belong to other data: rows is 200 there, 100 here" in refused(gold, "--teacher-cache", joined(caches[::-1]))
    warm = tmp_path / "warm"
    run("cache", "--model", tiny_teacher, "--data", gold[1], "--output", warm, "--top-k", 4, "--temperature", 2)
    told = "several kinds: temperature is 1.0 there, 2.0 here"
    assert told in refused(gold, "--teacher-cache", joined((caches[0], warm)))
    swapped = ("--teacher-path", tiny_teacher, "--distilled-data", joined(other[::-1]))
    hybrid = build(Path(joined(gold)), *TASK, "--criterion", "hybrid_kd", *map(str, swapped))[0]
    with pytest.raises(UserError, match=r"--distilled-data .*b: 200 rows, the gold data has 100"):
        hybrid.load_dataset("train")
    with pytest.raises(UserError, match=r"--output .*: 3 folders for 2 data-bins"):
        each_with(joined(gold), Path("x:y:z"), "train")
    assert beside(["a"], "x:y", "--output") == [Path("x:y")]


@pytest.mark.parametrize(
    ("name", "told"), [("a:b", "cannot read a folder whose name holds ':'"), ("gone", "no such folder")]
)
def test_a_folder_that_fairseq_does_not_find(name: str, told: str, tiny_corpus: Path, tmp_path: Path) -> None:
    """fairseq-train cuts the path at the colon, and ends in a FileNotFoundError about its first part."""
    if name == "a:b":
        shutil.copytree(tiny_corpus, tmp_path / name)
    with pytest.raises(UserError, match=f"data-bin .*{name}: .*{told}"):
        build(tmp_path / name, *TASK)
