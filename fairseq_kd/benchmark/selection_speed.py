"""What `fairseq-kd benchmark` measures of `fairseq-kd select`."""

import tempfile
import time
from pathlib import Path
from typing import Any

from fairseq.data.data_utils import post_process
from sacrebleu import sentence_bleu

from fairseq_kd.corpus.seq_inter.gold import open_gold
from fairseq_kd.corpus.seq_inter.nbest import check_nbest
from fairseq_kd.corpus.seq_inter.select import select

SUBSET = "valid"
DECODING = ["--subset", SUBSET, "--beam", "35", "--nbest", "35", "--max-len-a", "1.2", "--max-len-b", "10"]
"""How the lists are made, by `fairseq-kd decode`."""


def selections(nbest: Path, data: str) -> dict[str, dict[str, Any]]:
    """What is compared, and the arguments of :func:`measure_selection` for it."""
    shared = {"nbest": str(nbest / f"{SUBSET}.nbest.tsv"), "data": data}
    names = ("sacrebleu.sentence_bleu for each", "select, 1 process", "select, 2 processes")
    return {name: {**shared, "workers": workers} for workers, name in enumerate(names)}


def measure_selection(nbest: str, data: str, workers: int) -> dict[str, float]:
    """Seconds to choose from all lists by sentence BLEU, from file to file; with 0 workers by a loop over sacreBLEU,
    without writing."""
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
