"""Which translator of text a model is."""

from pathlib import Path

from fairseq_kd.decoding.fairseq_text import FairseqText
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.model import check_search, open_outside
from fairseq_kd.decoding.outside.profile import Given
from fairseq_kd.decoding.text import TextTranslator
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import checkpoint_paths
from fairseq_kd.storage.files import split_paths


def open_translator(
    model: str,
    *,
    data: str | Path | None = None,
    languages: tuple[str | None, str | None] = (None, None),
    source_spm: Path | None = None,
    target_spm: Path | None = None,
    engine: str = "auto",
    precision: str = "float32",
    search: DecodingOptions = DecodingOptions(),  # noqa: B008
    sampling: bool = False,
    profile: str | None = None,
) -> TextTranslator:
    """The translator of a model. A new kind of model is one more branch here.

    Args:
        model: a fairseq checkpoint; several, separated by colons, are an ensemble. Or the folder of a CTranslate2 or
            Hugging Face model.
        data: folder with the model's dictionaries.
        languages: source and target, as the tags of a folder's model write them; None: as the model or the profile has
            it.
        source_spm: sentencepiece model of the source side.
        target_spm: sentencepiece model of the target side.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
        search: what the translator must be able to do.
        sampling: whether the translator is to draw translations and not to search.
        profile: how a folder's model takes text: a ready profile's name or a YAML file.

    Raises:
        UserError: there is no such model, or it, its dictionaries or its tokenizer cannot be used, or the engine does
            not take the model or the search.
    """
    if Path(model).is_dir():
        _check_folder(data, engine, search, sampling)
        return open_outside(model, profile, Given(*languages, source_spm, target_spm), precision)
    paths = split_paths(model)
    if paths and not any(Path(path).exists() for path in paths):
        raise UserError(
            f"model {model}: no such file or folder; give a fairseq checkpoint (.pt), or the folder of a CTranslate2 "
            "or Hugging Face model; nothing is downloaded"
        )
    if profile:
        raise UserError(f"--profile {profile}: goes with a CTranslate2 or Hugging Face folder")
    return FairseqText(
        checkpoint_paths(model),
        data=data,
        languages=languages,
        source_spm=source_spm,
        target_spm=target_spm,
        engine=engine,
        precision=precision,
        search=search,
        sampling=sampling,
    )


def _check_folder(data: str | Path | None, engine: str, search: DecodingOptions, sampling: bool) -> None:
    """Refuse what a model of another maker has or can not."""
    if data:
        raise UserError(
            "--data goes with a fairseq checkpoint; a CTranslate2 or Hugging Face folder has its vocabulary"
        )
    if engine == "fairseq":
        raise UserError("--engine fairseq: a CTranslate2 or Hugging Face folder is decoded by ctranslate2")
    if sampling:
        raise UserError("--sampling needs a fairseq checkpoint; a CTranslate2 or Hugging Face folder only searches")
    check_search(search)
