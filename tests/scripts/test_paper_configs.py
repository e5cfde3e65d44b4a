"""The YAML files that rebuild a paper's experiments: its figures, its models' sizes, its noise."""

import re
import shlex
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.evaluate.result_shapes import METRICS, MORE_METRICS, RISKS
from fairseq_kd.networks.second_copies import keep_one_copy
from tests.support.commands import ROOT
from tests.support.configs import CONFIGS, parse_training, read, row_options

WEI = [path for path in CONFIGS if path.parent.name == "wei_2024"]
WEI_SETS = {"iwslt14_de_en", "iwslt13_en_fr", "iwslt17_ar_en", "wmt14_en_de"}
MEASURES = {*METRICS, *MORE_METRICS}
# Wen et al. 2023, Table 2: the teacher, then the rows in the order of the files.
FDISTILL = {
    "wmt16_en_ro": {
        "bleu": "25.82 19.90 20.68 21.20 17.65 21.45 20.46 21.91 21.73",
        "chrf": "55.76 49.79 50.51 50.81 48.37 51.12 50.33 51.50 51.13",
        "ter": "60.57 69.48 68.38 67.66 84.02 66.74 70.78 66.86 66.94",
    },
    "dart": {
        "bleu": "48.56 43.12 45.60 45.54 44.40 46.24 45.63 46.85 46.95",
        "ter": "45.45 49.97 47.10 47.49 50.63 46.89 47.91 46.50 46.35",
    },
    "xsum": {
        "rouge1": "45.12 30.00 40.58 39.13 39.19 41.28 41.69 41.65 41.76",
        "rouge2": "22.26 10.67 17.79 17.53 16.18 18.98 19.02 19.22 19.30",
        "rougeL": "37.18 24.40 32.55 32.34 31.23 33.71 33.92 34.03 34.10",
    },
    "commonsense_dialogue": {
        "bleu1": "11.67 10.23 9.95 10.85 10.13 9.81 10.48 11.55 11.39",
        "bleu2": "5.03 3.56 3.63 4.17 4.26 3.52 4.01 4.83 4.73",
    },
}
# Table 3: TeacherDist in percent; then R_llh and R_cvg of KL, RKL, TVD and JS.
RISKS_OF = {
    "dart": "26.10 0.56 0.49 0.58 0.59 0.53 0.52 0.51 0.48",
    "xsum": "36.28 1.89 1.68 1.88 1.83 1.86 1.77 1.88 1.75",
    "wmt16_en_ro": "23.13 1.23 0.82 1.20 1.60 1.21 1.78 1.13 1.34",
    "commonsense_dialogue": "81.19 0.43 0.26 0.29 0.35 0.27 0.35 0.30 0.33",
}
SWAPS = {"moderate": 0.5, "high": 1}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_figures_of_a_paper_are_of_what_is_measured(path: Path) -> None:
    config = read(path)
    places = {"teacher_forced", *map(int, config["beams"].split())}
    for key, row in {**config["rows"], "teacher": {"paper": config.get("paper_teacher", {})}}.items():
        for place, figures in row.get("paper", {}).items():
            if place == "risks":
                assert set(figures) <= set(RISKS) and "risks" in config and min(figures.values()) > 0
                continue
            assert place in places and figures and set(figures) <= MEASURES, key
            assert all(isinstance(value, float) and 0 < value < 100 for value in figures.values()), key
            asked = config.get("scoring", "")
            assert set(figures) <= {*METRICS, *(["rouge1", "rouge2", "rougeL"] if "rouge" in asked else asked.split())}
            assert place != "teacher_forced" or set(figures) == {"bleu"}, key


@pytest.mark.parametrize("task", FDISTILL)
def test_the_rows_of_f_distill_have_the_papers_figures(task: str) -> None:
    """Wen et al. 2023, Tables 2 and 3. Every method goes on from the same pre-distilled student."""
    config = read(ROOT / "configs" / "fdistill_2023" / f"{task}.yaml")
    rows = config["rows"]
    names = ["MLE", "Pre-distill", "SeqKD", "ENGINE", "KL", "RKL", "JS", "TVD"]
    assert [row["name"] for row in rows.values()] == names
    assert [row.get("start") for row in rows.values()] == [None, None, *["pre_distill"] * 6]
    given = [config["paper_teacher"], *(row["paper"] for row in rows.values())]
    beam = int(config["beams"].split()[-1])
    for metric, figures in FDISTILL[task].items():
        assert [one[beam][metric] for one in given] == list(map(float, figures.split()))
    distinct, *risks = map(float, RISKS_OF[task].split())
    assert config["paper_teacher"]["risks"] == {"teacher_dist": pytest.approx(distinct / 100)}
    found = [tuple(rows[key]["paper"]["risks"].values()) for key in ("kl", "rkl", "tvd", "js")]
    assert found == list(zip(risks[::2], risks[1::2], strict=True))
    assert list(rows["kl"]["paper"]["risks"]) == ["likelihood_per_token", "coverage_per_token"]
    layers = parse_training(f"{config['training']} {config['student']} {rows['mle']['options']}")
    assert (layers.encoder_layers, layers.decoder_layers) == (3, 3 if task == "xsum" else 1)
    epochs = {key: parse_training(row_options(config, key)).max_epoch for key in rows}
    assert epochs == {key: 28 if key in ("mle", "pre_distill") else 12 for key in rows}


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
    keep_one_copy(model)  # of fairseq 0.12.2's two
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
