"""``--eval-bleu-args`` and ``--eval-bleu-detok-args``, which fairseq reads as JSON."""

import json
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from fairseq.dataclass.configs import GenerationConfig

from fairseq_kd.errors import UserError


def check_bleu_arguments(cfg: Any) -> None:
    """Check both options. fairseq ends in a traceback where one is no JSON, and ignores an argument of another name.

    Args:
        cfg: the options of a task with --eval-bleu.

    Raises:
        UserError: one is no JSON map, or --eval-bleu-args has an argument that no option of fairseq-generate is.
    """
    given = _read(cfg, "eval_bleu_args")
    _read(cfg, "eval_bleu_detok_args")
    known = [field.name for field in fields(GenerationConfig)]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise UserError(
                f"--eval-bleu-args knows no {name!r}; "
                + (f"did you mean {near[0]}?" if near else "give options of fairseq-generate's search, such as beam")
            )


def _read(cfg: Any, option: str) -> dict[str, Any]:
    text = getattr(cfg, option, None) or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"--{option.replace('_', '-')} {text}: no JSON map; give for example '{{\"beam\": 1}}'")
    return found
