"""Models of other makers for the tests of this room, each made once a run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.decoding.open_text import open_translator
from fairseq_kd.decoding.outside.convert import import_transformers
from fairseq_kd.errors import UserError
from tests.support.outside import make_m2m, make_marian
from tests.support.outside_fairseq import make_fairseq
from tests.support.shared import made_once

FAMILIES = {
    "opus-mt": make_marian,
    "nllb": lambda folder: make_m2m(folder, "nllb"),
    "m2m100": lambda folder: make_m2m(folder, "m2m100"),
    "mbart50": lambda folder: make_m2m(folder, "mbart50"),
}
"""How each family's folder is made; transformers makes it."""

LANGUAGES = {
    "opus-mt": (None, "deu", "fra"),
    "nllb": ("eng_Latn", "deu_Latn", "fra_Latn"),
    "m2m100": ("en", "de", "fr"),
    "mbart50": ("en_XX", "de_DE", "fr_XX"),
    "fairseq-multilingual": ("en", "de", "fr"),
}
"""English, German and French as each family writes them."""


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The Hugging Face folder of a family, for tests to read."""
    try:
        import_transformers()
    except UserError:
        pytest.skip("transformers is not installed; pip install -e '.[hf]'")
    return lambda family: made_once(tmp_path_factory, family, FAMILIES[family])


@pytest.fixture(scope="session")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with multilingual.pt, its dictionary, and in ctranslate2/ its conversion with spm.model."""
    return made_once(tmp_path_factory, "fairseq-multilingual", make_fairseq)


@pytest.fixture
def nllb(hugging_face: Callable[[str], Path], tmp_path: Path) -> Path:
    """A Hugging Face folder that a test may damage."""
    return shutil.copytree(hugging_face("nllb"), tmp_path / "nllb")


def told(folder: Path, **options: Any) -> str:
    """The error of opening a folder, which is one line."""
    with pytest.raises(UserError) as error:
        open_translator(str(folder), **options)
    assert "\n" not in str(error.value)
    return str(error.value)
