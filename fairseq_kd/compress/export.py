"""Make a model deployable: as a folder that needs neither fairseq nor torch, or as a sparse file."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.compress.options import SENTENCEPIECE, ShortlistOptions
from fairseq_kd.compress.own_pieces import check_own_pieces
from fairseq_kd.compress.packing import pack, to_bytes, unpack, unpack_bytes, untrained, write_once
from fairseq_kd.compress.shortlist import inputs_of, write_map
from fairseq_kd.data.databins.databin import open_dictionaries
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert, inputs, kept_conversion, write_model
from fairseq_kd.decoding.ctranslate2.converted_folder import SIGNATURE, check_model, read_made
from fairseq_kd.decoding.options import VOCABULARY_MAP
from fairseq_kd.decoding.outside.profile import BESIDE
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import saved_state
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.storage.files import file_hash, whole_folder

logger = logging.getLogger(__name__)


def export(
    model: str,
    to: str,
    output: Path,
    data: str | None = None,
    precision: str | None = None,
    spm_model: Path | None = None,
    languages: Languages = UNNAMED,
    shortlist: ShortlistOptions | None = None,
) -> Path:
    """Write a deployable form of a model, whole or not at all. An export from the same inputs stays as it is.

    Args:
        model: a fairseq checkpoint; with ``to="fairseq"`` a sparse file.
        to: "ctranslate2": a folder that CTranslate2 loads; "sparse": a file as small as the non-zero weights;
            "fairseq": the checkpoint that a sparse file was made from.
        output: the folder or file to make.
        data: the data-bin with the model's dictionaries, for "ctranslate2" alone.
        precision: number format of the weights, for "ctranslate2" alone; None is float32.
        spm_model: a sentencepiece model to copy into the folder, with a profile for `fairseq-kd translate`, for
            "ctranslate2" alone.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        shortlist: how to make a vocabulary map beside the model, for "ctranslate2" alone; None: there is none.

    Returns:
        ``output``.

    Raises:
        UserError: the output holds something else, CTranslate2 does not take the model, or an input or option is at
            fault.
    """
    if to == "ctranslate2":
        if not data:
            raise UserError("--to ctranslate2 needs the model's dictionaries: give --data DATABIN")
        task = open_dictionaries(data, data_languages(data, model, languages))
        export_to_ctranslate2(model, task, output, precision or "float32", spm_model, shortlist)
        return output
    for option, value in (
        ("--data", data),
        ("--precision", precision),
        ("--spm-model", spm_model),
        ("--shortlist", shortlist),
        ("--source-lang", languages[0]),
        ("--target-lang", languages[1]),
    ):
        if value:
            raise UserError(f"{option}: is for --to ctranslate2 alone")
    if to == "sparse":
        export_to_sparse(model, output)
    else:
        write_once(output, to_bytes(unpack(model)))
    return output


def export_to_sparse(model: str, output: Path) -> None:
    """Write the checkpoint ``model`` without its optimizer's state, its zeros as one bit each.

    Raises:
        UserError: the checkpoint is at fault, or the output holds something else.
    """
    state = untrained(saved_state(model))
    packed, dense = pack(state), len(to_bytes(state))
    loaded = unpack_bytes(packed, output)["model"]
    if not all(_equal(loaded[name], tensor) for name, tensor in state["model"].items()):
        raise RuntimeError(f"{model}: the sparse file does not give the same weights back")
    write_once(output, packed)
    share = len(packed) / dense
    logger.info("%s: %s bytes, %.1f %% of the checkpoint's %s", output, f"{len(packed):,}", 100 * share, f"{dense:,}")


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same shape, type and bits; NaN, as in a buffer that fairseq never sets, is equal."""
    same = (one.shape, one.dtype) == (other.shape, other.dtype)
    return same and torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))


def export_to_ctranslate2(
    model: str,
    task: TranslationTask,
    folder: Path,
    precision: str,
    spm_model: Path | None,
    shortlist: ShortlistOptions | None,
) -> None:
    """Write a folder that CTranslate2 translates from; the checkpoint is read once.

    Raises:
        UserError: as :func:`export`.
    """
    if spm_model:
        check_own_pieces(spm_model, task)
    (state,) = check_models([model], task)
    made_from = {**inputs(model, task, precision), "sentencepiece": file_hash(spm_model) if spm_model else None}
    made_from |= {"shortlist": inputs_of(shortlist, task)} if shortlist else {}
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        if not _same(folder, made_from):
            raise UserError(f"--output {folder}: holds something else than this export; give another or delete it")
        check_model(folder)
        logger.info("%s: already exported from the same inputs; nothing to do", folder)
        return
    more: dict[str, Any] = {key: made_from[key] for key in ("sentencepiece", "shortlist") if key in made_from}
    with tempfile.TemporaryDirectory(prefix="fairseq_kd-") as beside:
        files = {SENTENCEPIECE: spm_model} if spm_model else {}
        if shortlist:
            files[VOCABULARY_MAP] = Path(beside, VOCABULARY_MAP)
            more["shortlist_measured"] = write_map(shortlist, task, files[VOCABULARY_MAP])
        try:
            # Only a float32 model can be compared with the checkpoint; decode and evaluate have mostly made it already.
            kept_conversion(model, task, state)
            with whole_folder(folder) as new:
                write_model(model, task, new, precision, state, files, **more)
                if spm_model:
                    _write_profile(new / BESIDE, task)
        except CannotConvert as reason:
            raise UserError(f"--to ctranslate2: {reason}") from None
    logger.info("%s: wrote the model in %s", folder, precision)


def _write_profile(path: Path, task: TranslationTask) -> None:
    """Say how text becomes the model's tokens. The signature has no checksum of the file: a person may change it."""
    keys = {
        "source_lang": task.cfg.source_lang,
        "target_lang": task.cfg.target_lang,
        "source_spm": SENTENCEPIECE,
        "source_suffix": "</s>",
    }
    path.write_text(yaml.safe_dump(keys, allow_unicode=True, sort_keys=False), "utf-8")


def _same(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether a folder holds an export of these inputs. One without a shortlist has no key for it."""
    if not (folder / SIGNATURE).is_file():
        return False
    made = read_made(folder)
    return made_from.items() <= made.items() and made.get("shortlist") == made_from.get("shortlist")
