"""scripts/generate_distilled_corpus.sh in shares, for several machines or jobs, and the workflow's plan of them."""

import re
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.files import contents
from tests.support.scripts import shell


def test_shares_make_what_one_run_makes(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["--model", tiny_teacher, "--data", tiny_corpus, "--beam", 2, "--max-len-b", 9, "--block-rows", 100]
    script = "generate_distilled_corpus.sh"
    verbose = {"FAIRSEQ_KD_VERBOSE": "1"}
    for share, rows in ((1, 100), (0, 200)):
        done = shell(script, *words, "--output", "shared", "--shards=2", f"--shard={share}", folder=tmp_path, **verbose)
        assert done.returncode == 0 and f"{rows} of {rows} rows to decode" in done.stderr, done.stderr
        assert {path.name for path in (tmp_path / "shared").iterdir()} == {"parts"}
    again = shell(script, *words, "--output", "shared", folder=tmp_path, **verbose)
    assert again.returncode == 0 and "rows to decode" not in again.stderr, again.stderr
    assert shell(script, *words, "--output", "whole", folder=tmp_path).returncode == 0
    shared, whole = (contents(tmp_path / folder / "data-bin") for folder in ("shared", "whole"))
    assert shared.keys() == whole.keys() and whole["train.src-tgt.tgt.bin"]
    assert shared == whole


def test_the_workflow_plans_a_job_for_each_share(tmp_path: Path) -> None:
    pytest.importorskip("snakemake", reason="Snakemake 9 needs Python 3.11")
    config = ROOT / "configs" / "multi30k.yaml"
    options = ("--output", tmp_path, config, "--dry-run", "-p", "--set-scatter", "decode=3")
    done = shell("run.sh", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = set(re.findall(r"--output (\w+) .*--shards (\d+)(?: --shard (\d+))?$", done.stdout + done.stderr, re.M))
    both = ("distilled", "seq_inter")
    assert planned == {(made, "3", str(share)) for made in both for share in range(3)} | {(m, "1", "") for m in both}
