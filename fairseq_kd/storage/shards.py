"""Work on a corpus that several runs share: cut into blocks of rows, in a folder that keeps to its settings.

Blocks are cut by absolute row number, so what a block's files hold does not depend on which run made them, or when.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError


def check_shares(options: argparse.Namespace) -> None:
    """Raise a UserError unless ``shard``, ``shards`` and ``block_rows`` are a share of some work."""
    if options.shards < 1 or not 0 <= options.shard < options.shards:
        raise UserError(
            f"--shard {options.shard} --shards {options.shards}: give --shards N and --shard from 0 to N - 1"
        )
    if options.block_rows < 1:
        raise UserError(f"--block-rows {options.block_rows}: give 1 or more")


def spans(rows: int, block_rows: int) -> Iterator[tuple[int, range]]:
    """The blocks' numbers and rows, in order."""
    for number, first in enumerate(range(0, rows, block_rows)):
        yield number, range(first, min(first + block_rows, rows))


def missing_blocks(directory: Path, missing: Sequence[int], blocks: int) -> UserError:
    """The error that names the ``missing`` numbers of so many ``blocks``."""
    names = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
    return UserError(
        f"{directory}: {len(missing)} of {blocks} blocks are missing: {names}; run their shards again "
        "(of N shards, shard I does the blocks that leave I when divided by N)"
    )


def read_settings(path: Path, verb: str) -> dict[str, Any] | None:
    """The settings that the ``verb`` left at ``path``; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete its folder and run the {verb} again") from None


def differences(found: dict[str, Any], settings: dict[str, Any]) -> str:
    """Where ``settings`` are not those ``found``, in words, or "". What ``found`` alone says does not count."""
    there, here = dict(_flat(found)), dict(_flat(settings))
    names = [name for name in here if name not in there or there[name] != here[name]]
    names += [name for name in there if name.split(".")[0] in settings and name not in here]
    return ", ".join(f"{name} is {_short(there.get(name))} there, {_short(here.get(name))} here" for name in names)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _short(value: Any) -> str:
    return "absent" if value is None else str(value)[:12]
