"""Which translator of text a model is."""

from pathlib import Path

from fairseq_kd.decoding.fairseq_text import FairseqText
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.text import TextTranslator
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import require_file
from fairseq_kd.storage.files import split_paths


def open_translator(
    model: str,
    *,
    data: str | Path | None = None,
    source_spm: Path | None = None,
    target_spm: Path | None = None,
    engine: str = "auto",
    precision: str = "float32",
    search: DecodingOptions = DecodingOptions(),  # noqa: B008
    sampling: bool = False,
) -> TextTranslator:
    """The translator of a model. A new kind of model is one more branch here.

    Args:
        model: a fairseq checkpoint; several, separated by colons, are an ensemble.
        data: folder with the model's dictionaries.
        source_spm: sentencepiece model of the source side.
        target_spm: sentencepiece model of the target side.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
        search: what the translator must be able to do.
        sampling: whether the translator is to draw translations and not to search.

    Raises:
        UserError: there is no such model, or it, its dictionaries or its tokenizer cannot be used, or the engine does
            not take the model or the search.
    """
    models = split_paths(model)
    if not models:
        raise UserError(f"--model {model!r}: give the path of a checkpoint")
    for path in models:
        require_file(path, role="model")
    return FairseqText(
        models,
        data=data,
        source_spm=source_spm,
        target_spm=target_spm,
        engine=engine,
        precision=precision,
        search=search,
        sampling=sampling,
    )
