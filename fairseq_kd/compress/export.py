"""`fairseq-kd export`: make a model deployable, as a folder without fairseq or torch, or as a sparse file."""

import argparse
import logging
import shutil
from pathlib import Path

import torch

from fairseq_kd.compress.packing import pack, read_state, to_bytes, unpack, unpack_bytes, untrained, write_once
from fairseq_kd.data.databin import open_dictionaries
from fairseq_kd.decoding.choice import check_models
from fairseq_kd.decoding.conversion import SIGNATURE, CannotConvert, inputs, kept_conversion, read_made, write_model
from fairseq_kd.decoding.options import PRECISIONS
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.storage.files import file_hash, whole_folder

logger = logging.getLogger(__name__)

SENTENCEPIECE = "spm.model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd export`."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint; with --to fairseq the sparse file")
    add(
        "--to",
        required=True,
        choices=["ctranslate2", "sparse", "fairseq"],
        help="ctranslate2: a folder it runs; sparse: a file as small as the non-zero weights; fairseq: its checkpoint",
    )
    add("--output", required=True, metavar="PATH", type=Path, help="the folder or file to make")
    add("--data", metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries (ctranslate2)")
    add("--precision", choices=PRECISIONS, help="what the weights are stored in (ctranslate2; float32)")
    add("--spm-model", metavar="FILE", type=Path, help=f"sentencepiece model to put beside it, as {SENTENCEPIECE}")


def run(options: argparse.Namespace) -> None:
    """Write the folder or file, whole or not at all; one that is there already and was made from the same inputs stays.

    Raises:
        UserError: the output holds something else, CTranslate2 does not take the model, or an input or option is at
            fault.
    """
    if options.to == "ctranslate2":
        export_to_ctranslate2(options)
        return
    for option in ("data", "precision", "spm_model"):
        if getattr(options, option):
            raise UserError(f"--{option.replace('_', '-')}: is for --to ctranslate2 alone")
    if options.to == "sparse":
        export_to_sparse(options.model, options.output)
    else:
        write_once(options.output, to_bytes(unpack(options.model)))


def export_to_sparse(model: str, output: Path) -> None:
    """Write the checkpoint ``model`` without its optimizer's state, its zeros as one bit each.

    Raises:
        UserError: the checkpoint is at fault, or the output holds something else.
    """
    state = untrained(read_state(model))
    packed, dense = pack(state), len(to_bytes(state))
    loaded = unpack_bytes(packed, output)["model"]
    if not all(torch.equal(loaded[name], tensor) for name, tensor in state["model"].items()):
        raise RuntimeError(f"{model}: the sparse file does not give the same weights back")
    write_once(output, packed)
    share = len(packed) / dense
    logger.info("%s: %s bytes, %.1f %% of the checkpoint's %s", output, f"{len(packed):,}", 100 * share, f"{dense:,}")


def export_to_ctranslate2(options: argparse.Namespace) -> None:
    """Write a folder that CTranslate2 translates from."""
    if not options.data:
        raise UserError("--to ctranslate2 needs the model's dictionaries: give --data DATABIN")
    precision = options.precision or "float32"
    folder, spm_model = options.output, options.spm_model
    check_checkpoint(options.model, "model")
    if spm_model and not spm_model.is_file():
        raise UserError(f"--spm-model {spm_model}: no such file")
    task = open_dictionaries(options.data)
    check_models([options.model], task)
    made_from = {
        **inputs(options.model, task, precision),
        "sentencepiece": file_hash(spm_model) if spm_model else None,
    }
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        if not (folder / SIGNATURE).is_file() or not made_from.items() <= read_made(folder).items():
            raise UserError(f"--output {folder}: holds something else than this export; give another or delete it")
        logger.info("%s: already exported from the same inputs; nothing to do", folder)
        return
    try:
        # Only a float32 model can be compared with the checkpoint; decode and evaluate have mostly made it already.
        kept_conversion(options.model, task)
        with whole_folder(folder) as new:
            write_model(options.model, task, new, precision, sentencepiece=made_from["sentencepiece"])
            if spm_model:
                shutil.copyfile(spm_model, new / SENTENCEPIECE)
    except CannotConvert as reason:
        raise UserError(f"--to ctranslate2: {reason}") from None
    logger.info("%s: wrote the model in %s", folder, precision)
