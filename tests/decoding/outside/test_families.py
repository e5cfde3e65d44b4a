"""Each family of teachers against its own library's search, line by line."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.decoding.outside.convert import import_transformers
from fairseq_kd.decoding.outside.model import OutsideText, open_outside
from fairseq_kd.decoding.outside.profile import Given
from fairseq_kd.networks.plain_classes import allow_plain_classes
from tests.decoding.outside.conftest import FAMILIES, LANGUAGES
from tests.support.outside import LEXICON, sentences

pytestmark = pytest.mark.usefixtures("one_thread")

LINES = [row[0] for row in sentences(30, seed=7)]
SEARCHES = [DecodingOptions(beam=4, nbest=3, max_len_b=50), DecodingOptions(beam=1, max_len_b=50)]
SEARCHES += [DecodingOptions(beam=4, max_len_b=50, lenpen=0.6)]


def open_hugging_face(folder: Path, family: str, column: int) -> OutsideText:
    languages = LANGUAGES[family]
    return open_outside(str(folder), given=Given(languages[0], languages[column]))


class Theirs:
    """transformers' own tokenizer and search."""

    def __init__(self, folder: Path, family: str, column: int):
        library: Any = import_transformers()
        self.tokenizer = library.AutoTokenizer.from_pretrained(folder)
        self.model = library.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        source, target = LANGUAGES[family][0], LANGUAGES[family][column]
        self.forced = {}
        self.tag = f">>{target}<< " if family == "opus-mt" else ""
        if source:
            self.tokenizer.src_lang = source
            token = f"__{target}__" if family == "m2m100" else target
            self.forced = {"forced_bos_token_id": self.tokenizer.convert_tokens_to_ids(token)}

    def tokens(self, line: str) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.tokenizer(self.tag + line)["input_ids"])

    def translate(self, lines: list[str], options: DecodingOptions) -> list[list[tuple[str, float]]]:
        """Texts and scores; none for a line whose search the limit cut, where both rules differ."""
        inputs = self.tokenizer([self.tag + line for line in lines], return_tensors="pt", padding=True)
        best = options.nbest
        with torch.no_grad():
            found = self.model.generate(
                **inputs,
                **self.forced,
                num_beams=options.beam,
                num_return_sequences=best,
                max_new_tokens=options.max_len_b + 2,
                forced_eos_token_id=None,
                early_stopping=options.beam > 1,
                length_penalty=options.lenpen,
                return_dict_in_generate=True,
                output_scores=True,
            )
        ended = (found.sequences[:, 1:] == self.tokenizer.eos_token_id).any(1).tolist()
        texts = self.tokenizer.batch_decode(found.sequences, skip_special_tokens=True)
        scores = found.sequences_scores.tolist() if options.beam > 1 else [math.nan] * len(texts)
        pairs = list(zip(texts, scores, strict=True))
        return [pairs[i : i + best] if all(ended[i : i + best]) else [] for i in range(0, len(pairs), best)]


@pytest.mark.parametrize("options", SEARCHES, ids=["beam 4", "greedy", "lenpen 0.6"])
@pytest.mark.parametrize("column", [1, 2], ids=["de", "fr"])
@pytest.mark.parametrize("family", FAMILIES)
def test_translations_and_scores_are_transformers(
    family: str, column: int, options: DecodingOptions, hugging_face: Callable[[str], Path]
) -> None:
    """OPUS-MT's scores differ a little: transformers leaves the probability of ``<pad>`` unused."""
    folder = hugging_face(family)
    ours, theirs = open_hugging_face(folder, family, column), Theirs(folder, family, column)
    pairs = zip(ours.translate(LINES, options), theirs.translate(LINES, options), strict=True)
    found, expected = zip(*((own, other) for own, other in pairs if other), strict=True)
    assert len(found) >= 0.9 * len(LINES)
    assert [nbest[0].text for nbest in found] == [nbest[0][0] for nbest in expected]
    if options.beam > 1:
        for own, other in zip(found, expected, strict=True):
            assert own[0].score * math.log(2) == pytest.approx(other[0][1], abs=2e-3)
    same = [[h.text for h in own] == [text for text, _ in other] for own, other in zip(found, expected, strict=True)]
    assert sum(same) >= 0.9 * len(found)  # lower ranks: see CTranslate2Engine
    assert len({nbest[0].text for nbest in found}) > 20
    tags = [token for tokens in ours.profile.tags().values() for token in tokens]
    assert not any(tag in h.text or tag in h.tokens for nbest in found for h in nbest for tag in tags)


@pytest.mark.parametrize("family", FAMILIES)
def test_sources_are_the_tokens_of_transformers(family: str, hugging_face: Callable[[str], Path]) -> None:
    folder = hugging_face(family)
    ours, theirs = open_hugging_face(folder, family, 1), Theirs(folder, family, 1)
    for line in LINES:
        assert ours._source(ours._pieces(line)) == theirs.tokens(line)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_target_tag_decides_the_language(family: str, hugging_face: Callable[[str], Path]) -> None:
    german, french = ({words[i].casefold() for words in LEXICON.values()} for i in (0, 1))
    for column, language in ((1, german), (2, french)):
        found = open_hugging_face(hugging_face(family), family, column).translate(LINES, DecodingOptions(beam=2))
        words = [word.strip(".!?").casefold() for nbest in found for word in nbest[0].text.split()]
        assert sum(word in language for word in words) > 0.8 * len(words)


def fairseqs(folder: Path, line: str, tag: str, options: DecodingOptions) -> list[tuple[str, float]]:
    """fairseq's own search with the tag as its prefix; best first by the scores without the tag's own probability."""
    from fairseq import tasks
    from fairseq.sequence_generator import SequenceGenerator

    allow_plain_classes()
    state = torch.load(folder / "multilingual.pt", weights_only=True)
    task = tasks.setup_task(state["args"])
    model = task.build_model(state["args"])
    model.load_state_dict(state["model"])
    model.eval()
    spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / "ctranslate2" / "spm.model"))
    dictionary = task.source_dictionary
    ids = [dictionary.index(token) for token in ["__en__", *spm.encode(line, out_type=str), "</s>"]]
    generator = SequenceGenerator(
        [model], task.target_dictionary, beam_size=options.beam, max_len_b=options.max_len_b, len_penalty=options.lenpen
    )
    sample = {"net_input": {"src_tokens": torch.tensor([ids]), "src_lengths": torch.tensor([len(ids)])}}
    (found,) = generator.generate([model], sample, prefix_tokens=torch.tensor([[dictionary.index(tag)]]))
    tokens_of = [[dictionary[i] for i in one["tokens"].tolist()] for one in found]
    scores = [float(one["positional_scores"][1:].sum()) / len(one["positional_scores"]) for one in found]
    texts = [spm.decode([t for t in tokens if t not in (tag, "</s>")]) for tokens in tokens_of]
    return sorted(zip(texts, scores, strict=True), key=lambda pair: -pair[1])[: options.nbest]


@pytest.mark.parametrize("column", [1, 2], ids=["de", "fr"])
def test_translations_are_those_of_multilingual_fairseq(column: int, multilingual: Path) -> None:
    """Both count the tag in the length; fairseq's score has its probability too, which the score here lacks."""
    target = LANGUAGES["fairseq-multilingual"][column]
    folder = str(multilingual / "ctranslate2")
    ours = open_outside(folder, "fairseq-multilingual", Given("en", target))
    options = DecodingOptions(beam=4, max_len_b=50)
    found = ours.translate(LINES, options)
    expected = [fairseqs(multilingual, line, f"__{target}__", options)[0] for line in LINES]
    assert [nbest[0].text for nbest in found] == [text for text, _ in expected]
    scores = [nbest[0].score * math.log(2) for nbest in found]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-3)
    assert "__" not in " ".join(nbest[0].tokens for nbest in found)
    assert len({nbest[0].text for nbest in found}) > 20
