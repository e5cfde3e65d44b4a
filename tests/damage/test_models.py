"""Damaged models that this package wrote: converted, exported, sparse."""

import lzma
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.compress.export import export
from fairseq_kd.compress.packing import unpack
from fairseq_kd.data.databins.databin import open_databin, open_dictionaries
from fairseq_kd.decoding.ctranslate2.conversion import kept_conversion
from fairseq_kd.decoding.ctranslate2.converted_folder import check_model, read_made
from fairseq_kd.decoding.ctranslate2.engine import CTranslate2Engine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from tests.stored import test_stored
from tests.support.damage import assert_noticed
from tests.support.subwords import spm_of_symbols

STORED = Path(test_stored.__file__).parent
DATA = STORED / "data-bin"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Transformer."""
    path = tmp_path_factory.mktemp("checkpoint") / "teacher.pt"
    path.write_bytes(lzma.decompress((STORED / "teacher.pt.xz").read_bytes()))
    return path


def files_of(folder: Path) -> list[Path]:
    """The signature twice, so that a try in three damages it."""
    return [*(path for path in sorted(folder.iterdir()) if path.is_file()), folder / "signature.json"]


def test_a_converted_model(checkpoint: Path, tmp_path: Path) -> None:
    task = open_databin(DATA, "test")
    folder = tmp_path / "converted"
    shutil.copytree(kept_conversion(str(checkpoint), task), folder)
    sources = [task.dataset("test").src[row] for row in range(2)]

    def read() -> Any:
        engine = CTranslate2Engine(folder, "float32", task)
        found = engine.translate(sources, DecodingOptions(beam=1, max_len_b=4))
        return engine.parameters, engine.max_source_positions, [[one.tokens for one in best] for best in found]

    assert_noticed("converted model", files_of(folder), read, tries=150)


def test_an_exported_folder(checkpoint: Path, tmp_path: Path) -> None:
    """As an export that is run again looks at it."""
    spm_of_symbols(tmp_path / "spm.model", open_dictionaries(DATA).source_dictionary.symbols[4:])
    folder = tmp_path / "out"

    def again() -> Path:
        return export(str(checkpoint), "ctranslate2", folder, str(DATA), spm_model=tmp_path / "spm.model")

    def read() -> Any:
        check_model(folder)
        return read_made(folder)

    again()
    assert_noticed("exported folder", files_of(folder), read, tries=200)
    assert again() == folder
    (folder / "spm.model").write_bytes(b"piece")
    with pytest.raises(UserError, match=r"spm\.model: damaged or missing"):
        again()


def test_a_sparse_export(checkpoint: Path, tmp_path: Path) -> None:
    sparse = export(str(checkpoint), "sparse", tmp_path / "sparse")

    def read() -> Any:
        state = unpack(sparse)
        model = {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in state["model"].items()}
        return model, str(state["cfg"]), str(state["args"])

    assert_noticed("sparse export", [sparse], read, tries=200)
