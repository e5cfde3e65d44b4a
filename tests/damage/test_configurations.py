"""Damaged YAML, which people write: nothing proves what it should say, but an error is one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.decoding.outside.profile import Given, read_profile
from fairseq_kd.errors import UserError
from fairseq_kd.report.experiment.reader import read_experiment
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


WHOLE = """\
# a comment, and a key of the user's own
x-shared: &options --criterion fused_cross_entropy
title: T
languages: [a, b]
raw: make {output}
vocabulary: 100
training: ""
teacher: ""
student: ""
decoding: ""
beams: 1 5
seeds: [1]
baseline: Plain
rows:
  plain:
    name: Plain
    data: gold
    options: *options
"""
POINTS = """\
axis: {label: Size, scale: log}
points:
  0.5: {student: --small}
  1: {student: 3}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title: T", "titles: T", "line 3, titles: is no known key; did you mean 'title'?"),
        ("title: T\n", "", "line 2, title: is missing"),
        ("vocabulary: 100", "vocabulary: many", "line 6, vocabulary: 'many' is no whole number"),
        ("data: gold", "data: distiled", "line 17, rows.plain.data: there is no 'distiled'; did you mean 'distilled'?"),
        ("    data: gold\n", "", "line 15, rows.plain.data: is missing"),
        ("data: gold", "data: gold\n    starts: plain", "line 18, rows.plain.starts: is no known key; did you mean"),
        ("data: gold", "data: gold\n    start: plain", "line 18, rows.plain.start: there is no 'plain'; choose from"),
        ("baseline: Plain", "baseline: plain", "line 13, baseline: there is no 'plain'; did you mean 'Plain'?"),
        ("seeds: [1]", "seeds:\n- 1\n- x", "line 14, seeds.1: 'x' is no whole number"),
        ("seeds: [1]", "seeds: []", "line 12, seeds: there are none; give one or more"),
        ("seeds: [1]", "seeds: [3, 1, 3]", "line 12, seeds: a seed is there twice"),
        ("seeds: [1]", "seeds: [1]\ncost: [plain, plane]", "line 13, cost.1: there is no 'plane'; did you mean"),
        ("seeds: [1]", "seeds: [1]\npoints: {1: {}}", "line 2, axis: is missing"),
        ("seeds: [1]", "seeds: [1]\npoints: {}", "line 13, points: there are none"),
        ("seeds: [1]", "seeds: [1]\nname: a/../x", "line 13, name: 'a/../x' is no name of a folder"),
        ("seeds: [1]", f"seeds: [1]\n{POINTS}", "line 16, points.1, student: 3 is no text"),
        ("seeds: [1]", "seeds: [1]\nname: 'a\n\n  b'", "line 13, name: 'a\\nb' is no name of a folder"),
        ("title: T", "title: |\n  one\n  two", "line 3, title: has several lines; write it in one"),
        ("title: T\n", "axis: {label: l, scale: log}\npoints: {1: {title: T}}\n", "line 2, title: is missing"),
        ("languages: [a, b]", "languages: [nb, no]", "line 4, languages.1: False is no text; put it into quotes"),
        (
            "seeds: [1]",
            "seeds: [1]\nbeams: 7",
            "line 13, beams: this key is there twice, and YAML would drop the first",
        ),
        ("rows:\n", "rows:\n  plain: {name: A, data: gold, options: a}\n", "line 16, plain: this key is there twice"),
        ("    data: gold\n", "    data: gold\n    data: gold\n", "line 18, data: this key is there twice"),
    ],
    ids=range(23),
)
def test_a_mistake_in_an_experiment_is_told_with_file_line_and_key(
    old: str, new: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(WHOLE)
    assert read_experiment(path, complete=True)["rows"]["plain"]["options"] == "--criterion fused_cross_entropy"
    assert WHOLE.count(old) == 1
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(UserError) as error:
        read_experiment(path, complete=True)
    assert str(error.value).startswith(f"fairseq_kd: error: --config {path}: {told}")


def test_a_key_that_a_mapping_takes_from_another_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = WHOLE.replace("  plain:\n", "  plain: &row\n")
    text = text.replace("seeds: [1]", "seeds: [1]\nx-more: &more {seeds: [2]}")
    path.write_text(text + "  other: {<<: *row, name: Other}\n  two: {<<: *row, <<: *more, name: Two}\n")
    rows = read_experiment(path, complete=True)["rows"]
    assert rows["other"]["name"] == "Other" and rows["two"]["data"] == "gold" and rows["two"]["seeds"] == [2]


def test_a_file_for_a_table_may_have_other_keys(tmp_path: Path) -> None:
    """Whoever trained by hand gives `fairseq-kd table` the names and figures alone."""
    path = tmp_path / "mine.yaml"
    path.write_text("mine: 3\nrows: {a: {name: A, note: x, paper: {5: {bleu: 3}}}}\n")
    assert read_paper(path, None) == {"A": {"5": {"bleu": 3.0}}}
