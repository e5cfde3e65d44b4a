"""Translate a data-bin's subset; the scores, the speed and the size of the model make one result."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fairseq.data.data_utils import post_process as join_subwords
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.compress.packing import read_state
from fairseq_kd.data.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import Engine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.cost import measure_costs, plan_costs
from fairseq_kd.evaluate.options import CostOptions
from fairseq_kd.evaluate.references import databin_references, read_references
from fairseq_kd.evaluate.result_file import make_place
from fairseq_kd.evaluate.scores import score_text
from fairseq_kd.evaluate.teacher_forcing import teacher_forced
from fairseq_kd.evaluate.timed_translation import mode_mass, translate_timed
from fairseq_kd.networks.checkpoints import build_models
from fairseq_kd.networks.parameters import count_nonzero
from fairseq_kd.storage.files import file_hash, split_paths, write_json
from fairseq_kd.storage.provenance import commit, machine, versions

logger = logging.getLogger(__name__)

NOTE = (
    "target tokens are subwords and </s>, source lengths subwords alone; seconds leave out loading and a warm-up batch;"
    " skipped rows (empty, or longer than the model's positions) are scored as empty lines and count in no rate and no "
    "mode_mass, the mean over sentences of the model's probability of its own translation with its </s>"
)


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    subset: str = "test",
    beams: Sequence[int] = (1, 5),
    lengths: DecodingOptions = DecodingOptions(),  # noqa: B008
    engine: str = "auto",
    precision: str = "float32",
    reference: str | Path | None = None,
    post_process: str = "sentencepiece",
    compare_fairseq: bool = False,
    cost: CostOptions | None = None,
    name: str | None = None,
    seed: int | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Score a model on a data-bin's subset, and measure its speed and size.

    Args:
        model: a fairseq checkpoint; several, separated by colons, are an ensemble.
        data: folder made by fairseq-preprocess, with the model's dictionaries.
        subset: the split.
        beams: beam sizes to search with; 1 is greedy search.
        lengths: output lengths and batch size; the ``beam`` and ``nbest`` in it are ignored.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: what CTranslate2 computes in, one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
        reference: file of detokenised text, a line for each row; None for the data-bin's target side.
        post_process: how subwords are joined, one of :data:`fairseq_kd.data.subwords.POST_PROCESSES`.
        compare_fairseq: also time fairseq's own search where CTranslate2 decodes.
        cost: how to measure decoding's speed and memory; None to leave that out.
        name: the row of a table that the result belongs to; None for the name of the checkpoint's folder.
        seed: the training seed, recorded as given.
        output: JSON file to write the result to, whole or not at all; None to write none.

    Returns:
        The content of the JSON file. "beams" has for each beam size BLEU, chrF and TER with sacreBLEU's signatures,
        "mode_mass", rates and the hypotheses; "teacher_forced" is what :func:`score_predictions` gives; "cost" what
        :func:`measure_costs` gives. Counts of parameters, the references and what made the result are there too.

    Raises:
        UserError: an option is out of range, a checkpoint, the data-bin or the reference cannot be used, ``output``
            is a folder, or a measurement fails.
    """
    searches = [replace(lengths, beam=beam, nbest=1) for beam in sorted(set(beams))]
    paths = split_paths(str(model))
    if not paths:
        raise UserError("--model: names no file; give the path of a fairseq checkpoint (.pt)")
    make_place(output)
    task = open_databin(data, subset)
    sentences = read_sentences(task, subset, reference, post_process)
    plan = plan_costs(cost, paths, searches, task, subset) if cost else None
    chosen = choose_engine(engine, precision, paths, task, search=lengths)
    if compare_fairseq:
        lengths.require("fairseq")
    decoder = chosen.build()
    compared = FairseqEngine(paths, task) if compare_fairseq and chosen.engine != "fairseq" else None
    scored = {str(search.beam): score_search(search, sentences, decoder, compared) for search in searches}
    forced = teacher_forced(build_models(paths, task, role="model"), task, subset, lengths.max_tokens)
    result = {
        "name": name or Path(paths[0]).resolve().parent.name,
        "seed": seed,
        **_model_facts(paths, decoder),
        "languages": [task.cfg.source_lang, task.cfg.target_lang],
        "data": str(data),
        "subset": subset,
        "post_process": post_process,
        "reference": None if reference is None else str(reference),
        "engine": chosen.engine,
        "precision": chosen.precision,
        "decoding": {key: value for key, value in lengths.record().items() if key not in ("beam", "nbest")},
        **({"cost": measure_costs(plan)} if plan else {}),
        "skipped": sum(sentences.skipped(decoder)),
        "note": NOTE,
        "beams": scored,
        "teacher_forced": forced and score_predictions(forced, sentences),
        "source_lengths": [len(source) - 1 for source in sentences.sources],
        "references": sentences.references,
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    if output is not None:
        write_json(output, result)
    return result


@dataclass(frozen=True)
class Sentences:
    """The sentences that a model is scored on.

    Attributes:
        sources: token ids ending in ``</s>``.
        references: detokenised text, a line for each source.
        post_process: how a translation's subwords are joined.
    """

    sources: list[torch.Tensor]
    references: list[str]
    post_process: str

    def skipped(self, engine: Engine) -> list[bool]:
        """Whether the engine refuses each source: it is empty, or longer than the model's positions."""
        return [not engine.takes(source) for source in self.sources]


def read_sentences(task: TranslationTask, subset: str, reference: str | Path | None, post_process: str) -> Sentences:
    """The sentences of a loaded subset.

    Raises:
        UserError: the subset is empty or has no references, or the file ``reference`` does not fit it.
    """
    dataset = task.dataset(subset)
    sources = [dataset.src[row] for row in range(len(dataset))]
    if not sources:
        raise UserError(f"data-bin {task.cfg.data}: subset {subset!r} has no rows")
    if reference:
        return Sentences(sources, read_references(reference, len(sources)), post_process)
    return Sentences(sources, databin_references(task, subset, post_process), post_process)


def score_search(
    search: DecodingOptions, sentences: Sentences, decoder: Engine, compared: Engine | None
) -> dict[str, Any]:
    """One beam size's scores, mode mass, rates and hypotheses; the speed of the engine ``compared``, if any, too."""
    skipped = sentences.skipped(decoder)
    found, speed = translate_timed(decoder, sentences.sources, skipped, search)
    hypotheses = [join_subwords(best.tokens, sentences.post_process) for best in found]
    if compared:
        _, fairseq = translate_timed(compared, sentences.sources, skipped, search)
        speed["fairseq_sentences_per_second"] = fairseq["sentences_per_second"]
    scores = score_text(hypotheses, sentences.references)
    rate = speed["sentences_per_second"]
    logger.info("beam %d: BLEU %.2f, %.1f sentences/s", search.beam, scores["bleu"]["score"], rate)
    figures = {**scores, "mode_mass": mode_mass(found, skipped), "sentences": len(sentences.sources), **speed}
    return {**figures, "hypotheses": hypotheses}


def score_predictions(forced: dict[str, Any], sentences: Sentences) -> dict[str, Any]:
    """What :func:`teacher_forced` found, with the predicted text and its score in place of the predicted tokens.

    The teacher-forced BLEU of Wei et al. 2024, Table 3: each token is predicted from the gold tokens before it, and the
    predictions are scored as a translation.

    Returns:
        What ``forced`` has, but instead of "predicted" the "hypotheses", detokenised as translations are, and "bleu",
        their score in percent and sacreBLEU's signature.
    """
    figures = {name: value for name, value in forced.items() if name != "predicted"}
    hypotheses = [join_subwords(tokens, sentences.post_process) for tokens in forced["predicted"]]
    scored = score_text(hypotheses, sentences.references)["bleu"]
    logger.info("teacher-forced: accuracy %.2f %%, BLEU %.2f", forced["accuracy"], scored["score"])
    return {**figures, "bleu": scored, "hypotheses": hypotheses}


def _model_facts(paths: Sequence[str], decoder: Engine) -> dict[str, Any]:
    """What the checkpoints are, and how many parameters they have."""
    return {
        "models": [{"path": path, "sha256": file_hash(path)} for path in paths],
        "parameters": decoder.parameters,
        "nonzero_parameters": sum(count_nonzero(read_state(path)["model"])[1] for path in paths),
    }
