"""Teachers of fairseq's multilingual tasks and bilingual students, by real commands."""

from pathlib import Path

import pytest

from fairseq_kd.corpus.decode import decode
from fairseq_kd.decoding.options import DecodingOptions
from tests.support.multilingual import KINDS, generated, train_teacher, write_data
from tests.support.shared import made_once

SHORT = DecodingOptions(max_len_b=12)
TAGGED = tuple(KINDS)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "multilingual", write_data)


@pytest.fixture(scope="session")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The teacher of a kind; it is trained when it is first asked for."""

    def trained(kind: str) -> Path:
        folder = made_once(tmp_path_factory, f"multi-{kind}", lambda new: train_teacher(data, new, kind))
        return folder / "checkpoint_last.pt"

    return trained


def decoded(folder: Path, subset: str = "test") -> list[str]:
    return (folder / f"{subset}.de").read_text().splitlines()


@pytest.mark.parametrize("kind", TAGGED)
def test_decode_gives_what_fairseq_generate_gives(
    data: Path, teacher: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    decode(str(teacher(kind)), data / "de", tmp_path, SHORT, subset="test")
    texts = [line.split(" ", 1)[1] for line in generated(data, teacher(kind), kind)]
    assert decoded(tmp_path) == texts
    gold = (data / "test.en-de.de").read_text().splitlines()
    # The teacher has learnt something, so that the tokens matter.
    assert sum(a == b for a, b in zip(texts, gold, strict=True)) > 20
