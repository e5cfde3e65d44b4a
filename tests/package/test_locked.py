"""The locked versions fit what pyproject.toml asks for."""

import pytest
from packaging.requirements import Requirement

from tests.support.commands import ROOT

LOCKED = ROOT / ".locked" / "python3.11.txt"
OF_THE_MACHINE = ("torch", "fairseq-kd")


def test_each_dependency_has_a_locked_version_that_fits() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in LOCKED.read_text().splitlines() if not line.startswith("#")]
    versions = dict(line.lower().replace("_", "-").split("==") for line in lines)
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"python_version": "3.11"}):
            continue
        if requirement.name not in OF_THE_MACHINE:
            version = versions[requirement.name.lower()]
            assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"
