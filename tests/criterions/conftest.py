"""Fixtures of this room's tests."""

from pathlib import Path

import pytest

from tests.support.shared import made_once
from tests.support.two_vocabularies import make_two_vocabularies


@pytest.fixture(scope="session")
def two_vocabularies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:func:`make_two_vocabularies`."""
    return made_once(tmp_path_factory, "two-vocabularies", make_two_vocabularies)
