"""The candidate of an n-best list that is closest to the gold target (Kim & Rush 2016, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from fairseq.data.data_utils import post_process

from fairseq_kd.corpus.seq_inter.nbest import Candidate
from fairseq_kd.corpus.seq_inter.similarity import Similarity


@dataclass(frozen=True)
class Selected:
    """The candidate chosen from a list.

    Attributes:
        rank: of the chosen candidate, from 1.
        first: the similarity of rank 1 to the gold target, from 0 to 100.
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
        text = post_process(candidate.tokens, similarity.post_process)
        if text not in values:
            statistics = scorer._compute_segment_statistics(scorer._preprocess_segment(text), cached)
            values[text] = scorer._compute_score_from_stats(statistics).score
        found.append(values[text])
    best = max(range(len(found)), key=lambda i: (found[i], candidates[i].score, -candidates[i].rank))
    return Selected(candidates[best].rank, found[0], found[best], len(values), candidates[best].tokens)
