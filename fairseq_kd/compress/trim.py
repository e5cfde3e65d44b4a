"""A model without the symbols that a text never uses: smaller embeddings, a smaller projection, smaller dictionaries.

The logits of the kept symbols are the model's own. Their probabilities are renormalised: at each step the trimmed model
gives a kept symbol w the probability P(w) / Σ P(v), the sum over all kept symbols v.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_kd.compress.options import SENTENCEPIECE
from fairseq_kd.compress.packing import to_bytes, untrained
from fairseq_kd.compress.used_symbols import Side, read_use, restrict_to_kept
from fairseq_kd.corpus.parallel_text import write_lines
from fairseq_kd.data.databins.databin import read_dictionary, translation_task
from fairseq_kd.data.databins.files import UNNAMED, Languages, choose_pair, pairs_in
from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.networks.parameters import count_nonzero
from fairseq_kd.storage.files import file_hash, whole_folder, write_json
from fairseq_kd.storage.provenance import commit, versions
from fairseq_kd.storage.settings import differences, read_settings

logger = logging.getLogger(__name__)

CHECKPOINT, REPORT = "checkpoint.pt", "trim.json"
BY_SYMBOL = re.compile(r"(encoder|decoder)\.(embed_tokens|output_projection|fc_out|fc3|embed_out)(?:\.|$)")
"""fairseq's names of the parameters with one row for each symbol."""


def trim(
    model: str | Path,
    data: Sequence[Path],
    output: Path,
    *,
    spm_model: Path | None = None,
    teacher_data: Path | None = None,
    languages: Languages = UNNAMED,
) -> dict[str, Any]:
    """Write a model with the symbols that ``data`` uses, and its dictionaries, to a folder, whole or not at all.

    fairseq's special symbols and byte-fallback pieces are kept, and the order of the kept symbols. Where the model has
    the same dictionary on both sides, so has the trimmed one. A folder that was made from the same input stays: the
    same model, text, sentencepiece model, dictionaries and languages.

    Args:
        model: a fairseq checkpoint.
        data: text files named ``….LANG`` (or ``….LANG.gz``, ``.xz``, ``.zst``), in the model's subwords, and data-bins
            with the model's dictionaries.
        output: the folder that gets ``checkpoint.pt``, ``dict.SRC.txt``, ``dict.TGT.txt`` and ``trim.json``.
        spm_model: the model's sentencepiece model: the text files are raw, and it cuts them. Pieces of one character
            are kept, too, and a piece that one side's text uses is kept on both sides. ``output`` gets the
            sentencepiece model with the removed pieces set to unused. A piece stays where it would else be cut into
            ``<unk>``. What the model's dictionary of a side lacked remains ``<unk>`` there.
        teacher_data: folder with the model's dictionaries; None looks beside the checkpoint, then in its recorded
            data-bin, then in the data-bins of ``data``.
        languages: of source and target; for None, what the checkpoint records, else what its recorded data-bin or a
            data-bin of ``data`` has.

    Returns:
        The report in ``trim.json``: "model", "data", "spm_model" and "dictionaries" (hashes), "languages", "symbols"
        and "kept" for each side, "parameters" and "parameters_before" (a tied matrix counts once), "versions" and
        "commit".

    Raises:
        UserError: the model has an adaptive softmax, its dictionaries are not found or do not fit, the text does not
            fit the dictionaries, or ``output`` holds something else.
    """
    state = read_checkpoint(model, "model")
    _refuse_adaptive(model, state)
    sides = _sides(model, state, data, teacher_data, languages)
    spm = load_spm(spm_model) if spm_model else None
    settings = {
        "model": file_hash(model),
        "data": [_text_hash(path) for path in data],
        "spm_model": file_hash(spm_model) if spm_model else None,
        "languages": [side.language for side in sides],
        "dictionaries": {side.language: file_hash(side.file) for side in sides},
    }
    made = _made_before(output, settings)
    if made is not None:
        return made
    read_use(sides, data, spm)
    pieces = restrict_to_kept(sides, spm) if spm else None
    kept = [side.kept(characters=spm is not None) for side in sides]
    dictionaries = [_smaller(side.dictionary, numbers) for side, numbers in zip(sides, kept, strict=True)]
    weights = trimmed_weights(state["model"], sides, kept)
    _check_fit(model, {**state, "model": dict(weights)}, sides, dictionaries)
    report = {
        **settings,
        "symbols": {side.language: len(side.dictionary) for side in sides},
        "kept": {side.language: len(numbers) for side, numbers in zip(sides, kept, strict=True)},
        "parameters_before": count_nonzero(state["model"])[0],
        "parameters": count_nonzero(weights)[0],
        "versions": versions(),
        "commit": commit(),
    }
    cfg = OmegaConf.to_container(state["cfg"], resolve=True, enum_to_str=True)
    with whole_folder(output) as new:
        new.joinpath(CHECKPOINT).write_bytes(to_bytes(untrained({**state, "args": None, "cfg": cfg, "model": weights})))
        for side, dictionary in zip(sides, dictionaries, strict=True):
            write_lines(new / f"dict.{side.language}.txt", _lines(dictionary))
        if pieces is not None:
            new.joinpath(SENTENCEPIECE).write_bytes(pieces)
        write_json(new / REPORT, report)
    return report


def _refuse_adaptive(path: str | Path, state: Mapping[str, Any]) -> None:
    model = state["cfg"].model
    adaptive = any("adaptive_softmax" in name or ".embed_tokens.embeddings." in name for name in state["model"])
    if adaptive or getattr(model, "adaptive_input", False):
        raise UserError(
            f"model {path}: its adaptive softmax sorts symbols into clusters by frequency, which cannot be trimmed; "
            "take a model without --adaptive-softmax-cutoff"
        )


def _sides(
    path: str | Path,
    state: Mapping[str, Any],
    data: Sequence[Path],
    folder: Path | None,
    languages: Languages,
) -> list[Side]:
    """Source and target with the model's dictionaries; a UserError where they are missing or do not fit."""
    recorded = str(state["cfg"].task.get("data") or "").split(":")[0]
    databins = [Path(recorded)] if recorded else []
    databins += [path for path in data if path.is_dir()]
    pair = _languages(path, state["cfg"].task, databins, languages)
    names = [f"dict.{language}.txt" for language in pair]
    places = [folder] if folder else [Path(path).resolve().parent, *databins]
    found = next((place for place in places if all((place / name).is_file() for name in names)), None)
    if found is None:
        raise UserError(
            f"model {path}: {' and '.join(names)} not found in {' or '.join(map(str, places))}; "
            "give their folder with --teacher-data DIR"
        )
    files = [found / name for name in names]
    sides = [Side(language, file, read_dictionary(file)) for language, file in zip(pair, files, strict=True)]
    for side, name in zip(sides, ("encoder", "decoder"), strict=True):
        rows = len(state["model"].get(f"{name}.embed_tokens.weight", ()))
        if rows != len(side.dictionary):
            raise UserError(
                f"model {path}: {name}.embed_tokens has {rows} rows, {side.file} has "
                f"{len(side.dictionary)} symbols; give the folder of its dictionaries with --teacher-data DIR"
            )
    return sides


def _languages(path: str | Path, task: Any, databins: Sequence[Path], given: Languages) -> tuple[str, str]:
    """Source and target language; a checkpoint records them where they were given as options."""
    source, target = given[0] or task.get("source_lang"), given[1] or task.get("target_lang")
    if source and source == target:
        raise UserError(f"model {path}: {source} would be both languages: give --source-lang and --target-lang")
    if source and target:
        return str(source), str(target)
    for place in databins:
        if place.is_dir() and pairs_in(place):
            return choose_pair(place, given)
    raise UserError(f"model {path}: it records no language pair: give --source-lang and --target-lang")


def _text_hash(path: Path) -> dict[str, str]:
    """The hashes of a text file, or of all that a data-bin holds, by name."""
    if path.is_dir():
        return {
            file.name: file_hash(file) for file in sorted(path.iterdir()) if file.suffix in (".bin", ".idx", ".txt")
        }
    if not path.is_file():
        raise UserError(f"--data {path}: no such file or folder; give a data-bin or a text file")
    return {path.name: file_hash(path)}


def _made_before(output: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The report of a folder made from the same input; None where there is no folder, or an empty one."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    found = read_settings(output / REPORT, "trim")
    if found is None or differences(found, settings):
        raise UserError(f"--output {output}: holds something else; give another or delete it")
    logger.info("%s: already trimmed from the same input; nothing to do", output)
    return found


def _smaller(dictionary: Dictionary, numbers: Sequence[int]) -> Dictionary:
    """The dictionary with these symbols alone, in their order, with their counts."""
    made = Dictionary()
    for number in numbers[dictionary.nspecial :]:
        # A dictionary may have a symbol twice; its later place is the one that counts.
        made.add_symbol(dictionary.symbols[number], n=dictionary.count[number], overwrite=True)
    return made


def _lines(dictionary: Dictionary) -> Iterator[str]:
    """A dictionary's file; unlike fairseq's own, it says which symbols come a second time."""
    seen = set(dictionary.symbols[: dictionary.nspecial])
    for number in range(dictionary.nspecial, len(dictionary)):
        symbol = dictionary.symbols[number]
        yield f"{symbol} {dictionary.count[number]}{' #fairseq:overwrite' if symbol in seen else ''}"
        seen.add(symbol)


def trimmed_weights(
    weights: Mapping[str, Tensor], sides: Sequence[Side], kept: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """A checkpoint's model with the kept rows of all that has one row for each symbol.

    Args:
        weights: by name.
        sides: source and target.
        kept: the numbers of each side's kept symbols.
    """
    numbers = {
        name: torch.tensor(own, dtype=torch.long) for name, own in zip(("encoder", "decoder"), kept, strict=True)
    }
    sizes = {name: len(side.dictionary) for name, side in zip(("encoder", "decoder"), sides, strict=True)}
    made = {}
    for name, tensor in weights.items():
        match = BY_SYMBOL.match(name)
        by_symbol = match is not None and tensor.dim() > 0 and len(tensor) == sizes[match[1]]
        made[name] = tensor[numbers[match[1]]] if match and by_symbol else tensor
    return made


def _check_fit(path: str | Path, state: dict[str, Any], sides: Sequence[Side], dictionaries: list[Dictionary]) -> None:
    """Raise a UserError unless fairseq builds the trimmed model, all parameters of the shapes that it expects."""
    task = translation_task("", sides[0].language, sides[1].language, (dictionaries[0], dictionaries[1]))
    build_models([path], task, "model", [state])


def describe(report: Mapping[str, Any]) -> str:
    """The report of :func:`trim` as lines of text."""
    lines = [
        f"{language}: {kept:,} of {report['symbols'][language]:,} symbols" for language, kept in report["kept"].items()
    ]
    before, after = report["parameters_before"], report["parameters"]
    return "\n".join([*lines, f"{after:,} parameters of {before:,} ({after / before:.1%})"])
