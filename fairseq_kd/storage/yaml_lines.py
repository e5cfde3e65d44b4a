"""Where the keys of a YAML file stand, and which stands there twice."""

from typing import Any

MERGE = "tag:yaml.org,2002:merge"
"""What YAML calls the key ``<<``."""


def line_of(data: bytes, place: str) -> int:
    """The line, from 1, of a key. Where the key is missing, it is the line of the mapping that lacks it.

    Args:
        data: of a file that is sound YAML.
        place: the keys that lead to the value, joined by dots, as in ``rows.word_kd.data``. An entry of a list has its
            number as its key.
    """
    import yaml  # not above, so that `--help` is quick

    node = yaml.compose(data, yaml.SafeLoader)
    line = node.start_mark.line if node else 0
    while place:
        # Keys can hold dots: the longest key with which the remaining place begins is taken.
        fitting = [step for step in _steps(node) if f"{place}.".startswith(f"{step[0]}.")]
        if not fitting:
            break
        name, line, node = max(fitting, key=lambda step: len(step[0]))
        place = place[len(name) + 1 :]
    return line + 1


def repeated_key(data: bytes) -> tuple[int, str] | None:
    """The first key that stands in one mapping twice, and the line of the second, from 1; None where there is none.

    YAML forbids it, but its reader keeps the last value and drops the others in silence. ``<<`` may come again, and a
    key that it takes from another mapping may be replaced.

    Args:
        data: of a file that is sound YAML.
    """
    import yaml

    waiting: list[Any] = [yaml.compose(data, yaml.SafeLoader)]
    seen: set[int] = set()  # an alias is the node that it names
    found: list[tuple[int, str]] = []
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += [below for _, _, below in _steps(node)]
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, str(key.value))
            if name in keys and key.tag != MERGE:
                found.append((key.start_mark.line + 1, name[1]))
            keys.add(name)
    return min(found, default=None)


def _steps(node: Any) -> list[tuple[str, int, Any]]:
    """What a mapping or a list holds: each key, its line from 0, and the node below it."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key.start_mark.line, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(number), entry.start_mark.line, entry) for number, entry in enumerate(node.value)]
    return []
