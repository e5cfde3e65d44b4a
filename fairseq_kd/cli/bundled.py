"""The scripts and experiments that come with the package, and how a verb hands its work to a script.

An installed package holds scripts/ and configs/; in a clone they lie beside it.
"""

import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fairseq_kd.cli.messages import VARIABLE
from fairseq_kd.errors import UserError

PACKAGE = Path(__file__).parents[1]
TEMPORARY = 1 << 20
"""Bytes that the commands of a script may need in the folder for temporary files."""


def bundled_folder(name: str) -> Path:
    """The folder ``scripts`` or ``configs``.

    Raises:
        UserError: the folder is missing, because only a part of the clone was copied.
    """
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise UserError(f"no folder {name} in {PACKAGE} or beside it; install the whole package with pip")


def bundled_configs() -> dict[str, Path]:
    """Each bundled experiment: its name, such as quickstart or wei_2024/iwslt14_de_en, and its file."""
    folder = bundled_folder("configs")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def find_config(name: str) -> Path:
    """The file of a bundled experiment, or a file of the user's.

    Args:
        name: a bundled name, also with its ending .yaml, or a path. A path that exists comes first where it has the
            ending.

    Raises:
        UserError: there is no such experiment.
    """
    path, known = Path(name), bundled_configs()
    bundled = known.get(name.removesuffix(".yaml"))
    if path.is_file() and (path.suffix or bundled is None):
        return path.resolve()
    if bundled is None:
        raise UserError(f"{name}: no such file, and no bundled experiment has this name; there are: {', '.join(known)}")
    return bundled


def run_script(script: str, verb: str, words: Sequence[str | Path], *, verbose: bool) -> None:
    """Become a bundled script: the process goes on as the script, with this Python's commands.

    Args:
        script: name of the script in scripts/.
        verb: the script's messages begin with ``fairseq-kd VERB``.
        words: arguments of the script.
        verbose: whether the commands that the script starts show all log lines.

    Raises:
        UserError: bash is missing, or the folder for temporary files has no room.
    """
    path = bundled_folder("scripts") / script
    for needed, package in (("bash", "bash"), ("flock", "util-linux")):
        if shutil.which(needed) is None:
            raise UserError(f"fairseq-kd {verb} needs the command {needed}; install the system's package {package}")
    check_temporary_folder()
    environment = {**os.environ, **script_environment(), "FAIRSEQ_KD_COMMAND": f"fairseq-kd {verb}"}
    if verbose:
        environment[VARIABLE] = "1"
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a script would go on ignoring them
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe("bash", ["bash", str(path), *map(str, words)], environment)


def script_environment() -> dict[str, str]:
    """Variables by which a script, and what it starts, use the Python that runs now and its commands."""
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    command = shutil.which(sys.argv[0])
    if command is not None and Path(command).name == "fairseq-kd":  # where `pip install --user` or pipx put it
        folders.insert(0, Path(command).resolve().parent)
    shown = dict.fromkeys(map(str, folders))
    return {"PATH": os.pathsep.join([*shown, os.environ.get("PATH", os.defpath)]), "FAIRSEQ_KD_PYTHON": sys.executable}


def check_temporary_folder() -> None:
    """Refuse to start where temporary files will not fit.

    Raises:
        UserError: the folder is missing, cannot be written or is full. The message says how much is missing.
    """
    advice = "set TMPDIR to a folder on a disk with room: TMPDIR=FOLDER fairseq-kd …"
    given = os.environ.get("TMPDIR")
    try:
        folder = Path(given or tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError(f"{error.strerror}; {advice}") from None
    what = f"TMPDIR={given}" if given else str(folder)
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(f"{what}: temporary files cannot be written there; {advice}")
    free = shutil.disk_usage(folder).free
    if free < TEMPORARY:
        raise UserError(f"{what} has {free >> 10} KB free, and temporary files need {TEMPORARY >> 10} KB; {advice}")
