"""Speed of `fairseq-kd select`, beside a loop over sacreBLEU."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fairseq.data.data_utils import post_process
from sacrebleu import sentence_bleu

from fairseq_kd.corpus.seq_inter.gold import open_gold
from fairseq_kd.corpus.seq_inter.nbest import check_nbest
from fairseq_kd.corpus.seq_inter.select import select
from fairseq_kd.data.databins.files import UNNAMED, Languages

SUBSET = "valid"
"""The split whose n-best lists are chosen from."""


def measure_selection(
    nbest: str, data: str, workers: int, languages: Sequence[str | None] = UNNAMED
) -> dict[str, float]:
    """Time the choice from all n-best lists by sentence BLEU, from file to file.

    Args:
        nbest: file of n-best lists.
        data: the data-bin whose validation set they translate.
        workers: how many processes; 0 for a loop over sacreBLEU that writes nothing.
        languages: source and target of the data-bin.

    Returns:
        "seconds" and "candidates_per_second".
    """
    source, target = languages
    pair = (source, target)
    start = time.perf_counter()
    size = _select(nbest, data, workers, pair) if workers else _loop(Path(nbest), Path(data), pair)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "candidates_per_second": size / seconds}


def _loop(nbest: Path, data: Path, languages: Languages) -> int:
    gold = open_gold(data, SUBSET, "sentencepiece", languages)
    lists = check_nbest(nbest, gold.rows, gold.rows)
    for candidates, target in zip(lists.lists(0, gold.rows), gold.lines(), strict=True):
        max((sentence_bleu(post_process(one.tokens, "sentencepiece"), [target]).score, one.score) for one in candidates)
    return gold.rows * lists.size


def _select(nbest: str, data: str, workers: int, languages: Languages) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        report = select(Path(nbest), Path(data), place, workers=workers, block_rows=100, languages=languages)
    return report["rows"] * report["candidates"]
