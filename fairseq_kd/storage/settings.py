"""The settings of finished or unfinished work, as JSON files keep them, and where two of them differ."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.shapes import Shape, anything
from fairseq_kd.storage.structured import read_json

CHECKSUM = re.compile("[0-9a-f]{32,}")
"""A hash as it stands in a settings file; an error shows the beginning."""


def read_settings(path: Path, work: str, shape: Shape = anything) -> dict[str, Any] | None:
    """The settings in the file ``path``; None where there is no such file.

    Args:
        path: of the JSON file.
        work: what wrote it, as the error calls it: "decode", "selection", "cache".
        shape: of the settings.

    Raises:
        UserError: the file is damaged or has another shape, or its folder is a file.
    """
    try:
        return read_json(path, shape)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UserError(f"{path}: a part of this path is a file; give a folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete its folder and run the {work} again") from None


def differences(found: dict[str, Any], settings: dict[str, Any]) -> str:
    """Where ``settings`` differ from those ``found``, in words; "" where they agree.

    Names that only ``found`` has are ignored, since a finished signature says more than the settings.
    """
    there, here = dict(_flat(found)), dict(_flat(settings))
    names = [name for name in here if name not in there or there[name] != here[name]]
    names += [name for name in there if name.split(".")[0] in settings and name not in here]
    # a group that one side lacks as a whole is told by its members
    told = [name for name in names if there.get(name) != here.get(name)] or names
    return ", ".join(f"{name} is {_short(there.get(name))} there, {_short(here.get(name))} here" for name in told)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _short(value: Any) -> str:
    if value is None:
        return "absent"
    text = str(value)
    return text[:12] if CHECKSUM.fullmatch(text) else text or "empty"
