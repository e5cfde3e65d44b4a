"""Damaged YAML, which people write: nothing proves what it should say, but an error is one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.decoding.outside.profile import Given, read_profile
from fairseq_kd.errors import UserError
from fairseq_kd.report.experiment import read_experiment
from fairseq_kd.report.paper_figures import read_paper
from fairseq_kd.study.points import read_methods
from tests.support.commands import ROOT
from tests.support.configs import CONFIGS
from tests.support.damage import assert_told

PROFILE = """\
profile: nllb
source_lang: eng_Latn
target_lang: deu_Latn
source_spm: spm.model
source_prefix: "{source_lang} x"
casing: lower
"""


@pytest.mark.parametrize("name", ["study_size.yaml", "wei_2024/iwslt14_de_en.yaml"])
def test_an_experiment(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    shutil.copy(ROOT / "configs" / name, path)

    def read() -> Any:
        names = ["Word-KD", "Seq-KD", "Token-level"]
        return read_methods(path, names), read_paper(path, "Teacher"), read_experiment(path, complete=True)

    assert_told(f"configuration: {Path(name).name}", [path], read, tries=60)


def test_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    (tmp_path / "spm.model").write_bytes(b"pieces")
    assert_told("profile of an outside teacher", [path], lambda: read_profile(str(path), tmp_path, Given()), tries=200)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_configuration_is_whole(path: Path) -> None:
    assert read_experiment(path, complete=True)["rows"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 40 + "]" * 40, "nested deeper than 32"),
        ("- " * 5_000, "nested too deeply"),
        ("a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in
         zip("abcdefghij", "bcdefghijk", strict=True)), "more than 100,000 values"),
        ("a: &a [*a]", "nested deeper than 32"),
        ("a: 2001-99-99", "is not YAML"),
        ("title: 3", r"title: 3 is no text"),
        ("rows: {a: {seeds: [x]}}", r"rows\.a\.seeds\.0: 'x' is no whole number"),
        ("# " + "x" * (1 << 20), "is larger than 1 MiB"),
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_experiment_is_told_with_its_key(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"config\.yaml: {told}|config\.yaml: .*{told}"):
        read_experiment(tmp_path / "config.yaml")
