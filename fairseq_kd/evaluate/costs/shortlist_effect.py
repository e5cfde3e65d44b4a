"""What a lexical shortlist costs in quality and gains in speed: each search once more without it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.decoding.choice import ChosenEngine, choose_engine
from fairseq_kd.decoding.ctranslate2.shortlist import find_shortlist
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.evaluate.costs.timed_translation import translate_timed
from fairseq_kd.evaluate.scoring.scores import score_text
from fairseq_kd.evaluate.sentences import Sentences
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)


def shortlist_effect(
    shortlist: Path,
    chosen: ChosenEngine,
    models: Sequence[str],
    task: TranslationTask,
    searches: Sequence[DecodingOptions],
    sentences: Sentences,
    scored: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Compare translations with a shortlist and without it.

    Args:
        shortlist: as :func:`fairseq_kd.decoding.ctranslate2.shortlist.find_shortlist` takes it.
        chosen: what translates with it.
        models: the checkpoints.
        task: with their dictionaries.
        searches: one for each beam size.
        sentences: what is translated.
        scored: with the shortlist, by beam: "bleu", "hypotheses" and "seconds". Its "mode_mass" becomes None, since
            these probabilities are no longer the model's.

    Returns:
        "path", "sha256", and "beams": by beam "bleu_without"; "bleu_difference", with it minus without; "changed", the
        share of the translations that differ, from 0 to 1; "times_as_fast", seconds without it over seconds with it.

    Raises:
        UserError: there is no such shortlist, or the model cannot be used.
    """
    file = find_shortlist(shortlist, task.target_dictionary)
    plain = choose_engine(chosen.engine, chosen.precision, models, task).build()
    beams = {}
    for search in searches:
        found, speed = translate_timed(plain, sentences.sources, sentences.skipped(plain), search)
        lines = [sentences.text(best.tokens) for best in found]
        bleu = score_text(lines, sentences.references, sentences.scoring, sentences.more_references)["bleu"]["score"]
        own = scored[str(search.beam)]
        own["mode_mass"] = None
        beams[str(search.beam)] = effect = {
            "bleu_without": bleu,
            "bleu_difference": own["bleu"]["score"] - bleu,
            "changed": sum(one != other for one, other in zip(own["hypotheses"], lines, strict=True)) / len(lines),
            "times_as_fast": speed["seconds"] / own["seconds"],
        }
        logger.info(
            "beam %d: the shortlist changes %.1f %% of the translations, BLEU by %+.2f, and is %.2f times as fast",
            search.beam, 100 * effect["changed"], effect["bleu_difference"], effect["times_as_fast"],
        )  # fmt: skip
    return {"path": str(file), "sha256": file_hash(file), "beams": beams}
