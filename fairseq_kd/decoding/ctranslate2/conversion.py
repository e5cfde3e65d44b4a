"""CTranslate2 models made from fairseq checkpoints.

This package reads and checks a checkpoint first, and gives the converter a file of its own. So the converter meets no
pickle that runs code, and no task or data folder that the checkpoint recorded.
"""

import argparse
import io
import shutil
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from omegaconf import DictConfig, OmegaConf

from fairseq_kd.decoding.ctranslate2.converted_folder import check_model, sign
from fairseq_kd.decoding.ctranslate2.kept_folder import kept
from fairseq_kd.decoding.ctranslate2.search import PAD
from fairseq_kd.decoding.options import VOCABULARY_MAP
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.networks.parameters import count_parameters
from fairseq_kd.storage.files import file_hash


class CannotConvert(Exception):
    """Why CTranslate2 cannot take a model, in one line."""


def import_ctranslate2() -> ModuleType:
    """The package.

    Raises:
        CannotConvert: it is not installed, or does not load on this machine.
    """
    try:
        return import_module("ctranslate2")
    except ImportError as error:
        raise CannotConvert(f"ctranslate2 cannot be imported ({error}); pip install ctranslate2") from None


def load_translator(folder: Path, **options: Any) -> Any:
    """``ctranslate2.Translator(folder, …)``, but torch keeps its threads: making one sets OpenMP's for the process.

    Raises:
        CannotConvert: there is no CTranslate2.
        UserError: a file of the folder has changed since it was converted.
    """
    check_model(folder)
    threads = torch.get_num_threads()
    try:
        return import_ctranslate2().Translator(str(folder), **options)
    finally:
        torch.set_num_threads(threads)


def inputs(path: str, task: TranslationTask, precision: str) -> dict[str, Any]:
    """All that a converted model depends on, as hashes."""
    names = [f"dict.{language}.txt" for language in (task.cfg.source_lang, task.cfg.target_lang)]
    return {
        "model": file_hash(path),
        "dictionaries": {name: file_hash(Path(task.cfg.data, name)) for name in names},
        "source": task.cfg.source_lang,
        "target": task.cfg.target_lang,
        "precision": precision,
    }


def kept_conversion(
    path: str, task: TranslationTask, state: dict[str, Any] | None = None, shortlist: Path | None = None
) -> Path:
    """The float32 model made from the checkpoint ``path`` with the dictionaries of ``task``'s data-bin.

    The conversion is made once. It stays in ``$FAIRSEQ_KD_CACHE`` or ``~/.cache/fairseq_kd``, under a hash of the
    checkpoint, the dictionaries and CTranslate2's version.

    Args:
        path: the checkpoint.
        task: with the data-bin's dictionaries.
        state: the checkpoint's content, where :func:`fairseq_kd.networks.checkpoints.read_checkpoint` has read it.
        shortlist: a vocabulary map to put beside the model; None: there is none.

    Raises:
        CannotConvert: there is no CTranslate2, or it does not take the architecture.
        UserError: the checkpoint is at fault, or the folder cannot be written.
    """
    name = [inputs(path, task, "float32"), import_ctranslate2().__version__]
    name += [file_hash(shortlist)] if shortlist else []
    beside = {VOCABULARY_MAP: shortlist} if shortlist else {}
    return kept(name, path, lambda new: write_model(path, task, new, "float32", state, beside))


def write_model(
    path: str,
    task: TranslationTask,
    folder: Path,
    precision: str,
    state: dict[str, Any] | None = None,
    beside: Mapping[str, Path] | None = None,
    **more: Any,
) -> None:
    """Convert a checkpoint into the empty ``folder``, its weights stored in ``precision``.

    The converter ignores options that it does not know, so a float32 model's probabilities are compared with the
    checkpoint's. ``signature.json`` beside CTranslate2's files records what the model was made from, the number of its
    parameters, its positions, versions, and ``more``.

    Args:
        path: the checkpoint.
        task: with the data-bin's dictionaries.
        folder: an empty one.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
        state: as for :func:`kept_conversion`.
        beside: files to copy into the folder, by their names there.
        more: for ``signature.json``.

    Raises:
        CannotConvert: CTranslate2 does not take the architecture or a dictionary, or the converted model gives other
            probabilities.
        UserError: as :func:`fairseq_kd.networks.checkpoints.build_models`.
        OSError: the folder cannot be written.
    """
    refuse_repeated_symbols(task)
    state = read_checkpoint(path, "model") if state is None else state
    (model,) = build_models([path], task, "model", [state])
    checked = folder / "checked.pt"
    held = io.BytesIO()  # torch.save to a path ends in a RuntimeError where the disk is full
    torch.save({"args": _arguments(state["cfg"].model), "model": model.state_dict()}, held)
    checked.write_bytes(held.getbuffer())
    _convert(checked, task, folder, precision)
    if precision == "float32":
        compare(model, task, folder)
    for name, file in (beside or {}).items():
        shutil.copyfile(file, folder / name)
    sign(folder, {**inputs(path, task, precision), **more, **_figures(model)})


def refuse_repeated_symbols(task: TranslationTask) -> None:
    """Check that the dictionaries name each symbol once: CTranslate2 knows a symbol by its text, fairseq by its number.

    Raises:
        CannotConvert: a text names two symbols, as after ``#fairseq:overwrite``.
    """
    for dictionary in (task.source_dictionary, task.target_dictionary):
        texts = [PAD if text == dictionary.pad_word else text for text in dictionary.symbols]
        repeated = next((text for text, times in Counter(texts).items() if times > 1), None)
        if repeated is not None:
            raise CannotConvert(f"two symbols of a dictionary have the text {repeated!r}")


def _arguments(config: Any) -> argparse.Namespace:
    """A recorded architecture and its sizes as fairseq's command line has them, for the task ``translation``."""
    values: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else dict(vars(config))
    # fairseq-hydra-train nests what the command line calls --encoder-layers.
    for side in ("encoder", "decoder"):
        if isinstance(values.get(side), dict):
            values |= {f"{side}_{name}": value for name, value in values.pop(side).items()}
    name = values.get("_name") or values.get("arch")
    # Nobody asks for word alignments, and of a layer that the model does not have they abort the process.
    unaligned = {"alignment_layer": -1, "alignment_heads": 1}
    return argparse.Namespace(**{**values, **unaligned, "arch": name, "task": "translation"})


def _convert(checked: Path, task: TranslationTask, folder: Path, precision: str) -> None:
    ctranslate2 = import_ctranslate2()
    converter = ctranslate2.converters.FairseqConverter(
        str(checked), task.cfg.data, source_lang=task.cfg.source_lang, target_lang=task.cfg.target_lang
    )
    try:
        # The folder is ours and holds the input alone, which the converter removes with it before it writes.
        converter.convert(str(folder), quantization=precision, force=True)
    except OSError:
        raise
    except Exception as error:  # whatever the converter meets in a model that it does not know
        raise reasons_of(error) from None


def reasons_of(error: Exception) -> CannotConvert:
    """What the converter's error says, in one line."""
    reasons = [line[2:] for line in str(error).splitlines() if line.startswith("- ")]
    return CannotConvert("; ".join(reasons) or f"its converter fails ({error!r})")


def compare(model: BaseFairseqModel, task: TranslationTask, folder: Path) -> None:
    """Score one pair of random sentences with the model and with its conversion in ``folder``.

    Raises:
        CannotConvert: they give other probabilities, or the model computes on a GPU alone.
    """
    draw = torch.Generator().manual_seed(1)
    dictionaries = task.source_dictionary, task.target_dictionary
    size = min(12, model.max_positions()[0] - 1, model.max_decoder_positions() - 1)  # </s> takes one position
    source, target = (torch.randint(d.nspecial, len(d), (size,), generator=draw).tolist() for d in dictionaries)
    words = [[d[i] for i in ids] for d, ids in zip(dictionaries, (source, target), strict=True)]
    eos = task.target_dictionary.eos()
    with torch.no_grad():
        given = torch.tensor([[*source, task.source_dictionary.eos()]]), torch.tensor([len(source) + 1])
        try:
            output = model(*given, torch.tensor([[eos, *target]]))
        except Exception as error:  # fairseq's layers of --quant-noise-scalar, for instance, put their scales on a GPU
            raise CannotConvert(f"the model does not compute on the CPU ({error})") from None
        expected = model.get_normalized_probs(output, log_probs=True)[0, range(len(target) + 1), [*target, eos]]
    translator = load_translator(folder, device="cpu", compute_type="float32", intra_threads=1)
    (found,) = translator.score_batch([words[0]], [words[1]])
    # Not (… < …), which NaN on both sides would fail: that is a model's fault, not the conversion's.
    if (torch.tensor(found.log_probs) - expected).abs().max() > 0.01:
        raise CannotConvert("the converted model gives other probabilities")


def _figures(model: BaseFairseqModel) -> dict[str, int]:
    source, target = model.max_positions()[0], model.max_decoder_positions()
    return {"parameters": count_parameters(model), "source_positions": source, "target_positions": target}
