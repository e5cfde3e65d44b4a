"""A lexical shortlist in CTranslate2's search: what may come out, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2.shortlist import find_shortlist
from fairseq_kd.decoding.interface import Hypothesis
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")
Translate = Callable[[Path | None, DecodingOptions], list[list[Hypothesis]]]
SEARCHES = [DecodingOptions(beam=1, max_len_b=12), DecodingOptions(beam=4, nbest=3, max_len_b=12)]
every_search = pytest.mark.parametrize("search", SEARCHES, ids=["greedy", "beam"])


@pytest.fixture
def task(tiny_corpus: Path) -> TranslationTask:
    return open_databin(tiny_corpus, "test")


@pytest.fixture
def sources(task: TranslationTask) -> list[torch.Tensor]:
    return [task.dataset("test").src[row] for row in range(40)]


@pytest.fixture
def translate(task: TranslationTask, sources: list[torch.Tensor], sure_teacher: Path) -> Translate:
    """Translate with CTranslate2, with a shortlist or without one."""

    def run(shortlist: Path | None, search: DecodingOptions) -> list[list[Hypothesis]]:
        chosen = choose_engine("auto", "float32", [str(sure_teacher)], task, search=search, shortlist=shortlist)
        assert chosen.engine == "ctranslate2"
        return chosen.build().translate(sources, search)

    return run


def write(path: Path, allowed: dict[str, list[str]]) -> Path:
    path.write_text("".join(f"{symbol}\t{' '.join(found)}\n" for symbol, found in allowed.items()))
    return path


@every_search
def test_a_map_that_allows_everything_changes_nothing(
    search: DecodingOptions, task: TranslationTask, translate: Translate, tmp_path: Path
) -> None:
    dictionary = task.target_dictionary
    everything = write(tmp_path / "all.txt", {"": dictionary.symbols[dictionary.nspecial :]})
    expected, found = translate(None, search), translate(everything, search)
    assert [[one.tokens for one in row] for row in found] == [[one.tokens for one in row] for row in expected]
    for mine, other in zip(found, expected, strict=True):
        assert [one.score for one in mine] == pytest.approx([one.score for one in other], abs=1e-3)
    assert len({row[0].tokens for row in found}) > 10


@every_search
def test_only_allowed_symbols_come_out(
    search: DecodingOptions,
    task: TranslationTask,
    translate: Translate,
    sources: list[torch.Tensor],
    sure_teacher: Path,
    tmp_path: Path,
) -> None:
    """The words that every source allows, and those of a symbol that stands in one of the batch's sources."""
    few = ["t0", "t2", "t4", "t6"]
    free = {token for row in translate(None, search) for one in row for token in one.tokens.split()}
    assert not free <= {*few, "t1"} and "t1" in free
    found = translate(write(tmp_path / "few.txt", {"": few, "s1": ["t1"]}), search)
    came = {token for row in found for one in row for token in one.tokens.split()}
    assert came <= {*few, "t1"} and "t1" in came
    alone = choose_engine("auto", "float32", [str(sure_teacher)], task, shortlist=tmp_path / "few.txt").build()
    without = next(one for one in sources if "s1" not in task.source_dictionary.string(one).split())
    (row,) = alone.translate([without], search)
    assert {token for one in row for token in one.tokens.split()} <= set(few)


def test_a_folder_stands_for_its_map(tiny_corpus: Path, task: TranslationTask, tmp_path: Path) -> None:
    write(tmp_path / "vmap.txt", {"": ["t1"]})
    assert find_shortlist(tmp_path, task.target_dictionary) == tmp_path / "vmap.txt"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read (No such file or directory); give a folder"),
        (b"s1 t1\n", "line 1 has no tab"),
        (b"\tt1\ns1\tt1 t99\n", "line 2 allows 't99', which the model's dictionary lacks"),
        (b"\xff\xfe", "cannot be read (not UTF-8)"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(
    text: bytes | None, reason: str, task: TranslationTask, tmp_path: Path
) -> None:
    path = tmp_path / "vmap.txt"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UserError) as raised:
        find_shortlist(path, task.target_dictionary)
    assert f"--shortlist {path}: {reason}" in str(raised.value)


def test_a_symbol_can_hold_another_kind_of_space(tmp_path: Path) -> None:
    dictionary = Dictionary()
    dictionary.add_symbol("New York")
    path = write(tmp_path / "map.txt", {"": ["New York"]})
    assert find_shortlist(path, dictionary) == path


def test_a_shortlist_needs_ctranslate2(task: TranslationTask, sure_teacher: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "vmap.txt", {"": ["t1"]})
    with pytest.raises(UserError, match=r"--shortlist .*vmap.txt: --engine fairseq decodes .* with all symbols"):
        choose_engine("fairseq", "float32", [str(sure_teacher)], task, shortlist=path)
    ensemble = [str(sure_teacher)] * 2
    with pytest.raises(
        UserError, match=r"--shortlist .*vmap.txt: needs ctranslate2, but 2 checkpoints are an ensemble"
    ):
        choose_engine("auto", "float32", ensemble, task, shortlist=path)
