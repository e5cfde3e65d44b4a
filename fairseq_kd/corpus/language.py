"""A small language pair in which every source has several equally right translations.

Both languages are made up from a seed: words are pronounceable syllables, drawn with Zipfian frequencies. A source is
one or two clauses (subject, verb, object, optional adverb and prepositional phrases); its grammar is unambiguous.

A translation depends on two choices that the source does not show. The first is the *style* of the whole sentence: the
order of subject, verb and object, the side of adjectives and adverbs, and all agreement endings. The second is one of
the synonyms of every content word. With one style and one synonym the translation is unique.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from fairseq_kd.errors import UserError

LEXICON = {"determiner": 6, "adjective": 40, "noun": 100, "verb": 50, "preposition": 10, "conjunction": 4}
WITH_SYNONYMS = ("adjective", "noun", "verb")
UNINFLECTED = ("preposition", "conjunction")
# Source stems end in a vowel. The ending after it tells the number of a phrase or the tense of a verb, or makes an
# adjective an adverb. Target endings depend on the same feature.
NUMBERS, TENSES, ADVERBIAL = ("", "n"), ("", "t", "r"), "s"
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
# Order of subject, verb and object; whether adjectives and adverbs stand before their noun and verb.
ORDERS = (("SVO", True), ("SOV", False), ("VSO", True), ("OVS", False), ("OSV", True), ("VOS", False))
MOST_SYNONYMS = 4
STYLE_DECAY, SYNONYM_DECAY = 0.6, 0.3
GENDERS = 2
SHORTEST, LONGEST = 8, 20

Slot = tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """A source word as it stands in a sentence.

    ``category`` is the lexicon's, or "adverb"; ``stems`` are the target stems of its synonyms, likeliest first;
    ``feature`` is the number of a determiner, adjective or noun, or the tense of a verb; ``gender`` counts in nouns.
    """

    category: str
    stems: Slot
    gender: int
    feature: int = 0


class Language:
    """A made-up language pair.

    Args:
        seed: decides the words, their frequencies, their synonyms and the endings.
        styles: number of styles, 1 to 6; each is 0.6 times as likely as the style before.
        synonyms: the most synonyms of a content word, 1 to 4; each is 0.3 times as likely as the synonym before.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, seed: int, styles: int = 3, synonyms: int = 3):
        if not 1 <= styles <= len(ORDERS):
            raise UserError(f"--styles {styles}: give 1 to {len(ORDERS)}")
        if not 1 <= synonyms <= MOST_SYNONYMS:
            raise UserError(f"--synonyms {synonyms}: give 1 to {MOST_SYNONYMS}")
        self.styles = styles
        random = Random(f"{seed} lexicon")
        self.forms: dict[str, Form] = {}
        self.stems: dict[str, list[str]] = {}
        used: set[str] = set()
        for category, size in LEXICON.items():
            self.stems[category] = [_new_stem(category, "", random, used) for _ in range(size)]
            for stem in self.stems[category]:
                count = random.randint(1, synonyms) if category in WITH_SYNONYMS else 1
                # Target stems end in a consonant and endings hold vowels alone, so that no two forms look the same.
                targets = tuple(_new_stem(category, random.choice(CONSONANTS), random, used) for _ in range(count))
                self._add_forms(category, stem, targets, random.randrange(GENDERS))
        endings = ["".join(letters) for size in (1, 2) for letters in itertools.product(VOWELS, repeat=size)]
        # Every style has its own: of nominal words by gender and number, of verbs by tense, of adverbs.
        self.nominal = _deal(endings, random, styles, GENDERS, len(NUMBERS))
        self.verbal = _deal(endings, random, styles, len(TENSES))
        self.adverbial = _deal(endings, random, styles)

    def _add_forms(self, category: str, stem: str, targets: Slot, gender: int) -> None:
        endings = ("",) if category in UNINFLECTED else TENSES if category == "verb" else NUMBERS
        for feature, ending in enumerate(endings):
            self.forms[stem + ending] = Form(category, targets, gender, feature)
        if category == "adjective":
            self.forms[stem + ADVERBIAL] = Form("adverb", targets, gender)

    def draw_source(self, random: Random) -> str:
        """A source sentence of 8 to 20 words."""
        while True:
            words = self._draw_clause(random)
            if random.random() < 0.25:
                words += [self._draw_stem("conjunction", random), *self._draw_clause(random)]
            if SHORTEST <= len(words) <= LONGEST:
                return " ".join(words)

    def _draw_clause(self, random: Random) -> list[str]:
        words = self._draw_phrase(random)
        if random.random() < 0.4:
            words.append(self._draw_stem("adjective", random) + ADVERBIAL)
        words += [self._draw_stem("verb", random) + random.choice(TENSES), *self._draw_phrase(random)]
        for _ in range(random.choices((0, 1, 2), (4, 4, 2))[0]):
            words += [self._draw_stem("preposition", random), *self._draw_phrase(random)]
        return words

    def _draw_phrase(self, random: Random) -> list[str]:
        adjectives = random.choices((0, 1, 2), (5, 4, 1))[0]
        number = random.choice(NUMBERS)
        categories = ["determiner", *["adjective"] * adjectives, "noun"]
        return [self._draw_stem(category, random) + number for category in categories]

    def _draw_stem(self, category: str, random: Random) -> str:
        stems = self.stems[category]
        return random.choices(stems, [1 / (rank + 2) for rank in range(len(stems))])[0]

    def draw_translation(self, source: str, random: Random) -> str:
        """One right translation: a style for the sentence, then a synonym for each word."""
        slots = self.slots(source, _draw_rank(self.styles, STYLE_DECAY, random))
        return " ".join(slot[_draw_rank(len(slot), SYNONYM_DECAY, random)] for slot in slots)

    def slots(self, source: str, style: int) -> list[Slot]:
        """The translation of ``source`` in one style: for each target word, the synonyms that may stand there.

        Raises:
            UserError: ``source`` is not a sentence of this language.
        """
        return _Translator(self, source, style).sentence()

    def translations(self, source: str) -> Iterator[str]:
        """Every right translation of ``source``, each once. There may be millions; :func:`count_translations` tells."""
        for style in range(self.styles):
            for words in itertools.product(*self.slots(source, style)):
                yield " ".join(words)


def count_translations(language: Language, source: str) -> int:
    """How many right translations ``source`` has: the sum over all styles of the product of each word's synonyms.

    Styles differ in every noun's ending, so no translation is counted twice: :meth:`Language.translations` lists as
    many.

    Raises:
        UserError: ``source`` is not a sentence of ``language``.
    """
    return sum(math.prod(map(len, language.slots(source, style))) for style in range(language.styles))


class _Translator:
    """Reads a source word by word, by category, and puts the translation's slots in the order of a style."""

    def __init__(self, language: Language, source: str, style: int):
        self.language, self.style = language, style
        self.order, self.before = ORDERS[style]
        self.source, self.words, self.place = source, source.split(), 0

    def sentence(self) -> list[Slot]:
        slots = self._clause()
        while self._at("conjunction"):
            slots += [self._take("conjunction").stems, *self._clause()]
        if self.place < len(self.words):
            raise self._error()
        return slots

    def _clause(self) -> list[Slot]:
        subject = self._phrase()
        adverb = []
        if self._at("adverb"):
            adverb = [_inflect(self._take("adverb"), self.language.adverbial[(self.style,)])]
        form = self._take("verb")
        verb = [_inflect(form, self.language.verbal[self.style, form.feature])]
        parts = {"S": subject, "V": adverb + verb if self.before else verb + adverb, "O": self._phrase()}
        slots = [slot for part in self.order for slot in parts[part]]
        while self._at("preposition"):
            slots += [self._take("preposition").stems, *self._phrase()]
        return slots

    def _phrase(self) -> list[Slot]:
        forms = [self._take("determiner")]
        while self._at("adjective"):
            forms.append(self._take("adjective"))
        noun = self._take("noun")
        if any(form.feature != noun.feature for form in forms):
            raise self._error()
        ending = self.language.nominal[self.style, noun.gender, noun.feature]
        determiner, *adjectives = [_inflect(form, ending) for form in forms]
        rest = [*adjectives, _inflect(noun, ending)] if self.before else [_inflect(noun, ending), *adjectives]
        return [determiner, *rest]

    def _at(self, category: str) -> bool:
        if self.place == len(self.words):
            return False
        form = self.language.forms.get(self.words[self.place])
        return form is not None and form.category == category

    def _take(self, category: str) -> Form:
        if not self._at(category):
            raise self._error()
        self.place += 1
        return self.language.forms[self.words[self.place - 1]]

    def _error(self) -> UserError:
        return UserError(f"not a sentence of this synthetic language (near word {self.place + 1}): {self.source!r}")


def _inflect(form: Form, ending: str) -> Slot:
    return tuple(stem + ending for stem in form.stems)


def _draw_rank(count: int, decay: float, random: Random) -> int:
    return random.choices(range(count), [decay**rank for rank in range(count)])[0]


def _deal(endings: Sequence[str], random: Random, *sizes: int) -> dict[tuple[int, ...], str]:
    keys = list(itertools.product(*map(range, sizes)))
    return dict(zip(keys, random.sample(endings, len(keys)), strict=True))


def _new_stem(category: str, last: str, random: Random, used: set[str]) -> str:
    # sentencepiece makes a word a piece only where it begins another word as well, so uninflected words are short.
    sizes = (1,) if category in UNINFLECTED else (2, 2, 2, 3)
    while True:
        syllables = [random.choice(CONSONANTS) + random.choice(VOWELS) for _ in range(random.choice(sizes))]
        stem = "".join(syllables) + last
        if stem not in used:
            used.add(stem)
            return stem
