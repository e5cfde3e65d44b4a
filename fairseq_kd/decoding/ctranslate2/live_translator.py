"""A CTranslate2 model made from a model's current weights in memory."""

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.ctranslate2.conversion import (
    CannotConvert,
    compare,
    import_ctranslate2,
    load_translator,
    reasons_of,
    refuse_repeated_symbols,
)
from fairseq_kd.decoding.ctranslate2.engine import device
from fairseq_kd.networks.distributions import output_projection


def live_translator(model: Any, task: TranslationTask, folder: Path, check: bool) -> Any:
    """A translator with the float32 weights of ``model``, on its device. The model does not change.

    It decodes one batch at a time, so that a seed decides its draws. It does not use the converter's command, which
    builds the model anew each time, draws initial weights and logs its steps.

    Args:
        model: a Transformer, not a wrapper for several processes.
        task: whose dictionaries the model has.
        folder: an empty one; it can be deleted once the function has returned.
        check: compare the translator's probabilities with the model's.

    Raises:
        CannotConvert: there is no CTranslate2, or it does not take the architecture or a dictionary.
    """
    refuse_repeated_symbols(task)
    place = next(model.parameters()).device
    where: dict[str, Any] = {"device": "cpu", "intra_threads": torch.get_num_threads()}
    if place.type != "cpu":
        where = {"device": device(), "device_index": place.index or 0}
    # On the CPU the converter takes the tensors themselves, and it works in place in them.
    still = copy.deepcopy(model).requires_grad_(False).cpu().float().eval()
    _spec(still, task).save(str(folder))
    if check:
        compare(still, task, folder)
    return load_translator(folder, compute_type="float32", inter_threads=1, max_queued_batches=-1, **where)


def _spec(model: Any, task: TranslationTask) -> Any:
    if output_projection(model) is None:
        raise CannotConvert(f"{type(model).__name__} is no stock Transformer with a plain softmax")
    import_ctranslate2()
    from ctranslate2.converters import fairseq as converter

    try:
        spec = converter._get_model_spec(_arguments(model))
        converter.set_transformer_encoder(spec.encoder, model.encoder)
        converter.set_transformer_decoder(spec.decoder, model.decoder)
        spec.register_source_vocabulary(converter._get_vocab(task.source_dictionary))
        spec.register_target_vocabulary(converter._get_vocab(task.target_dictionary))
        spec.config.decoder_start_token = spec.config.eos_token
        spec.config.add_source_eos = True
        spec.validate()
        spec.optimize(quantization="float32")
    except Exception as error:  # whatever the converter meets in a model that it does not know
        raise reasons_of(error) from None
    return spec


def _arguments(model: Any) -> argparse.Namespace:
    """What the converter reads of a Transformer's options, as the command line has them."""
    cfg, values = model.cfg, {}
    for side in ("encoder", "decoder"):
        for name in ("layers", "attention_heads", "normalize_before"):
            values[f"{side}_{name}"] = getattr(getattr(cfg, side), name)
    for name in ("activation_fn", "no_token_positional_embeddings", "layernorm_embedding"):
        values[name] = getattr(cfg, name)
    return argparse.Namespace(arch="transformer", **values)
