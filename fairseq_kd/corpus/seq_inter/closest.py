"""The candidate of an n-best list that is closest to the gold target (Kim & Rush 2016, section 3.3)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from fairseq.data.data_utils import post_process
from sacrebleu.metrics import BLEU, CHRF

from fairseq_kd.corpus.seq_inter.nbest import Candidate

METRICS = ("sentence-bleu", "chrf")
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
SMOOTH_METHODS = ("exp", "floor", "add-k", "none")


@dataclass(frozen=True)
class Similarity:
    """How a candidate and the gold target are compared.

    Attributes:
        metric: "sentence-bleu" is ``sacrebleu.sentence_bleu``, "chrf" is ``sacrebleu.sentence_chrf``.
        post_process: how a candidate's subwords are joined, fairseq's names.
        tokenize: sacreBLEU's tokenizer; "" for chrF.
        smooth_method: sacreBLEU's name of a smoothing of Chen & Cherry 2014; "" for chrF.
    """

    metric: str
    post_process: str
    tokenize: str = ""
    smooth_method: str = ""

    @property
    def scorer(self) -> BLEU | CHRF:
        """sacreBLEU's object, one in each process."""
        return _scorer(self)

    @property
    def signature(self) -> str:
        """sacreBLEU's."""
        self.scorer._cache_references([[""]])  # it notes the number of references
        return str(self.scorer.get_signature())


@functools.cache
def _scorer(similarity: Similarity) -> BLEU | CHRF:
    if similarity.metric == "chrf":
        return CHRF()
    return BLEU(tokenize=similarity.tokenize, smooth_method=similarity.smooth_method, effective_order=True)


@dataclass(frozen=True)
class Selected:
    """What was chosen of a list.

    Attributes:
        rank: of the chosen candidate, from 1.
        first: the similarity of rank 1 to the gold target, from 0 to 100.
        best: that of the chosen candidate.
        distinct: how many different texts the list holds.
        tokens: the chosen candidate's subwords.
    """

    rank: int
    first: float
    best: float
    distinct: int
    tokens: str


def closest(candidates: Sequence[Candidate], gold: str, similarity: Similarity) -> Selected:
    """The candidate most similar to ``gold``; of equals that of the highest score, then of the first rank.

    The values are those of sacreBLEU's sentence scores, by its own methods: only what these repeat is left out, which
    is the gold target's n-grams for each candidate and all of a text that comes again.
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
