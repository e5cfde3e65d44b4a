"""The candidate of a list that is closest to the gold target (Kim & Rush 2016, section 3.3), or to the other ones.

The latter is minimum Bayes risk decoding with a uniform weight for each candidate (Kumar & Byrne 2004 for n-best lists,
Eikema & Aziz 2020 for samples).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from fairseq_kd.corpus.seq_inter.nbest import Candidate
from fairseq_kd.corpus.seq_inter.similarity import Similarity
from fairseq_kd.data.text.joining import join


@dataclass(frozen=True)
class Selected:
    """The candidate chosen from a list.

    Attributes:
        rank: of the chosen candidate, from 1.
        first: the similarity of rank 1 to the gold target, or its mean to the other candidates, from 0 to 100.
        best: the similarity of the chosen candidate, from 0 to 100.
        distinct: how many different texts the list holds.
        tokens: the chosen candidate's subwords.
    """

    rank: int
    first: float
    best: float
    distinct: int
    tokens: str


def closest(candidates: Sequence[Candidate], gold: str, similarity: Similarity) -> Selected:
    """The candidate most similar to ``gold``; of equals, the one with the highest score, then with the first rank.

    The values equal sacreBLEU's sentence scores and come from its own methods. The n-grams of the gold target are
    counted once for all candidates, and a text that comes again is scored once.
    """
    scorer = similarity.scorer
    (cached,) = scorer._cache_references([[gold]])
    values: dict[str, float] = {}
    found = []
    for candidate in candidates:
        text = join(candidate.tokens, similarity.post_process)
        if text not in values:
            statistics = scorer._compute_segment_statistics(scorer._preprocess_segment(text), cached)
            values[text] = scorer._compute_score_from_stats(statistics).score
        found.append(values[text])
    return _selected(candidates, found, len(values))


def most_agreed(candidates: Sequence[Candidate], similarity: Similarity) -> Selected:
    """The candidate with the highest mean similarity to the others; ties are broken as :func:`closest` does.

    Each other candidate counts as a reference, as often as its text is in the list. A candidate alone has 0.
    """
    scorer = similarity.scorer
    texts = [join(candidate.tokens, similarity.post_process) for candidate in candidates]
    counts = Counter(texts)
    cached = scorer._cache_references([list(counts)])  # the n-grams of each text, counted once
    values: dict[str, float] = {}
    for text in counts:
        segment = scorer._preprocess_segment(text)
        each = (
            scorer._compute_score_from_stats(scorer._compute_segment_statistics(segment, one)).score for one in cached
        )
        # a candidate is no reference of itself, but another one with its text is
        weighted = [(counts[other] - (other == text)) * score for other, score in zip(counts, each, strict=True)]
        values[text] = fsum(weighted) / max(1, len(texts) - 1)
    return _selected(candidates, [values[text] for text in texts], len(counts))


def _selected(candidates: Sequence[Candidate], found: Sequence[float], distinct: int) -> Selected:
    """The candidate of the greatest value; of equals, the one with the highest score, then with the first rank."""
    best = max(range(len(found)), key=lambda i: (found[i], candidates[i].score, -candidates[i].rank))
    return Selected(candidates[best].rank, found[0], found[best], distinct, candidates[best].tokens)
