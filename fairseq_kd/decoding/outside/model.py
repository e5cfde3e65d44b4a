"""Models of other makers: text in, text out, by CTranslate2."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fairseq_kd.data.text.pieces import load_spm
from fairseq_kd.decoding.ctranslate2.conversion import CannotConvert
from fairseq_kd.decoding.ctranslate2.converted_folder import check_model
from fairseq_kd.decoding.ctranslate2.engine import check_precision, load_parallel
from fairseq_kd.decoding.ctranslate2.search import PAD, BeamSearch, LimitedBatch, best_of, limited_batches
from fairseq_kd.decoding.interface import Progress
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.convert import is_hugging_face, kept_hugging_face, ready_profile
from fairseq_kd.decoding.outside.positions import positions
from fairseq_kd.decoding.outside.profile import BESIDE, READY, Given, Profile, read_profile
from fairseq_kd.decoding.outside.vocabulary import check_tags, read_vocabularies
from fairseq_kd.decoding.text import NO_TEXT, TextHypothesis, one_line
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.shapes import keys, maybe, text, truth
from fairseq_kd.storage.structured import read_json

END = "</s>"
CONFIG = keys({"decoder_start_token": maybe(text)}, {"add_source_eos": truth})
"""Of CTranslate2's config.json."""
NOT_TEXT = ("<s>", END, "<pad>", PAD)


def open_outside(
    model: str,
    profile: str | None = None,
    given: Given = Given(),  # noqa: B008
    precision: str = "float32",
) -> "OutsideText":
    """A model of another maker that translates text.

    Args:
        model: a CTranslate2 folder, or a Hugging Face folder, which is converted once.
        profile: a ready profile's name or a YAML file. None: ``fairseq_kd.yaml`` in the folder, else the ready profile
            of a Hugging Face model's tokenizer.
        given: languages and sentencepiece models that go before the profile's.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`, what CTranslate2 computes in.

    Raises:
        UserError: the folder is neither, it cannot be converted, or the profile does not go with it.
    """
    folder = Path(model)
    hugging_face = not (folder / "model.bin").is_file() and is_hugging_face(folder)
    if not hugging_face and not (folder / "model.bin").is_file():
        raise UserError(
            f"model {folder}: neither a CTranslate2 folder (model.bin) nor a Hugging Face folder (config.json with a "
            "model_type)"
        )
    named = profile or (str(folder / BESIDE) if (folder / BESIDE).is_file() else None)
    named = named or (ready_profile(folder) if hugging_face else None)
    if named is None:
        raise UserError(f"model {folder}: give --profile, a YAML file or one of {', '.join(READY)}")
    how = read_profile(named, folder, given)
    try:
        check_precision(precision)
        return OutsideText(kept_hugging_face(folder) if hugging_face else folder, how, precision)
    except CannotConvert as reason:
        raise UserError(f"model {folder}: {reason}") from None


class OutsideText:
    """A CTranslate2 model and its profile as a :class:`~fairseq_kd.decoding.text.TextTranslator`.

    A source's tags and its ``</s>`` count in its length. ``--max-len-a`` and ``--max-len-b`` limit the tokens of the
    text, without the target's tags.

    Attributes:
        languages: as :class:`~fairseq_kd.decoding.text.TextTranslator`.
        settings: as there.
        profile: how lines become tokens.
        max_source_positions: the longest source that the model takes, in tokens.
        max_target_positions: the decoder's positions.
    """

    def __init__(self, folder: Path, profile: Profile, precision: str = "float32"):
        """Check a CTranslate2 folder and the profile.

        Raises:
            UserError: the folder is damaged, or the profile is another model's.
        """
        check_model(folder)
        self.profile, self._folder, self._precision = profile, folder, precision
        self._known, target = read_vocabularies(folder)
        check_tags(profile, self._known, target)
        self._cut = load_spm(profile.source_spm, f"{profile.origin}: source_spm")
        self._join = load_spm(profile.target_spm, f"{profile.origin}: target_spm")
        self._suffix = _suffix(profile, folder)
        tags = {tag for tag in profile.target_prefix if self._join.piece_to_id(tag) == self._join.unk_id()}
        self._hidden = {*tags, *NOT_TEXT}
        self._suppressed = tuple(token for token in (PAD,) if token in target)
        try:
            self.max_source_positions, self.max_target_positions = positions(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: {error}; convert the model again") from None
        self.languages = profile.languages
        spm = {"source-spm": profile.source_spm, "target-spm": profile.target_spm}
        self.settings: dict[str, Any] = {
            "models": [file_hash(folder / "model.bin")],
            "tokenizers": {name: file_hash(path) for name, path in spm.items()},
            "tags": {key: list(tokens) for key, tokens in profile.tags().items()},
            "casing": profile.casing,
            "source": profile.languages[0],
            "target": profile.languages[1],
            "engine": "ctranslate2",
            "precision": precision,
        }

    @cached_property
    def _loaded(self) -> tuple[Any, int | None]:
        """The translator and the size of its batches, loaded at the first use."""
        try:
            return load_parallel(self._folder, self._precision, "convert the model again")
        except CannotConvert as reason:
            raise UserError(f"model {self._folder}: {reason}") from None

    def takes(self, line: str) -> bool:
        """As :meth:`TextTranslator.takes`."""
        return self._fits(self._pieces(line))

    def unknown_share(self, lines: Sequence[str]) -> float:
        """As :meth:`TextTranslator.unknown_share`, without the tags."""
        pieces = [piece for line in lines for piece in self._pieces(line)]
        return sum(piece not in self._known for piece in pieces) / len(pieces) if pieces else 0.0

    def translate(
        self, lines: Sequence[str], options: DecodingOptions, progress: Progress | None = None
    ) -> list[list[TextHypothesis]]:
        """As :meth:`TextTranslator.translate`.

        A score is the log-probability to the base 2 of the text after its tags, divided by the number of tokens (tags
        and ``</s>`` counted) to the power ``lenpen``.

        Raises:
            UserError: a batch does not fit the GPU, the search gives fewer than ``nbest`` hypotheses, or the engine
                lacks an option.
        """
        check_search(options)
        cut = [self._pieces(line) for line in lines]
        words = {i: self._source(pieces) for i, pieces in enumerate(cut) if self._fits(pieces)}
        found = [[NO_TEXT] * options.nbest for _ in lines]
        if progress:
            progress(len(lines) - len(words))
        search = BeamSearch(self._loaded[0], words, options, self._suppressed, self.profile.target_prefix)
        for i, beam in search.run(self._limited(words, options), progress).items():
            found[i] = [self._text(tokens, score) for tokens, score in best_of(beam, options.nbest, i)]
        return found

    def _pieces(self, line: str) -> list[str]:
        plain = " ".join(line.split())
        return self._cut.encode(plain.lower() if self.profile.casing == "lower" else plain, out_type=str)

    def _source(self, pieces: list[str]) -> list[str]:
        return [*self.profile.source_prefix, *pieces, *self._suffix]

    def _fits(self, pieces: list[str]) -> bool:
        added = len(self.profile.source_prefix) + len(self.profile.source_suffix)
        return 0 < len(pieces) <= self.max_source_positions - added

    def _limited(self, words: dict[int, list[str]], options: DecodingOptions) -> list[LimitedBatch]:
        """The batches, whose limits count the target's tags."""
        lengths = {i: len(tokens) + (self._suffix != self.profile.source_suffix) for i, tokens in words.items()}
        tags = len(self.profile.target_prefix)
        most = self.max_target_positions - tags
        return limited_batches(
            lengths, options.max_tokens, self._loaded[1], lambda size: options.longest(size, most) + tags
        )

    def _text(self, tokens: Iterable[str], score: float) -> TextHypothesis:
        written, prefix = tuple(tokens), self.profile.target_prefix
        # A prefix of subwords is no text, but the same subwords behind it are.
        start = len(prefix) if written[: len(prefix)] == prefix else 0
        pieces = [token for token in written[start:] if token not in self._hidden]
        return TextHypothesis(one_line(self._join.decode(pieces)), " ".join(pieces), score)


def check_search(options: DecodingOptions) -> None:
    """Check that a model of another maker can search like this.

    Raises:
        UserError: it cannot.
    """
    if options.prefix:
        raise UserError("--prefix needs a fairseq checkpoint; a folder's tags are its profile's target_prefix")
    lacking = options.lacking("ctranslate2")
    if lacking:
        raise UserError(f"{lacking}; only a fairseq checkpoint can do it")


def _suffix(profile: Profile, folder: Path) -> tuple[str, ...]:
    """The source's suffix without the ``</s>`` that CTranslate2 adds by itself to what fairseq and Marian trained."""
    try:
        config = read_json(folder / "config.json", CONFIG, ours=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read ({error}); convert the model again") from None
    adds, start = config.get("add_source_eos", False), config["decoder_start_token"]
    if start is None:
        raise UserError(f"{folder / 'config.json'}: no decoder_start_token, as in mBART-25; such models are not taken")
    if not adds:
        return profile.source_suffix
    if profile.source_suffix[-1:] != (END,):
        raise UserError(f"{profile.origin}: source_suffix: has to end in {END}, as the sources of this model do")
    return profile.source_suffix[:-1]
