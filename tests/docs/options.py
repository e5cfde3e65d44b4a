"""All options that a page may name, by the command that takes them."""

import argparse
import re
from functools import cache
from typing import Any

from fairseq import options as fairseq_options
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY

import fairseq_kd
from tests.docs.pages import make_reference
from tests.support.commands import ROOT

FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
ELSEWHERE = {
    # Snakemake and its SLURM plugin
    *("--dry-run", "--config", "--profile", "--jobs", "--retries", "--set-scatter", "--slurm-status-command"),
    # sbatch, srun and apptainer
    *("--partition", "--nodes", "--ntasks", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task", "--mem"),
    *("--time", "--cpu-bind", "--export", "--wrap", "--nv", "--bind"),
    # ct2-fairseq-converter, and fairseq's multilingual task
    *("--model_path", "--data_dir", "--fixed_dictionary", "--source_lang", "--target_lang", "--output_dir"),
    *("--user_dir", "--encoder-langtok", "--decoder-langtok"),
    # pip, mkdocs
    *("--no-build-isolation", "--strict"),
    "--help",
}
"""Options of other programs that the pages name."""


def flags(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a parser."""
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")}


@cache
def verbs() -> dict[str, set[str]]:
    """The options of each verb of `fairseq-kd`."""
    return {verb: flags(parser) for verb, parser in make_reference().verb_parsers().items()}


@cache
def training() -> set[str]:
    """The options of fairseq-train with this plugin: those of every criterion, and of what the pages train with."""
    fairseq_kd.register()
    found = flags(fairseq_options.get_training_parser())
    registered = [*CRITERION_DATACLASS_REGISTRY.values(), TASK_REGISTRY["translation"], TASK_REGISTRY["translation_kd"]]
    registered += [
        TASK_REGISTRY["translation_multi_simple_epoch_kd"],
        TASK_REGISTRY["translation_from_pretrained_bart"],
    ]
    registered += [ARCH_MODEL_REGISTRY["transformer"], ARCH_MODEL_REGISTRY["lstm"]]
    # The page on non-autoregressive students
    registered += [ARCH_MODEL_REGISTRY["nonautoregressive_transformer"], TASK_REGISTRY["translation_lev"]]
    for registry in ("optimizer", "lr_scheduler"):
        registered += REGISTRIES[registry]["registry"].values()
    return found.union(*map(_added_by, registered))


def _added_by(one: Any) -> set[str]:
    """The options of a registered class, or of a dataclass, as fairseq adds them."""
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    config = one if hasattr(one, "__dataclass_fields__") else getattr(one, "__dataclass", None)
    if config is not None:
        gen_parser_from_dataclass(parser, config())
    elif hasattr(one, "add_args"):
        one.add_args(parser)
    return flags(parser)


@cache
def other_fairseq_commands() -> dict[str, set[str]]:
    """The options of fairseq's other commands."""
    return {
        "fairseq-generate": flags(fairseq_options.get_generation_parser()) | training(),
        "fairseq-preprocess": flags(fairseq_options.get_preprocessing_parser()),
    }


@cache
def scripts() -> dict[str, set[str]]:
    """The options that each script's own text names; what it passes on is not among them."""
    return {path.name: set(FLAG.findall(path.read_text())) for path in (ROOT / "scripts").glob("*.sh")}


@cache
def everywhere() -> set[str]:
    """All options of all commands."""
    known = ELSEWHERE | training()
    for found in (verbs(), other_fairseq_commands(), scripts()):
        known |= set[str]().union(*found.values())
    return known


def taken_by(words: list[str]) -> set[str] | None:
    """The options that a command takes; None for a command that the pages do not have to get right.

    Raises:
        KeyError: `fairseq-kd` has no such verb.
    """
    names = [word.rpartition("/")[2] for word in words]
    if names[0] == "fairseq-kd":
        return None if names[1:] in ([], ["--version"], ["VERB", "--help"]) else taken_by_verb(names[1:])
    if names[0] == "fairseq-train":
        return training()
    if names[0] in other_fairseq_commands():
        return other_fairseq_commands()[names[0]]
    return taken_by_script(names[1]) if names[0] == "bash" and len(names) > 1 else None


def taken_by_verb(names: list[str]) -> set[str]:
    """The options of a verb of `fairseq-kd`, and of what it hands them on to.

    Raises:
        KeyError: there is no such verb.
    """
    handed_on: dict[str, set[str] | None] = {"train": training(), "run": ELSEWHERE}
    if names[0] == "script" and len(names) > 1:
        handed_on["script"] = taken_by_script(f"{names[1].replace('-', '_')}.sh")
    return verbs()[names[0]] | {"--help"} | (handed_on.get(names[0]) or set())


def taken_by_script(script: str) -> set[str] | None:
    """The options of a script; None for a file that is no script of this repository."""
    passes_on = {
        "train.sh": training(),
        "prune_and_retrain.sh": training(),
        "generate_distilled_corpus.sh": verbs()["decode"],
        "prepare_data.sh": verbs()["prepare"],
    }
    if script in passes_on:
        return scripts()[script] | passes_on[script]
    if script in scripts():
        return scripts()[script] | ELSEWHERE
    return None
