"""Models of other makers: text in, text out, by CTranslate2."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from fairseq_kd.decoding.conversion import CannotConvert
from fairseq_kd.decoding.ctranslate2_engine import check_precision, load_parallel
from fairseq_kd.decoding.ctranslate2_search import Beam, BeamSearch, LimitedBatch
from fairseq_kd.decoding.interface import Progress, batches, out_of_memory, too_few
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.convert import is_hugging_face, kept_hugging_face, ready_profile
from fairseq_kd.decoding.outside.positions import positions
from fairseq_kd.decoding.outside.profile import BESIDE, READY, Profile, read_profile
from fairseq_kd.decoding.outside.vocabulary import UnknownTokens, check_tags, read_vocabularies
from fairseq_kd.decoding.text import TextHypothesis
from fairseq_kd.errors import UserError

END = "</s>"
NOT_TEXT = ("<s>", "</s>", "<pad>", "<blank>")


def is_outside(model: str) -> bool:
    """Whether MODEL is a folder, which no fairseq checkpoint is."""
    return Path(model).is_dir()


def open_outside(
    model: str,
    precision: str = "float32",
    profile: str | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
    spm: str | None = None,
) -> "OutsideTranslator":
    """A model of another maker, ready to translate.

    Args:
        model: a CTranslate2 folder, or a Hugging Face folder, which is converted once.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`, what CTranslate2 computes in.
        profile: a ready profile's name or a YAML file. None: ``fairseq_kd.yaml`` in the folder, else the ready profile
            of a Hugging Face model's tokenizer.
        source_lang: the source language as the model's tags write it.
        target_lang: the target language.
        spm: a sentencepiece model in place of the profile's.

    Raises:
        UserError: the folder is neither, it cannot be converted or loaded, or the profile does not go with it.
    """
    folder = Path(model)
    hugging_face = not (folder / "model.bin").is_file() and is_hugging_face(folder)
    if not hugging_face and not (folder / "model.bin").is_file():
        raise UserError(f"{folder}: no CTranslate2 folder (model.bin) and no Hugging Face one (config.json with model_type)")
    named = profile or (str(folder / BESIDE) if (folder / BESIDE).is_file() else None)
    named = named or (ready_profile(folder) if hugging_face else None)
    if named is None:
        raise UserError(f"{folder}: how does its text become tokens? give --profile {'|'.join(READY)} or a YAML file")
    how = read_profile(named, folder, source_lang, target_lang, spm)
    try:
        check_precision(precision)
        converted = kept_hugging_face(folder) if hugging_face else folder
        return OutsideTranslator(converted, how, precision)
    except CannotConvert as reason:
        raise UserError(f"{folder}: {reason}") from None


class OutsideTranslator:
    """A CTranslate2 model with the profile that says how it takes text.

    A source's tags and its ``</s>`` count in its length. ``--max-len-a`` and ``--max-len-b`` limit the tokens of the
    text, without the target's tags.

    Attributes:
        profile: how lines become tokens.
        max_source_positions: the longest source that the model takes, in tokens.
        max_target_positions: the decoder's positions.
    """

    def __init__(self, folder: Path, profile: Profile, precision: str = "float32"):
        """Load a CTranslate2 folder.

        Raises:
            CannotConvert: the GPU cannot be used.
            UserError: the folder is damaged, or the profile is another model's.
        """
        self.profile = profile
        source, target = read_vocabularies(folder)
        check_tags(profile, source, target)
        self._unknown = UnknownTokens(profile, source)
        self._cut, self._join = _load_spm(profile.source_spm), _load_spm(profile.target_spm)
        self._suffix = _suffix(profile, folder)
        self._hidden = {*profile.target_prefix, *NOT_TEXT}
        self._suppressed = tuple(token for token in ("<blank>",) if token in target)
        try:
            self.max_source_positions, self.max_target_positions = positions(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: {error}; convert the model again") from None
        self._translator, self._batch_size = load_parallel(folder, precision, "convert the model again")

    def takes(self, line: str) -> bool:
        """Whether a line is translated: it has text and is within the model's positions."""
        return self._fits(self._pieces(line))

    def translate(
        self, lines: Sequence[str], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[TextHypothesis]]:
        """The ``options.nbest`` best translations of each line, best first; of one that is not taken, empty ones.

        A score is the log-probability to the base 2 of the text after its tags, divided by the number of tokens (tags
        and ``</s>`` counted) to the power ``lenpen``.

        Args:
            lines: the text.
            options: how to search, without a prefix and with repeated n-grams.
            progress: called with the number of lines that were finished since the last call.

        Raises:
            UserError: the text's tokens are mostly unknown to the model, a batch does not fit the GPU, the search gives
                fewer than ``nbest`` hypotheses, or the options have what the engine lacks.
        """
        _check(options)
        cut = [self._pieces(line) for line in lines]
        for pieces in cut:
            self._unknown.count(pieces)
        words = {i: self._source(pieces) for i, pieces in enumerate(cut) if self._fits(pieces)}
        found = [[TextHypothesis("", "", 0.0)] * options.nbest for _ in lines]
        if progress:
            progress(len(lines) - len(words))
        search = BeamSearch(self._translator, words, options, self._suppressed, self.profile.target_prefix)
        try:
            beams = search.run(self._limited(words, options), progress)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise out_of_memory(options) from None
        for i, beam in beams.items():
            found[i] = self._read(beam, options.nbest)
        return found

    def _pieces(self, line: str) -> list[str]:
        return self._cut.encode(line.lower() if self.profile.casing == "lower" else line, out_type=str)

    def _source(self, pieces: list[str]) -> list[str]:
        return [*self.profile.source_prefix, *pieces, *self._suffix]

    def _fits(self, pieces: list[str]) -> bool:
        added = len(self.profile.source_prefix) + len(self.profile.source_suffix)
        return 0 < len(pieces) <= self.max_source_positions - added

    def _limited(self, words: dict[int, list[str]], options: DecodingOptions) -> list[LimitedBatch]:
        """fairseq's batches, cut to what one thread decodes at a time, with the most tokens of a translation."""
        lengths = {i: len(tokens) + (self._suffix != self.profile.source_suffix) for i, tokens in words.items()}
        tags = len(self.profile.target_prefix)
        limited: list[LimitedBatch] = []
        for batch in batches(lengths, options.max_tokens):
            longest = options.longest(lengths[batch[0]], self.max_target_positions - tags) + tags
            size = self._batch_size or len(batch)
            limited += [(batch[start : start + size], longest) for start in range(0, len(batch), size)]
        return limited

    def _read(self, beam: Beam, nbest: int) -> list[TextHypothesis]:
        usable = sorted((pair for pair in beam.items() if not math.isnan(pair[1])), key=lambda pair: -pair[1])
        if len(usable) < nbest:
            raise too_few(len(usable), nbest)
        return [self._text(tokens, score / math.log(2)) for tokens, score in usable[:nbest]]

    def _text(self, tokens: Iterable[str], score: float) -> TextHypothesis:
        pieces = [token for token in tokens if token not in self._hidden]
        return TextHypothesis(self._join.decode(pieces).replace("\n", " ").strip(), " ".join(pieces), score)


def _check(options: DecodingOptions) -> None:
    if options.prefix:
        raise UserError("--prefix: a model of another maker has its tags in its profile (target_prefix)")
    lacking = options.lacking("ctranslate2")
    if lacking:
        raise UserError(lacking)


def _load_spm(path: Path) -> Any:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: no sentencepiece model ({error})") from None


def _suffix(profile: Profile, folder: Path) -> tuple[str, ...]:
    """The source's suffix without the ``</s>`` that CTranslate2 adds by itself to what fairseq and Marian trained."""
    try:
        adds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("add_source_eos", False)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read ({error}); convert the model again") from None
    if not adds:
        return profile.source_suffix
    if profile.source_suffix[-1:] != (END,):
        raise UserError(f"{profile.origin}: source_suffix: has to end in {END}, which this model's sources always end in")
    return profile.source_suffix[:-1]
