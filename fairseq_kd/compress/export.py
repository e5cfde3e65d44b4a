"""`fairseq-kd export`: make a model deployable, as a folder that needs neither fairseq nor torch."""

import argparse
import logging
import shutil
from pathlib import Path

from fairseq_kd.checkpoints import check_checkpoint
from fairseq_kd.corpus.engines import PRECISIONS, check_models
from fairseq_kd.corpus.engines.conversion import (
    SIGNATURE,
    CannotConvert,
    inputs,
    kept_conversion,
    read_made,
    write_model,
)
from fairseq_kd.data.databin import open_dictionaries
from fairseq_kd.errors import UserError
from fairseq_kd.files import file_hash, whole_folder

logger = logging.getLogger(__name__)

SENTENCEPIECE = "spm.model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd export`."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries")
    add("--to", required=True, choices=["ctranslate2"], help="what is to run the model")
    add("--output", required=True, metavar="DIR", type=Path, help="the folder to make")
    add("--precision", default="float32", choices=PRECISIONS, help="what the weights are stored in (%(default)s)")
    add("--spm-model", metavar="FILE", type=Path, help=f"sentencepiece model to put beside it, as {SENTENCEPIECE}")


def run(options: argparse.Namespace) -> None:
    """Write the folder, whole or not at all; one that is there already and was made from the same inputs stays.

    Raises:
        UserError: the folder holds something else, CTranslate2 does not take the model, or an input is at fault.
    """
    folder, spm_model = options.output, options.spm_model
    check_checkpoint(options.model, "model")
    if spm_model and not spm_model.is_file():
        raise UserError(f"--spm-model {spm_model}: no such file")
    task = open_dictionaries(options.data)
    check_models([options.model], task)
    made_from = {
        **inputs(options.model, task, options.precision),
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
            write_model(options.model, task, new, options.precision, sentencepiece=made_from["sentencepiece"])
            if spm_model:
                shutil.copyfile(spm_model, new / SENTENCEPIECE)
    except CannotConvert as reason:
        raise UserError(f"--to ctranslate2: {reason}") from None
    logger.info("%s: wrote the model in %s", folder, options.precision)
