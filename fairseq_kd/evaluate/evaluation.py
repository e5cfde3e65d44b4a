"""Translate a data-bin's subset; the scores, the speed and the size of the model make one result."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.fairseq_engine import FairseqEngine
from fairseq_kd.decoding.interface import Engine
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.costs.model_cost import measure_costs, plan_costs
from fairseq_kd.evaluate.costs.shortlist_effect import shortlist_effect
from fairseq_kd.evaluate.costs.timed_translation import mode_mass, translate_timed
from fairseq_kd.evaluate.options import CostOptions, ScoreOptions
from fairseq_kd.evaluate.result_file import make_place
from fairseq_kd.evaluate.saved_outputs import save_outputs as write_outputs
from fairseq_kd.evaluate.scoring.comet_scores import Comet, find_comet, one_of_several
from fairseq_kd.evaluate.scoring.detokenize import MOSES
from fairseq_kd.evaluate.scoring.detokenize import detokenize as detokenize_line
from fairseq_kd.evaluate.scoring.more_scores import check_metrics, more_scores, warn_of_script
from fairseq_kd.evaluate.scoring.references import databin_sources
from fairseq_kd.evaluate.scoring.scores import score_text
from fairseq_kd.evaluate.sentences import Sentences, read_sentences
from fairseq_kd.evaluate.teacher_forcing import teacher_forced
from fairseq_kd.networks.checkpoints import build_models, checkpoint_paths, saved_state
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.networks.parameters import count_nonzero
from fairseq_kd.storage.files import file_hash, write_json
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
    languages: Languages = UNNAMED,
    beams: Sequence[int] = (1, 5),
    lengths: DecodingOptions = DecodingOptions(),  # noqa: B008
    engine: str = "auto",
    precision: str = "float32",
    shortlist: str | Path | None = None,
    compare_fairseq: bool = False,
    scoring: ScoreOptions = ScoreOptions(),  # noqa: B008
    cost: CostOptions | None = None,
    name: str | None = None,
    seed: int | None = None,
    output: str | Path | None = None,
    save_outputs: str | Path | None = None,
) -> dict[str, Any]:
    """Score a model on a data-bin's subset, and measure its speed and size.

    Args:
        model: a fairseq checkpoint; several, separated by colons, are an ensemble.
        data: folder made by fairseq-preprocess, with the model's dictionaries.
        subset: the split.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        beams: beam sizes to search with; 1 is greedy search.
        lengths: output lengths and batch size; the ``beam`` and ``nbest`` in it are ignored.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`; "cost" measures this engine alone, with "auto" both.
        precision: what CTranslate2 computes in, one of :data:`fairseq_kd.decoding.options.PRECISIONS`.
        shortlist: a vocabulary map, or a folder of `fairseq-kd export --shortlist`: CTranslate2 translates with it, and
            without it once more for comparison. None: all symbols are allowed.
        compare_fairseq: also time fairseq's own search where CTranslate2 decodes.
        scoring: the references, and how translations are compared with them.
        cost: how to measure decoding's speed and memory; None to leave that out.
        name: the row of a table that the result belongs to; None for the name of the checkpoint's folder.
        seed: the training seed, recorded as given.
        output: JSON file to write the result to, whole or not at all; None to write none.
        save_outputs: file for the lines of :func:`fairseq_kd.evaluate.saved_outputs.save_outputs`; None for none.

    Returns:
        The content of the JSON file. "beams" has for each beam size BLEU, chrF and TER with sacreBLEU's signatures,
        "mode_mass", rates and the hypotheses, and with ``scoring.comet`` COMET's score and what made it.
        "teacher_forced" is what :func:`score_predictions` gives, "cost" what :func:`measure_costs` gives, and
        "shortlist" what :func:`shortlist_effect` gives. Counts of parameters, the references and what made the result
        are there too.

    Raises:
        UserError: an option is out of range, a checkpoint, the data-bin, the reference, the tokenizer or COMET cannot
            be used, ``output`` or ``save_outputs`` is a folder, or a measurement fails.
    """
    searches = [replace(lengths, beam=beam, nbest=1) for beam in sorted(set(beams))]
    check_places(output, save_outputs)
    check_metrics(scoring.metrics)
    judge = find_comet(scoring.comet) if scoring.comet else None
    paths = checkpoint_paths(str(model))
    task = open_databin(data, subset, data_languages(data, paths[0], languages))
    sentences = read_sentences(task, subset, scoring)
    warn_of_script(sentences.references, scoring.metrics)
    limit = None if shortlist is None else Path(shortlist)
    plan = plan_costs(cost, paths, searches, task, subset, engine, limit) if cost else None
    chosen = choose_engine(engine, precision, paths, task, search=lengths, shortlist=limit)
    if compare_fairseq:
        lengths.require("fairseq")
    decoder = chosen.build()
    compared = FairseqEngine(paths, task) if compare_fairseq and chosen.engine != "fairseq" else None
    scored = {
        str(search.beam): score_search(search, sentences, decoder, compared, scoring.metrics) for search in searches
    }
    forced = teacher_forced(build_models(paths, task, role="model"), task, subset, lengths.max_tokens)
    files = scoring.references
    result = {
        "name": name or Path(paths[0]).resolve().parent.name,
        "seed": seed,
        **_model_facts(paths, decoder),
        "languages": [task.cfg.source_lang, task.cfg.target_lang],
        "data": str(data),
        "subset": subset,
        "post_process": scoring.post_process,
        "tokenize": sentences.scoring.tokenize,
        "lowercase": scoring.lowercase,
        "detokenize": sentences.detokenize,
        "reference": [*map(str, files)] if len(files) > 1 else next(map(str, files), None),
        "engine": chosen.engine,
        "precision": chosen.precision,
        "decoding": {key: value for key, value in lengths.record().items() if key not in ("beam", "nbest")},
        **({"cost": measure_costs(plan)} if plan else {}),
        **({"shortlist": shortlist_effect(limit, chosen, paths, task, searches, sentences, scored)} if limit else {}),
        "skipped": sentences.count_skipped(decoder),
        "note": NOTE,
        "beams": scored,
        **_of_sentences(scored, sentences, task, save_outputs, judge),
        "teacher_forced": forced and score_predictions(forced, sentences),
        "source_lengths": [len(source) - 1 for source in sentences.sources],
        "references": sentences.references,
        **({"more_references": sentences.more_references} if sentences.more_references else {}),
        **{"versions": versions(), "machine": machine(), "commit": commit()},
    }
    if output is not None:
        write_json(output, result)
    return result


def score_search(
    search: DecodingOptions,
    sentences: Sentences,
    decoder: Engine,
    compared: Engine | None,
    metrics: Sequence[str] = (),
) -> dict[str, Any]:
    """One beam size's scores, mode mass, rates and hypotheses; the speed of the engine ``compared``, if any, too."""
    skipped = sentences.skipped(decoder)
    found, speed = translate_timed(decoder, sentences.sources, skipped, search)
    hypotheses = [sentences.text(best.tokens) for best in found]
    if compared:
        _, fairseq = translate_timed(compared, sentences.sources, skipped, search)
        speed["fairseq_sentences_per_second"] = fairseq["sentences_per_second"]
    scores = score_text(hypotheses, sentences.references, sentences.scoring, sentences.more_references)
    given: list[Sequence[str | None]] = [sentences.references, *sentences.more_references]
    scores |= more_scores(hypotheses, given, sentences.scoring, metrics)
    rate = speed["sentences_per_second"]
    logger.info("beam %d: BLEU %.2f, %.1f sentences/s", search.beam, scores["bleu"]["score"], rate)
    figures = {**scores, "mode_mass": mode_mass(found, skipped), "sentences": len(sentences.sources), **speed}
    return {**figures, "hypotheses": hypotheses}


def check_places(output: str | Path | None, save_outputs: str | Path | None) -> None:
    """Make the folders of both files; None is no file.

    Raises:
        UserError: one of them is a folder, or both are one file.
    """
    make_place(output)
    make_place(save_outputs, "--save-outputs")
    if output and save_outputs and Path(output).resolve() == Path(save_outputs).resolve():
        raise UserError(f"--save-outputs {save_outputs}: is also the file of --output; give another name")


def _of_sentences(
    scored: dict[str, dict[str, Any]],
    sentences: Sentences,
    task: TranslationTask,
    saved: str | Path | None,
    judge: Comet | None,
) -> dict[str, Any]:
    """Give each beam in ``scored`` COMET's score, and write the sentences' scores; returns what made the file."""
    if saved is None and judge is None:
        return {}
    sources = databin_sources(task, sentences.subset, sentences.post_process)
    if sentences.detokenize == MOSES:
        sources = [detokenize_line(line, sentences.languages[0]) for line in sources]
    hypotheses = {beam: made["hypotheses"] for beam, made in scored.items()}
    values = {}
    if judge is not None:
        for beam, lines in hypotheses.items():
            score, values[beam] = judge.score(sources, lines, sentences.references)
            scored[beam]["comet"] = {"score": score, **judge.signature, **one_of_several(sentences)}
            logger.info("beam %s: COMET %.4f", beam, score)
    if saved is None:
        return {}
    return {"outputs": {"path": str(saved), **write_outputs(saved, sentences, sources, hypotheses, values or None)}}


def score_predictions(forced: dict[str, Any], sentences: Sentences) -> dict[str, Any]:
    """What :func:`teacher_forced` found, with the predicted text and its score in place of the predicted tokens.

    The teacher-forced BLEU of Wei et al. 2024, Table 3: each token is predicted from the gold tokens before it, and the
    predictions are scored as a translation.

    Returns:
        What ``forced`` has, but instead of "predicted" the "hypotheses", detokenised as translations are, and "bleu",
        their score in percent and sacreBLEU's signature.
    """
    figures = {name: value for name, value in forced.items() if name != "predicted"}
    hypotheses = [sentences.text(tokens) for tokens in forced["predicted"]]
    scored = score_text(hypotheses, sentences.references, sentences.scoring, sentences.more_references)["bleu"]
    logger.info("teacher-forced: accuracy %.2f %%, BLEU %.2f", forced["accuracy"], scored["score"])
    return {**figures, "bleu": scored, "hypotheses": hypotheses}


def _model_facts(paths: Sequence[str], decoder: Engine) -> dict[str, Any]:
    """What the checkpoints are, and how many parameters they have."""
    return {
        "models": [{"path": path, "sha256": file_hash(path)} for path in paths],
        "parameters": decoder.parameters,
        "nonzero_parameters": sum(count_nonzero(saved_state(path)["model"])[1] for path in paths),
    }
