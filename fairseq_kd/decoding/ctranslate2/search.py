"""fairseq's beam search, made of CTranslate2's."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_kd.decoding.interface import Progress, TooFew, batches, out_of_memory
from fairseq_kd.decoding.options import DecodingOptions

Beam = dict[tuple[str, ...], float]
"""Hypotheses without ``</s>``, and their scores: log-probabilities divided by the number of tokens (``</s>`` counted)
to the power ``lenpen``."""

LimitedBatch = tuple[list[int], int]
"""Indices of sentences that are decoded together, and the most tokens that a hypothesis of theirs can have."""

PAD = "<blank>"
"""The converter's name for fairseq's ``<pad>``."""

LEAST_PENALTY = 1e-9
"""Stands for a ``lenpen`` of 0."""

IMPOSSIBLE = -1e9
"""CTranslate2 gives hypotheses that do not start with the tags a log-probability of -1e10."""


def source_words(source: Tensor, dictionary: Dictionary) -> list[str]:
    """A source's tokens, without the ``</s>`` at its end, which CTranslate2 adds.

    ``<pad>`` within it is left out: fairseq masks it and gives it no position, but CTranslate2 would read a word.

    Args:
        source: token ids ending in ``</s>``, shape (length,).
        dictionary: of the source side.
    """
    return [dictionary[symbol] for symbol in source[:-1].tolist() if symbol != dictionary.pad()]


def limited_batches(
    lengths: dict[int, int], max_tokens: int, size: int | None, longest: Callable[[int], int]
) -> list[LimitedBatch]:
    """fairseq's batches, cut to what one thread decodes at a time.

    Args:
        lengths: each sentence's length in tokens, by its index.
        max_tokens: as for :func:`fairseq_kd.decoding.interface.batches`.
        size: sentences that one thread decodes at a time; None: a whole batch.
        longest: the limit of a hypothesis, by the length of the longest source in fairseq's whole batch.
    """
    limited: list[LimitedBatch] = []
    for batch in batches(lengths, max_tokens):
        limit, step = longest(lengths[batch[0]]), size or len(batch)  # the longest source comes first
        limited += [(batch[start : start + step], limit) for start in range(0, len(batch), step)]
    return limited


def best_of(beam: Beam, nbest: int, sentence: int) -> list[tuple[tuple[str, ...], float]]:
    """The ``nbest`` best hypotheses with their scores to the base 2; NaN and infinite scores are left out.

    Raises:
        TooFew: there are fewer; the error has the index ``sentence``.
    """
    usable = sorted((pair for pair in beam.items() if math.isfinite(pair[1])), key=lambda pair: -pair[1])
    if len(usable) < nbest:
        raise TooFew(sentence, len(usable), nbest)
    return [(tokens, score / math.log(2)) for tokens, score in usable[:nbest]]


@dataclass(frozen=True)
class BeamSearch:
    """A search with CTranslate2 whose hypotheses, scores and limits are fairseq's.

    CTranslate2's ``length_penalty`` is fairseq's ``lenpen``: both divide by the number of tokens, ``</s>`` counted, to
    that power. At 0 CTranslate2 would end early, so it gets the least number that it does not take for 0.

    Attributes:
        translator: the ``ctranslate2.Translator``.
        words: each sentence's source tokens, without ``</s>``, by its index.
        options: how to search.
        suppressed: tokens that no translation has.
        tags: tokens that every translation starts with. They are given: their length counts in a score, their
            probability does not, as in transformers' ``generate`` with ``forced_bos_token_id``.
        shortlisted: whether to search among the symbols of the model's vocabulary map alone. Scores are relative to
            these, but for hypotheses that :meth:`_score` scores anew.
    """

    translator: Any
    words: dict[int, list[str]]
    options: DecodingOptions
    suppressed: tuple[str, ...] = (PAD,)
    tags: tuple[str, ...] = ()
    shortlisted: bool = False

    def run(self, limited: list[LimitedBatch], progress: Progress | None = None) -> dict[int, Beam]:
        """The final beam of each sentence by fairseq's rules, of which CTranslate2 breaks two.

        fairseq gives no empty translation. CTranslate2 can be kept from it only by changed probabilities, so a
        sentence with an empty hypothesis is searched again for one hypothesis more.

        fairseq makes one step after ``longest`` tokens, in which every hypothesis left gets its ``</s>``. A sentence
        that needed this step is searched again for one token less and for all hypotheses that are left then;
        :meth:`_end` keeps those that fairseq keeps.

        Raises:
            UserError: a batch does not fit the GPU.
        """
        try:
            return self._run(limited, progress)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise out_of_memory(self.options) from None

    def _run(self, limited: list[LimitedBatch], progress: Progress | None) -> dict[int, Beam]:
        words, keep = self.words, self.options.ended
        # 1. All sentences, one token beyond the limit: in CTranslate2 that token can be anything, in fairseq only </s>.
        beams = self._search([(batch, longest + 1) for batch, longest in limited], keep, progress)
        # 2. Those with an empty hypothesis, for one hypothesis more, without the empty one.
        empty = [([i for i in batch if () in beams[i]], longest + 1) for batch, longest in limited]
        for i, beam in self._search(empty, keep + 1).items():
            # A greedy search is kept from the empty translation by its probabilities: they are computed anew.
            beams[i] = self._score(words[i], beam) if self.options.beam == 1 else beam
            beams[i].pop((), None)
        # 3. Those with a hypothesis at the limit, with the limit itself.
        cut = [
            ([i for i in batch if any(len(tokens) >= longest for tokens in beams[i])], longest)
            for batch, longest in limited
        ]
        # Fewer than ``keep`` hypotheses had ended before, and a beam of them is left: there is room for all.
        left = self._search(cut, keep + self.options.beam)
        for batch, longest in cut:
            for i in batch:
                # Where a hypothesis ended at the limit, only the first search knows the one that took its place.
                seen = {tokens[:longest]: score for tokens, score in beams[i].items()}
                beams[i] = self._end(words[i], seen | left[i], longest, keep)
        return beams

    def _search(self, limited: list[LimitedBatch], keep: int, progress: Progress | None = None) -> dict[int, Beam]:
        """Search until ``keep`` hypotheses of a sentence have ended or its limit is reached.

        As many batches are decoded at a time as there are threads or GPUs. A greedy search keeps one hypothesis: for
        ``keep`` > 1 it gives one that is not empty. Nor is a hypothesis empty where the limit is one token; there
        :meth:`_end` computes the score anew.
        """
        beam = self.options.beam
        greedy_again = beam == 1 < keep
        keep = 1 if greedy_again else keep
        # All batches go into the translator's queue first, so that no thread waits for this one.
        submitted = [
            self.translator.translate_batch(
                [self.words[i] for i in batch],  # CTranslate2 adds the </s>
                asynchronous=True,
                beam_size=beam,
                num_hypotheses=keep,
                patience=keep / beam,  # it ends with patience · beam hypotheses
                length_penalty=self.options.lenpen or LEAST_PENALTY,
                target_prefix=[list(self.tags)] * len(batch) if self.tags else None,
                max_input_length=0,
                min_decoding_length=int(greedy_again or length == 1),
                max_decoding_length=length,
                suppress_sequences=[[token] for token in self.suppressed] or None,
                return_scores=True,
                use_vmap=self.shortlisted,
            )
            for batch, length in limited
            if batch
        ]
        beams = {}
        for batch, results in zip((batch for batch, _ in limited if batch), submitted, strict=True):
            for i, result in zip(batch, (one.result() for one in results), strict=True):
                beams[i] = self._possible(zip(map(tuple, result.hypotheses), result.scores, strict=True))
            if progress:
                progress(len(batch))
        return beams

    def _possible(self, scored: Iterable[tuple[tuple[str, ...], float]]) -> Beam:
        """The hypotheses that start with the tags."""
        if not self.tags:
            return dict(scored)
        return {tokens: score for tokens, score in scored if score > self._penalised(IMPOSSIBLE, len(tokens) + 1)}

    def _end(self, source: list[str], beam: Beam, longest: int, keep: int) -> Beam:
        """Give ``</s>`` to hypotheses of ``longest`` tokens, and keep the best of them that the beam has room for."""
        # Shorter hypotheses have ended by themselves and stay.
        finished = {tokens: score for tokens, score in beam.items() if 0 < len(tokens) < longest}
        # With their </s> in the score, which the search at the limit did not draw.
        ended = self._score(source, [tokens for tokens in beam if len(tokens) == longest])
        best = sorted(ended, key=ended.__getitem__, reverse=True)[: max(keep - len(finished), 0)]
        return finished | {tokens: ended[tokens] for tokens in best}

    def _score(self, source: list[str], hypotheses: Iterable[tuple[str, ...]]) -> Beam:
        """The hypotheses with their scores, ``</s>`` counted, by one forward pass."""
        targets = [list(tokens) for tokens in hypotheses]
        scored = self.translator.score_batch([source] * len(targets), targets, max_input_length=0)
        return {
            tuple(tokens): self._penalised(math.fsum(result.log_probs[len(self.tags) :]), len(result.log_probs))
            for tokens, result in zip(targets, scored, strict=True)
        }

    def _penalised(self, log_probability: float, size: int) -> float:
        """The score of ``size`` tokens, ``</s>`` counted."""
        return log_probability / size**self.options.lenpen
