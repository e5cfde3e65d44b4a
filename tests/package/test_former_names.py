"""Modules that moved, under the names by which scripts import them."""

import importlib

import pytest


@pytest.mark.parametrize(
    "former, name, now",
    [
        ("fairseq_kd.checkpoints", "read_checkpoint", "fairseq_kd.networks.checkpoints"),
        ("fairseq_kd.data.databin", "open_databin", "fairseq_kd.data.databins.databin"),
        ("fairseq_kd.data.databin", "read_dictionary", "fairseq_kd.data.databins.databin"),
    ],
)
def test_a_former_name(former: str, name: str, now: str) -> None:
    assert getattr(importlib.import_module(former), name) is getattr(importlib.import_module(now), name)
