"""Each YAML in configs/: what the workflow reads is there, fairseq takes its options, and a dry run plans its jobs."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from fairseq_kd.cli import noise
from fairseq_kd.cli.command_line import VERBS, verb_module
from fairseq_kd.compress.prune import SCHEMES
from fairseq_kd.corpus.token_noise import TokenNoise
from fairseq_kd.report.experiment.reader import read_experiment
from fairseq_kd.study.axis import SCALES
from tests.support.commands import ROOT, run_command
from tests.support.configs import CONFIGS, parse_training, read, row_options
from tests.support.files import contents
from tests.support.scripts import shell

SNAKEFILE = ROOT / "scripts" / "Snakefile"
RULES = "".join(path.read_text() for path in (SNAKEFILE, *SNAKEFILE.parent.glob("*.smk")))
TEACHER = "teacher/checkpoint_best.pt"
MADE = ("distilled", "samples", "seq_inter", "gold_distilled")
DATA = {"gold": "data/data-bin"} | {made: f"{made}/data-bin" for made in MADE}
LIVE = ("token_kd", "f_distill", "pre_distill", "hybrid_kd")
OPTIONAL = {"init", "start", "seeds", "paper"}


def data_of(config: dict[str, Any]) -> dict[str, str]:
    """The data-bin of each word that a row's data can be made of."""
    own = [(name, f"{key}/{name}/data-bin") for key in ("corpora", "texts") for name in config.get(key, {})]
    return DATA | dict(own)


def databin(config: dict[str, Any], row: dict[str, Any]) -> str:
    """The data-bin that a row is trained on."""
    return f"joined/{row['data']}/data-bin" if "+" in row["data"] else data_of(config)[row["data"]]


def sparsities(config: dict[str, Any]) -> list[float]:
    """Of the models that are pruned in a chain."""
    return config.get("pruning", {}).get("sparsities", [])


WEI = [path for path in CONFIGS if path.parent.name == "wei_2024"]
STUDIES = [path for path in CONFIGS if path.stem.startswith("study_")]
CASES = [(path, point) for path in CONFIGS for point in read(path).get("points", [None])]
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
every_case = pytest.mark.parametrize(("path", "point"), CASES, ids=[f"{path.stem}-{point}" for path, point in CASES])
# A point's options are walked elsewhere: its jobs are those of the others. So are those of a level of noise.
LAST = {path: point for path, point in CASES if "_noise_" not in path.stem or path.stem == "iwslt14_de_en_noise_high"}
last_of_each = pytest.mark.parametrize(("path", "point"), LAST.items(), ids=[path.stem for path in LAST])


def test_there_are_configs() -> None:
    assert {"quickstart", "multi30k"} <= {path.stem for path in CONFIGS}
    assert "multi30k" in {path.stem for path in JOINED}
    names = [read(path)["name"] for path in CONFIGS if path not in STUDIES]
    assert len(set(names)) == len(names)


@every_case
def test_the_keys_are_those_that_are_read(path: Path, point: float | None) -> None:
    config = read(path, point)
    required = set(re.findall(r"""config\[["']?(\w+)["']?\]""", RULES))
    optional = set(re.findall(r"""(?:config\.get|distilling)\(["'](\w+)["']""", RULES))
    optional |= {"paper_teacher", "ready_teacher"}  # fairseq-kd table and read_teacher read them
    # scripts/quickstart.sh reads the name, scripts/study.sh the axis
    assert set(config) - optional == required | {"name" if point is None else "axis"}
    assert len(set(config["languages"])) == 2
    assert isinstance(config["vocabulary"], int) or config["vocabulary"] == "teacher"
    assert config["seeds"] and all(isinstance(seed, int) for seed in config["seeds"])
    for key, row in config["rows"].items():
        assert re.fullmatch(r"[a-z]\w*", key) and set(row) - OPTIONAL == {"name", "data", "options"}
        assert set(row["data"].split("+")) <= set(data_of(config))
        assert row.get("start", "teacher") in {
            "teacher",
            *config["rows"],
        } - {key}
    names = [row["name"] for row in config["rows"].values()]
    assert len({*names, "Teacher"}) == len(names) + 1
    assert config["baseline"] in names
    runs = ["teacher", *config["rows"], *(f"pruned.{sparsity}" for sparsity in sparsities(config))]
    assert set(config.get("cost", [])) <= set(runs)
    assert ("seq_inter" in config) <= any(row["data"] == "seq_inter" for row in config["rows"].values())
    if "pruning" in config:
        assert set(config["pruning"]) == {"of", "sparsities", "scheme", "options"}
        assert config["pruning"]["of"] in config["rows"] and config["pruning"]["scheme"] in SCHEMES
        assert sparsities(config) == sorted(set(sparsities(config))) and sparsities(config)[0] > 0


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_points_of_a_study_change_one_key(path: Path) -> None:
    config = read(path)
    (changed,) = {tuple(keys) for keys in config["points"].values()}
    assert len(changed) == 1 and changed[0] not in config
    assert list(config["points"]) == sorted(config["points"]) and len(config["points"]) >= 3
    assert set(config["axis"]) == {"label", "scale"} and config["axis"]["scale"] in SCALES
    assert config["axis"]["scale"] == "linear" or min(config["points"]) > 0
    assert [row["name"] for row in config["rows"].values()] == ["Word-KD", "Seq-KD", "Hybrid"]


def test_the_token_noise_is_that_of_the_paper() -> None:
    """Wei et al. 2024: 10 % deleted, 10 % substituted, swaps with a probability of 50 or 100 %, or no noise at all."""
    points = read(ROOT / "configs" / "study_token_noise.yaml")["points"]
    assert list(points) == [0, 50, 100] and "fairseq-kd noise" not in points[0]["raw"]
    for swap in (50, 100):
        parser = argparse.ArgumentParser()
        noise.add_arguments(parser)
        words = shlex.split(points[swap]["raw"].split("fairseq-kd noise")[1])
        assert noise.read_noise(parser.parse_args(words)) == TokenNoise(0.1, 0.1, swap / 100, "source")


@every_config
def test_the_header_names_the_command(path: Path) -> None:
    header = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8"))
    name = str(path.relative_to(ROOT / "configs").with_suffix(""))
    command = ["bash", "scripts/quickstart.sh", *([] if name == "quickstart" else [name])]
    if path in STUDIES:
        command = ["bash", "scripts/study.sh", path.stem.removeprefix("study_")]
    assert header and command in [line.split()[1 : 1 + len(command)] for line in header[0].splitlines()]


@every_case
def test_fairseq_takes_the_options(path: Path, point: float | None) -> None:
    config = read(path, point)
    teacher = parse_training(f"{config['training']} {config.get('teacher', '')}")
    convert_namespace_to_omegaconf(teacher)  # once: it takes a second
    assert teacher.criterion != "token_kd" and teacher.teacher_path is None
    for key, row in config["rows"].items():
        student = parse_training(row_options(config, key))
        assert student.task == teacher.task
        # Wei et al. train students that are larger than their teacher too.
        assert student.encoder_embed_dim <= teacher.encoder_embed_dim or path in WEI, key
        if student.teacher_cache:
            assert student.teacher_cache in [f"caches/{data}" for data in config["cache"]], key
            on_distilled = str(getattr(student, "gate_token_prefixes", "gold")) == "distilled"
            assert Path(student.teacher_cache).name == ("distilled" if on_distilled else row["data"]), key
        live = student.criterion in LIVE and not student.teacher_cache
        known = {TEACHER: DATA["gold"]} | {
            f"students/{row}.1/checkpoint_best.pt": DATA["gold"] for row in config["rows"]
        }
        if "teacher_vocabulary" in config:
            known[TEACHER] = "teacher_data/data-bin"
        assert (student.teacher_path in known) == live and student.teacher_data == known.get(student.teacher_path), key


FAIR = [path for path in CONFIGS if path.stem in {"quickstart", "multi30k", "hybrid"} or path in STUDIES]


@pytest.mark.parametrize("path", FAIR, ids=lambda path: path.stem)
def test_every_row_has_the_same_label_smoothing(path: Path) -> None:
    """It moves BLEU and mode mass by itself."""
    config = read(path, next(iter(read(path).get("points", [None]))))
    rows = {key: parse_training(row_options(config, key)) for key in config["rows"]}
    # Wei et al. 2024 have none, and there it would move the gate, too.
    assert {row.label_smoothing for key, row in rows.items() if not key.startswith("paper")} == {0.1}
    assert {row.label_smoothing for key, row in rows.items() if key.startswith("paper")} <= {0.0}


JOINED = [path for path in CONFIGS if any(row["data"] == "gold_distilled" for row in read(path)["rows"].values())]


@pytest.mark.parametrize("path", JOINED, ids=lambda path: path.stem)
def test_gold_and_distilled_rows_together_have_half_of_the_epochs_of_others(path: Path) -> None:
    """An epoch over both is twice as long: the same number of tokens."""
    config = read(path)
    epochs = {key: parse_training(row_options(config, key)).max_epoch for key in config["rows"]}
    joined = {key for key, row in config["rows"].items() if row["data"] == "gold_distilled"}
    assert {2 * epochs[key] for key in joined} <= {epochs[key] for key in epochs.keys() - joined}


@pytest.mark.parametrize("path", [path for path in CONFIGS if "fine_tuning" in read(path)], ids=lambda path: path.stem)
def test_the_last_value_counts(path: Path) -> None:
    """What is trained on is so with the fine-tuning's rate and epochs, and pruned with those of the pruning."""
    config = read(path)
    first, later = (parse_training(f"{config['training']} {config[key]}") for key in ("student", "fine_tuning"))
    for key in (key for key, row in config["rows"].items() if "start" in row):
        row = parse_training(row_options(config, key))
        assert row.max_epoch == later.max_epoch < first.max_epoch and row.lr == later.lr < first.lr
        assert row.lr_scheduler == later.lr_scheduler
    if "pruning" not in config:
        return
    pruning = config["pruning"]
    retrained = parse_training(f"{row_options(config, pruning['of'])} {pruning['options']} --keep-zeros")
    assert retrained.max_epoch == parse_training(f"{config['training']} {pruning['options']}").max_epoch
    assert retrained.keep_zeros and retrained.task == "translation_kd"


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.parent.name == "kim_rush_2016"], ids=lambda p: p.stem
)
def test_the_lstm_that_is_pruned_is_the_papers(path: Path) -> None:
    """Kim & Rush 2016, Table 4: the student of Seq-KD and Seq-Inter, pruned by 50, 80, 85 and 90 %."""
    config = read(path)
    assert config["rows"][config["pruning"]["of"]]["name"] == "Seq-KD + Seq-Inter"
    assert {0.5, 0.8, 0.85, 0.9} <= set(sparsities(config))


@every_config
def test_the_verbs_take_their_options(path: Path) -> None:
    config = read(path)
    scoring = config.get("scoring", "")
    more = {
        "decode": [config.get(key, "") for key in ("distilled", "seq_inter")],
        "evaluate": [scoring, *(f"{scoring} {options}" for options in config.get("variants", {}).values())],
    }
    for verb, beams in (("decode", "5"), ("evaluate", config["beams"])):
        parser = argparse.ArgumentParser()
        verb_module(verb).add_arguments(parser)
        for words in more[verb]:
            parser.parse_args(shlex.split(f"--model m --data d --output o --beam {beams} {config['decoding']} {words}"))


@every_case
def test_the_raw_text_comes_from_commands_that_exist(path: Path, point: float | None) -> None:
    raw = read(path, point)["raw"].format(scripts=ROOT / "scripts", output="raw")
    for call in raw.split("&&"):
        command, what, *options = shlex.split(call)
        assert (command == "fairseq-kd" and what in VERBS) or (command == "bash" and Path(what).is_file())
        if command == "fairseq-kd":
            parser = argparse.ArgumentParser()
            verb_module(what).add_arguments(parser)
            parser.parse_args(options)
    assert "raw" in options  # the last one writes there


@last_of_each
def test_a_dry_run_plans_every_student(path: Path, point: float | None, tmp_path: Path) -> None:
    pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")
    config = read(path, point)
    if path.stem == "quickstart":
        done = shell("run.sh", "--output", "out", path, "-n", "-p", folder=tmp_path)
        assert done.returncode == 0, done.stderr
    else:  # what run.sh starts, after it has read the file in two more processes
        read_experiment(path, complete=True, option="")
        words = ["--snakefile", SNAKEFILE, "--configfile", path, "--directory", tmp_path, "--cores", "2"]
        done = run_command("snakemake", "-n", "-p", *words, *([] if point is None else ["--config", f"point={point}"]))
    planned = done.stdout + done.stderr
    jobs = {job: int(count) for job, count in re.findall(r"^(\w+) +(\d+)$", planned, re.MULTILINE)}
    runs = [(key, seed) for key, row in config["rows"].items() for seed in row.get("seeds", config["seeds"])]
    students = len(runs)
    once = dict.fromkeys(("raw", "data", "teacher", "table", "report"), 1)
    once["score_teacher"] = scored = int(path.stem != "outside_teacher")
    trained = int("ready_teacher" not in config)
    rows = config["rows"].values()
    named = {name for row in rows for name in row["data"].split("+")}
    once |= {"corpus": len(named & set(config.get("corpora", {}))), "text": len(named & set(config.get("texts", {})))}
    once["joined"] = sum("+" in data for data in {row["data"] for row in rows})
    once["teacher_data"] = int("teacher_vocabulary" in config)
    for made in MADE:
        once[made] = int(made in named or any(DATA[made] in row["options"].split() for row in rows))
    once["distilled"] |= once["gold_distilled"]
    once["shortlist"] = int(any("--shortlist shortlist" in one for one in config.get("variants", {}).values()))
    once |= {"cache": len(config.get("cache", {})), "init": sum("init" in row for row in rows)}
    once["diagnosis"] = int(path in STUDIES)
    variants = config.get("variants", {})
    many = {"student": students, "score_student": students, "score_variant": (scored + students) * len(variants)}
    once["pruning"], many["score_pruned"] = int("pruning" in config), len(sparsities(config))
    once["risks_teacher"], many["risks_student"] = (1, students) if config.get("risks") else (0, 0)
    expected = {job: count for job, count in (once | many).items() if count}
    assert jobs == {**expected, "total": sum(expected.values())}
    for key, seed in runs:
        data = re.escape(databin(config, config["rows"][key]))
        training = rf"train\.sh students/{key}\.{seed} {data} --seed {seed} "
        assert len(re.findall(training, planned)) == 1
    costly = costly_runs(config) + (1 + students) * sum("--cost" in one for one in variants.values())
    assert planned.count(f" --cost --teacher {TEACHER}") == costly
    saved = re.findall(r"--output (scores/\S+\.json) --save-outputs (\S+) ", planned)
    total = (scored + students) * (1 + len(variants)) + len(sparsities(config))
    assert len(set(saved)) == total and all(f"{one}l" == text for one, text in saved)
    for variant, options in variants.items():
        calls = re.findall(rf"--name '([^']+), {variant}' --seed \d+ --output \S+ --save-outputs \S+ (.*)", planned)
        assert {name for name, _ in calls} == {"Teacher", *(row["name"] for row in rows)}
        assert all(line.rstrip().endswith(" ".join(options.split())) for _, line in calls)
    (page,) = re.findall("fairseq-kd report table/table.json (.*) --output table/report.html", planned)
    assert set(page.split()) == {file for pair in saved for file in pair}
    logs = re.findall(r"=(?:teacher|students/\w+\.\d+|pruning/[\d.]+/retrained)/train\.log", planned)
    assert len(set(logs)) == len(logs) == trained + students + len(sparsities(config))
    assert {Path(name).name for name in contents(tmp_path) if ".snakemake" not in name} <= {"lock"}


def costly_runs(config: dict[str, Any]) -> int:
    """How many scorings measure costs: a row's all seeds."""
    rows = {key: len(row.get("seeds", config["seeds"])) for key, row in config["rows"].items()}
    return sum(rows.get(name, 1) for name in config.get("cost", []))
