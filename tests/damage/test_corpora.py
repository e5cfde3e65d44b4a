"""Damaged parts and outputs of decodes, selections and filters."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.corpus.distilled.databin import keep_translated
from fairseq_kd.corpus.distilled.decoded_blocks import decode_folder, write_block
from fairseq_kd.corpus.distilled.merge import merge
from fairseq_kd.corpus.filtering.filter import filter_corpus
from fairseq_kd.corpus.filtering.rules import Rules
from fairseq_kd.corpus.seq_inter.select import select
from fairseq_kd.corpus.seq_inter.similarity import Similarity
from fairseq_kd.decoding.interface import NOT_TRANSLATED, Hypothesis
from fairseq_kd.storage.block_folder import Shard
from tests.support.damage import assert_noticed
from tests.support.files import contents

ROWS = 7


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a decode with two translations a row, merged."""
    output = tmp_path_factory.mktemp("decoded") / "out"
    made = {"models": ["a" * 64], "subset": "train", "source": "en", "target": "de", "rows": ROWS, "block_rows": 3}
    folder = decode_folder(output, {**made, "options": {"beam": 2, "nbest": 2}})
    folder.claim()
    for block in folder.blocks:
        lists = [[Hypothesis(f"t{row} a{rank} .", -rank / 3) for rank in range(2)] for row in block.rows]
        lists = [[NOT_TRANSLATED] * 2 if row == 4 else found for row, found in zip(block.rows, lists, strict=True)]
        write_block(block, [f"s{row} b c" for row in block.rows], lists)
    merge(output)
    return output


def outputs(folder: Path, without: str) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith(without)}


def parts_of(source: Path, folder: Path, finish: Callable[[Path], Any]) -> Callable[[], Any]:
    """What joins the parts of ``source`` again, in a copy of the folder without its outputs."""

    def read() -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source / "parts", folder / "parts")
        finish(folder)
        return outputs(folder, "parts/")

    return read


def test_parts_of_a_decode(decoded: Path, tmp_path: Path) -> None:
    read = parts_of(decoded, tmp_path / "again", merge)
    assert_noticed("decode: parts", sorted((decoded / "parts").iterdir()), read)


def test_text_and_signature_of_a_decode(decoded: Path, tmp_path: Path) -> None:
    """As a selection, a distilled data-bin and a filter read them."""
    (tmp_path / "gold").write_text("".join(f"t{row} a1 .\n" for row in range(ROWS)))
    (tmp_path / "data").mkdir()

    def read() -> Any:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        chosen = select(
            decoded / "train.nbest.tsv", tmp_path / "gold", tmp_path / "out", Similarity("chrf", "none"), workers=1
        )
        left = keep_translated(decoded, "en", "de", tmp_path / "data")
        return chosen, outputs(tmp_path / "out", "parts"), left, outputs(tmp_path / "data", "none")

    names = ("signature.json", "train.en", "train.de", "train.nbest.tsv")
    assert_noticed("decode: text and signature", [decoded / name for name in names], read, tries=100)


@pytest.fixture(scope="module")
def selected(decoded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[Path], Any]]:
    """The output of a selection, and what makes it."""
    folder = tmp_path_factory.mktemp("selected")
    (folder / "gold").write_text("".join(f"t{row} a1 .\n" for row in range(ROWS)))

    def choose(output: Path) -> Any:
        similarity = Similarity("chrf", "none")
        return select(decoded / "train.nbest.tsv", folder / "gold", output, similarity, workers=1, block_rows=3)

    choose(folder / "out")
    return folder / "out", choose


def test_parts_of_a_selection(selected: tuple[Path, Callable[[Path], Any]], tmp_path: Path) -> None:
    output, choose = selected
    read = parts_of(output, tmp_path / "again", choose)
    assert_noticed("selection: parts", sorted((output / "parts").iterdir()), read)


def test_outputs_of_a_selection(selected: tuple[Path, Callable[[Path], Any]]) -> None:
    """A selection that is run again mends what it can."""
    output, choose = selected
    files = [path for path in sorted(output.iterdir()) if path.is_file()]

    def read() -> Any:
        return choose(output), outputs(output, "signature")

    assert_noticed("selection: outputs, run again", files, read, tries=100, least=0)


def test_parts_of_a_filter(decoded: Path, tmp_path: Path) -> None:
    source = tmp_path / "filtered"

    def run(output: Path) -> Any:
        rules = Rules(score_share=0.3)
        return filter_corpus(decoded, output, rules, shard=Shard(block_rows=3))

    run(source)
    read = parts_of(source, tmp_path / "again", run)
    assert_noticed("filter: parts", sorted((source / "parts").iterdir()), read, tries=200)
