"""The repository's shell scripts, called with the words of a test."""

import subprocess
from pathlib import Path

from tests.support.commands import ROOT, environment
from tests.support.files import contents

FDISTILL = {
    "wmt16_en_ro": "WMT16_DIR",
    "dart": "DART_DIR",
    "xsum": "XSUM_DIR",
    "commonsense_dialogue": "COMMONSENSE_DIALOGUE_DIR",
}
"""The tasks of get_fdistill.sh, and the variables that name their folders."""
IWSLT = tuple(f"IWSLT{year}_DIR" for year in (13, 14, 15, 17))
FOLDERS = ("MULTI30K_DIR", "WMT14_DIR", "SHA256", *IWSLT, *FDISTILL.values())


def shell(script: Path | str, *words: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a script, by default one of the repository's, in ``folder``."""
    inherited = {name: value for name, value in environment().items() if name not in (*FOLDERS, "PYTHON")}
    command = ["bash", str(ROOT / "scripts" / script), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=inherited | variables, capture_output=True, text=True)


def refused(script: Path | str, *words: str | Path, folder: Path, **variables: str) -> str:
    """The one line with which a script ends; it may not change any file in ``folder``."""
    before = contents(folder)
    done = shell(script, *words, folder=folder, **variables)
    assert done.returncode == 1 and done.stdout == "", done
    (line,) = done.stderr.splitlines()
    assert contents(folder) == before
    return line
