"""The YAML files that rebuild a paper's experiments: its figures, its models' sizes, its noise."""

import re
import shlex
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask

from tests.support.commands import ROOT
from tests.support.configs import CONFIGS, parse_training, read

WEI = [path for path in CONFIGS if path.parent.name == "wei_2024"]
WEI_SETS = {"iwslt14_de_en", "iwslt13_en_fr", "iwslt17_ar_en", "wmt14_en_de"}
METRICS = {"bleu", "chrf", "ter"}
SWAPS = {"moderate": 0.5, "high": 1}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_figures_of_a_paper_are_of_what_is_measured(path: Path) -> None:
    config = read(path)
    places = {"teacher_forced", *map(int, config["beams"].split())}
    for key, row in {**config["rows"], "teacher": {"paper": config.get("paper_teacher", {})}}.items():
        for place, figures in row.get("paper", {}).items():
            assert place in places and figures and set(figures) <= METRICS, key
            assert all(isinstance(value, float) and 0 < value < 100 for value in figures.values()), key
            assert place != "teacher_forced" or set(figures) == {"bleu"}, key


def test_the_configs_of_a_paper_have_its_figures() -> None:
    """Wei et al. 2024: every row. Kim & Rush 2016: four rows and the teacher."""
    assert all("paper" in row for path in WEI for row in read(path)["rows"].values())
    assert {path.stem for path in WEI if "paper_teacher" in read(path)} == WEI_SETS
    config = read(ROOT / "configs" / "kim_rush_2016" / "wmt14_en_de_2x500.yaml")
    gains = {row["name"]: row["paper"] for row in config["rows"].values() if "paper" in row}
    best, baseline = gains["Seq-KD + Seq-Inter + Word-KD"], gains["No distillation"]
    assert len(gains) == 4 and best[1]["bleu"] - baseline[1]["bleu"] == pytest.approx(4.1)
    assert config["paper_teacher"] == {1: {"bleu": 17.7}, 5: {"bleu": 19.5}}


def parameters(options: str) -> int:
    """Of a Transformer with these options and 32,000 subwords, which share one embedding."""
    found = dict(re.findall(r"--encoder-(\S+) (\d+)", options))
    assert found.items() == dict(re.findall(r"--decoder-(\S+) (\d+)", options)).items()
    width, inner, layers = (int(found[key]) for key in ("embed-dim", "ffn-embed-dim", "layers"))
    attention, norm = 4 * width * (width + 1), 2 * width
    feed_forward = 2 * width * inner + inner + width
    return 32000 * width + layers * (3 * attention + 2 * feed_forward + 5 * norm)


def test_parameters_are_those_of_fairseqs_model() -> None:
    options = read(WEI[0])["teacher"]
    dictionary = Dictionary()
    for number in range(32000 - len(dictionary)):
        dictionary.add_symbol(str(number))
    cfg = convert_namespace_to_omegaconf(parse_training(f"--arch transformer --share-all-embeddings {options}"))
    model = TranslationTask(cfg.task, dictionary, dictionary).build_model(cfg.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(options)


@pytest.mark.parametrize("stem", sorted(WEI_SETS))
def test_the_students_have_the_papers_sizes(stem: str) -> None:
    config = read(ROOT / "configs" / "wei_2024" / f"{stem}.yaml")
    for key, row in config["rows"].items():
        size = int(re.match(r"(\d+)M, ", row["name"])[1])
        assert round(parameters(f"{config['student']} {row['options']}") / 1e6) == size, key
    teacher = round(parameters(config["teacher"]) / 1e6)
    assert f"A plain Transformer of {teacher} million" in (ROOT / "configs" / "wei_2024" / f"{stem}.yaml").read_text()
    assert f"{teacher}M, sentence-level" == config["baseline"]


@pytest.mark.parametrize("path", [path for path in WEI if "_noise_" in path.stem], ids=lambda path: path.stem)
def test_noise_is_all_that_the_noisy_configs_change(path: Path) -> None:
    stem, level = path.stem.split("_noise_")
    noisy, clean = read(path), read(path.with_name(f"{stem}.yaml"))
    first, second = noisy["raw"].split("&&")
    assert shlex.split(first) == shlex.split(clean["raw"].replace("{output}", "clean"))
    assert f"--swap {SWAPS[level]} " in second
    for key, row in noisy["rows"].items():
        assert {**row, "paper": 0} == {**clean["rows"][key], "paper": 0}
    same = {key: value for key, value in clean.items() if key not in {"name", "title", "raw", "rows", "baseline"}}
    assert {key: noisy.get(key, same["paper_teacher"]) for key in same} == same
