"""Speed of `fairseq-kd select`, beside a loop over sacreBLEU."""

import tempfile
import time
from pathlib import Path

from fairseq.data.data_utils import post_process
from sacrebleu import sentence_bleu

from fairseq_kd.corpus.seq_inter.gold import open_gold
from fairseq_kd.corpus.seq_inter.nbest import check_nbest
from fairseq_kd.corpus.seq_inter.select import select

SUBSET = "valid"
"""The split whose n-best lists are chosen from."""


def measure_selection(nbest: str, data: str, workers: int) -> dict[str, float]:
    """Time the choice from all n-best lists by sentence BLEU, from file to file.

    Args:
        nbest: file of n-best lists.
        data: the data-bin whose validation set they translate.
        workers: how many processes; 0 for a loop over sacreBLEU that writes nothing.

    Returns:
        "seconds" and "candidates_per_second".
    """
    start = time.perf_counter()
    size = _select(nbest, data, workers) if workers else _loop(Path(nbest), Path(data))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "candidates_per_second": size / seconds}


def _loop(nbest: Path, data: Path) -> int:
    gold = open_gold(data, SUBSET, "sentencepiece")
    lists = check_nbest(nbest, gold.rows, gold.rows)
    for candidates, target in zip(lists.lists(0, gold.rows), gold.lines(), strict=True):
        max((sentence_bleu(post_process(one.tokens, "sentencepiece"), [target]).score, one.score) for one in candidates)
    return gold.rows * lists.size


def _select(nbest: str, data: str, workers: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = select(Path(nbest), Path(data), Path(folder), workers=workers, block_rows=100)
    return report["rows"] * report["candidates"]
