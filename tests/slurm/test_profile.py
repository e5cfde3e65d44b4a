"""scripts/profiles/slurm names each step, and gives its options to SLURM's executor as users read them."""

import re
from typing import Any

import yaml

from tests.slurm.experiment import PROFILE
from tests.support.commands import ROOT

SCRIPTS = ROOT / "scripts"
RULES = "".join(path.read_text() for path in (SCRIPTS / "Snakefile", *SCRIPTS.glob("*.smk")))
TEXT = (PROFILE / "config.yaml").read_text()
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
ON_CPUS = {"data", "teacher_data", "text", "distilled", "samples", "seq_inter", "corpus", "shortlist"}
LIGHT = {"gold_distilled", "joined", "init"}
"""Steps of seconds or minutes on one processor."""


def test_each_step_has_its_needs() -> None:
    rules = set(re.findall(r"^ *rule (\w+):", RULES, re.MULTILINE))
    local = set(re.findall(r"^localrules: (.*)", RULES, re.MULTILINE)[0].split(", "))
    assert local == {"raw", "table", "report"}
    assert set(CONFIG["set-threads"]) | LIGHT == rules - local
    # What runs a model has a GPU; what joins the shards has not.
    assert set(CONFIG["set-resources"]) == set(CONFIG["set-threads"]) - ON_CPUS
    for resources in CONFIG["set-resources"].values():
        assert set(resources) == {"slurm_partition", "gpu", "mem_mb", "runtime"}


def test_the_lines_to_change_are_marked() -> None:
    of_a_cluster = re.compile(r"slurm_partition:|slurm_account:|slurm-qos:|slurm-status-command:|jobs:|decode:")
    assert all("# CHANGE" in line for line in TEXT.splitlines() if of_a_cluster.search(line))
    assert TEXT.count("slurm_partition: gpu") == 2
