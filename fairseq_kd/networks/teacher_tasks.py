"""What a checkpoint's task tells about the teacher's tokens: which tasks are served, and how each one dresses text.

The conventions are those of fairseq's ``translation_multi_simple_epoch`` (fairseq/data/multilingual) and
``translation_from_pretrained_bart``.
"""

import copy
import logging
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.data.multilingual.multilingual_utils import augment_dictionary, get_lang_tok
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.vocabulary import recorded_task
from fairseq_kd.errors import UserError
from fairseq_kd.networks.plain_configuration import LANGUAGE
from fairseq_kd.networks.teacher_tokens import TeacherTokens, plain_tokens

logger = logging.getLogger(__name__)

Direction = tuple[str | None, str | None]
"""Source and target language by the teacher's names; None: as the checkpoint or the data names it."""

SIDES = ("source", "target")
LONGEST_LIST = 100_000
"""Characters of a file that lists languages."""
PLAIN = ("translation", "translation_kd")
MULTILINGUAL = ("translation_multi_simple_epoch", "translation_multi_simple_epoch_kd")
MBART = ("translation_from_pretrained_bart",)
OUTSIDE = ("translation_moe", "laser", "multilingual_translation_latent_depth", "translation_multi_simple_epoch_latent")
"""Tasks of fairseq's examples that change the tokens or the model's call."""


Places = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""``before``, ``behind``, ``start`` and ``end`` of :class:`TeacherTokens`."""


class TeacherTask:
    """The task that a checkpoint recorded, read for one direction.

    Args:
        path: the checkpoint.
        config: its configuration, as :func:`fairseq_kd.networks.checkpoints.read_checkpoint` gives it.
        task: the student's; its languages are those of the teacher where nothing else names these.
        named: --teacher-source-lang and --teacher-target-lang.
        role: what errors call the checkpoint.

    Attributes:
        languages: source and target language by the teacher's names.
        files: names of its dictionary files, or paths that the checkpoint recorded.

    Raises:
        UserError: the task is not served, or the checkpoint does not say which languages it knows.
    """

    def __init__(self, path: str, config: Any, task: TranslationTask, named: Direction, role: str):
        self.path, self.role, self.settings = path, role, recorded_task(config)
        self.name: str = self.settings.get("_name") or self.settings.get("task") or "translation"
        self._check_task()
        # A multilingual checkpoint records no pair, or that of its last generation.
        own = (None, None) if self.multilingual else tuple(self.settings.get(f"{side}_lang") for side in SIDES)
        data = (task.cfg.source_lang, task.cfg.target_lang)
        first = (self.pairs() or ["-"])[0].split("-")
        source, target = (next(filter(None, choice), "") for choice in zip(named, own, data, first, strict=True))
        self.languages = (source, target)
        self.files = self._files()

    @property
    def multilingual(self) -> bool:
        """Whether the task is fairseq's multilingual one."""
        return self.name in MULTILINGUAL

    @property
    def tagged(self) -> bool:
        """Whether the task appends symbols to its dictionaries."""
        return self.multilingual or self.name in MBART

    def _check_task(self) -> None:
        name = self.name
        if name in PLAIN or self.tagged:
            if self.settings.get("enable_lang_ids"):
                raise self._refused("gives its model language ids beside the tokens (--enable-lang-ids)")
            return
        known = TASK_REGISTRY.get(name)
        if name in OUTSIDE or (known is not None and known.__module__.startswith("fairseq.")):
            served = ", ".join((PLAIN[0], MULTILINGUAL[0], *MBART))
            raise self._refused(f"is not served; give a model of one of these: {served}")
        logger.warning("%s %s: its task %r is taken as translation: no language tokens", self.role, self.path, name)

    def _refused(self, reason: str) -> UserError:
        return UserError(f"{self.role} {self.path}: its task {self.name!r} {reason}")

    def _files(self) -> tuple[str, str]:
        settings = self.settings if self.multilingual else {}
        own = [settings.get("fixed_dictionary") or settings.get(f"{side}_dict") for side in SIDES]
        source, target = (file or f"dict.{one}.txt" for file, one in zip(own, self.languages, strict=True))
        return source, target

    def known_languages(self) -> list[str]:
        """The languages in the order of their symbols.

        Raises:
            UserError: they stand in a file that is missing.
        """
        listed = self.settings.get("langs")
        if self.name in MBART:
            return str(listed or "").split(",")
        if self.settings.get("lang_dict"):
            path = Path(self.settings["lang_dict"])
            beside = Path(self.path).with_name(path.name)
            found = next((file for file in (beside, path) if file.is_file()), None)
            if found is None:
                raise UserError(f"{self.role} {self.path}: its list of languages {path} is missing; put it beside")
            return self._listed(found)
        if listed:
            return listed.split(",") if isinstance(listed, str) else list(listed)
        return sorted({language for pair in self.pairs() for language in pair.split("-")})

    def _listed(self, file: Path) -> list[str]:
        """The languages in a file. The checkpoint chose it, so what is no list of languages is not shown."""
        with open(file, encoding="utf-8", errors="replace") as handle:
            text = handle.read(LONGEST_LIST)
        names = [line.strip() for line in text.splitlines() if line.strip()]
        if len(text) == LONGEST_LIST or not all(LANGUAGE.fullmatch(name) for name in names):
            reason = f"{file} is no list of languages, one a line"
            raise UserError(f"{self.role} {self.path}: {reason}; put the list of its training there")
        return names

    def pairs(self) -> list[str]:
        """The directions that a multilingual teacher was trained on."""
        listed = self.settings.get("lang_pairs") or []
        return listed.split(",") if isinstance(listed, str) else list(listed)

    @property
    def style(self) -> str:
        """How a language's symbol is written: ``multilingual``, ``__de__``, or ``mbart``, ``[de]``."""
        return "mbart" if self.name in MBART else self.settings.get("lang_tok_style") or "multilingual"

    def augment(self, dictionary: Dictionary) -> Dictionary:
        """A copy of ``dictionary`` with the symbols that the task appends; those that it has stay where they are."""
        if not self.tagged:
            return dictionary
        dictionary = copy.deepcopy(dictionary)
        settings = self.settings if self.multilingual else {}
        specs = settings.get("langtoks_specs") or ["main"]
        augment_dictionary(dictionary, self.known_languages(), self.style, specs, settings.get("extra_data"))
        return dictionary

    def tokens(self, source: Dictionary, target: Dictionary) -> TeacherTokens:
        """The teacher's tokens for a student with these dictionaries, which lack or have the task's symbols.

        Raises:
            UserError: the teacher does not know a language.
        """
        if not self.tagged:
            return plain_tokens((source, target))
        dictionaries = (self.augment(source), self.augment(target))
        make = self._multilingual if self.multilingual else self._mbart
        before, behind, start, end = make(*dictionaries)
        record = {"task": self.name, "languages": list(self.languages), "tokens": self.conventions()}
        made = TeacherTokens(dictionaries, len(target), before, behind, start, end, record)
        self._tell(made)
        return made

    def conventions(self) -> dict[str, Any]:
        """All that decides where a language's symbol stands and which number it has."""
        if self.name in MBART:
            return {"langs": self.known_languages(), "prepend_bos": bool(self.settings.get("prepend_bos"))}
        return {
            "langs": self.known_languages(),
            "langtoks": list(self._langtoks()),
            "lang_tok_style": self.style,
            "lang_tok_replacing_bos_eos": bool(self.settings.get("lang_tok_replacing_bos_eos")),
            "langtoks_specs": list(self.settings.get("langtoks_specs") or ["main"]),
        }

    def require(self, conventions: dict[str, Any]) -> None:
        """Check that a multilingual student's batches are the teacher's.

        Args:
            conventions: of the student's task, as :meth:`conventions` gives them.

        Raises:
            UserError: the teacher is of another task or has another convention.
        """
        if not self.multilingual:
            raise self._refused(f"cannot teach a multilingual student; give a teacher of {MULTILINGUAL[0]}")
        for name, value in self.conventions().items():
            if value != conventions[name]:
                raise self._refused(f"has {name} {value}, the student {conventions[name]}; train it like the teacher")

    def _langtoks(self) -> tuple[str | None, str | None]:
        """Which language's token a source gets ("src", "tgt" or None), and whether a target gets one ("tgt")."""
        main = (self.settings.get("langtoks") or {}).get("main")
        if main is None:
            main = (self.settings.get("encoder_langtok"), "tgt" if self.settings.get("decoder_langtok") else None)
        return main[0] or None, main[1] or None

    def _multilingual(self, source: Dictionary, target: Dictionary) -> Places:
        """As MultilingualDatasetManager's ``src_dataset_tranform_func`` and ``alter_dataset_langtok``."""
        of_source, of_target = self._langtoks()
        eos = target.eos()
        tag = start = None
        if of_source:
            tag = self._symbol(source, self.languages[0 if of_source.startswith("src") else 1], of_source)
        if of_target:
            start = self._symbol(target, self.languages[1], of_target)
        if self.settings.get("lang_tok_replacing_bos_eos"):
            return (), (eos if tag is None else tag,), (eos if start is None else start,), eos
        return () if tag is None else (tag,), (eos,), (eos,) if start is None else (eos, start), eos

    def _mbart(self, source: Dictionary, target: Dictionary) -> Places:
        """As TranslationFromPretrainedBARTTask's ``load_dataset`` and ``build_generator``."""
        own, other = self._symbol(source, self.languages[0]), self._symbol(target, self.languages[1])
        bos = bool(self.settings.get("prepend_bos"))
        # The decoder begins with the symbol that ends a target, as fairseq's collater puts that first.
        start = (other, target.bos()) if bos else (other,)
        return (source.bos(),) if bos else (), (source.eos(), own), start, other

    def _symbol(self, dictionary: Dictionary, language: str, spec: str = "main") -> int:
        known = self.known_languages()
        symbol = dictionary.index(get_lang_tok(language, self.style, spec))
        if language not in known or symbol == dictionary.unk():
            raise UserError(
                f"{self.role} {self.path}: its task {self.name!r} knows no language {language!r}, but "
                f"{', '.join(known)}; name the direction with --teacher-source-lang and --teacher-target-lang"
            )
        return symbol

    def _tell(self, made: TeacherTokens) -> None:
        pair = "-".join(self.languages)
        if self.multilingual and pair not in self.pairs():
            trained = ", ".join(self.pairs())
            logger.warning("%s %s: not trained on %s, but on %s", self.role, self.path, pair, trained)
        source, target = made.dictionaries
        logger.info(
            "%s %s: task %s, %s: a source is %s, the decoder begins with %s; %d symbols are the teacher's alone",
            self.role,
            self.path,
            self.name,
            pair,
            " ".join([*(source[i] for i in made.before), "…", *(source[i] for i in made.behind)]),
            " ".join(target[i] for i in made.start),
            len(target) - made.kept,
        )
