"""sacreBLEU's scores and paired bootstrap, and the detokenised text they are taken on."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq.data.data_utils import post_process
from fairseq.tasks.translation import TranslationTask
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

BOOTSTRAP_SAMPLES = 1000


def score_text(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Corpus BLEU, chrF and TER of detokenised lines, each ``{"score": in percent, "signature": sacreBLEU's}``."""
    scores = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF()), ("ter", TER())):
        score = metric.corpus_score(list(hypotheses), [list(references)]).score
        scores[name] = {"score": score, "signature": str(metric.get_signature())}
    return scores


def bootstrap_seed() -> int | None:
    """The seed of sacreBLEU's resampling (its ``SACREBLEU_SEED`` or its default); None for a fresh one each time."""
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    return None if seed.lower() == "none" else int(seed)


def _bootstrap(systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[Any]:
    """sacreBLEU's BLEU results (score, p_value, ci) of ``systems``, each of them paired with the first."""
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of each resampling at INFO
    named: list[tuple[str, Sequence[str]]] = [(str(number), list(lines)) for number, lines in enumerate(systems)]
    metrics = {"BLEU": BLEU(references=[list(references)])}
    return PairedTest(named, metrics, None, test_type="bs", n_samples=BOOTSTRAP_SAMPLES)()[1]["BLEU"]


def confidence_interval(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Half the width of the 95 % bootstrap interval of BLEU, in points."""
    return float(_bootstrap([hypotheses], references)[0].ci)


def p_value(hypotheses: Sequence[str], baseline: Sequence[str], references: Sequence[str]) -> float:
    """The paired bootstrap's p-value of the difference in BLEU between ``hypotheses`` and ``baseline``.

    It is 1 where the two are the same lines: sacreBLEU counts the resamples that differ by more than was seen, plus
    one, and so would call no difference at all significant.
    """
    if list(hypotheses) == list(baseline):
        return 1.0
    return float(_bootstrap([baseline, hypotheses], references)[1].p_value)


def read_references(path: str | Path, rows: int) -> list[str]:
    """The ``rows`` lines of a detokenised reference file.

    Raises:
        UserError: missing, not UTF-8, or another number of lines.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"reference {path}: cannot be read ({error.strerror}); give a text file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"reference {path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    # str.splitlines would also cut at characters such as U+2028, which are part of a line here
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) != rows:
        raise UserError(
            f"reference {path}: {len(lines)} lines for {rows} rows of the subset; give one line for each row"
        )
    return lines


def databin_references(task: TranslationTask, subset: str, symbol: str) -> list[str]:
    """The subset's target side with its subwords joined; warns where that holds unknown symbols.

    Raises:
        UserError: the subset has no target side.
    """
    dataset = task.dataset(subset)
    if dataset.tgt is None:
        raise UserError(
            f"data-bin {task.cfg.data}: subset {subset!r} has no {task.cfg.target_lang} side; give --reference FILE"
        )
    dictionary = task.target_dictionary
    targets = [dataset.tgt[row] for row in range(len(dataset))]
    unknown = sum(bool((target == dictionary.unk()).any()) for target in targets)
    if unknown:
        logger.warning(
            "%d of %d references hold %s, so the scores are off: give the text with --reference FILE",
            unknown, len(targets), dictionary.unk_word,
        )  # fmt: skip
    return [post_process(dictionary.string(target), symbol) for target in targets]
