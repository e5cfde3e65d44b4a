"""The line of a YAML file on which a key stands."""

from typing import Any


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


def _steps(node: Any) -> list[tuple[str, int, Any]]:
    """What a mapping or a list holds: each key, its line from 0, and the node below it."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key.start_mark.line, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(number), entry.start_mark.line, entry) for number, entry in enumerate(node.value)]
    return []
