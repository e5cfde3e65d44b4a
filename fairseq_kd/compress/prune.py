"""Set a model's smallest weights to zero (See, Luong & Manning 2016, arXiv 1606.09274)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fairseq_kd.compress.options import SCHEMES
from fairseq_kd.compress.packing import pack, to_bytes, untrained, write_once
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import saved_state
from fairseq_kd.networks.parameters import classes, count_nonzero, padding_zeros
from fairseq_kd.storage.files import file_hash, write_json
from fairseq_kd.storage.provenance import commit, versions


def smallest(scores: torch.Tensor, count: int, padding: int, name: str) -> torch.Tensor:
    """Which weights to set to zero: the ``count`` smallest, of equal ones the first.

    Args:
        scores: what the weights are compared by, shape (weights,); 0 exactly for zeros.
        count: how many of them are to be zero.
        padding: how many are zero without pruning.
        name: what the error calls the weights.

    Returns:
        A mask, shape (weights,).

    Raises:
        UserError: more of them are zero already.
    """
    zeros = int((scores == 0).sum())
    if zeros > count + padding:
        raise UserError(
            f"pruned further already: {zeros:,} of the {len(scores):,} weights of {name} are zero, more than the "
            f"{count:,} of this --sparsity; give a higher --sparsity or the --scheme of before"
        )
    if zeros >= count:
        return scores == 0
    threshold = scores.kthvalue(count).values
    chosen = scores < threshold
    equal = (scores == threshold).nonzero().squeeze(1)
    chosen[equal[: count - int(chosen.sum())]] = True
    return chosen


def choose(
    weights: Mapping[str, torch.Tensor], padding: Mapping[str, int], sparsity: float, scheme: str
) -> tuple[dict[str, torch.Tensor], float | None]:
    """Which weights of each class to set to zero: round(``sparsity`` × all) in total.

    Args:
        weights: the weights of each class, flat.
        padding: how many of them are zero without pruning.
        sparsity: share of all weights, from 0 to below 1.
        scheme: "class-blind": the smallest magnitudes of all; "class-uniform": the same share of each class;
            "class-distribution": magnitudes up to λ·σ of the class, λ such that the share of all is met, σ the standard
            deviation of the class's weights, zeros included (See et al. 2016, section 3.2).

    Returns:
        A mask for each class, and λ (None in the other schemes).

    Raises:
        UserError: the model is sparser already.
    """
    sizes = [len(values) for values in weights.values()]
    total = round(sparsity * sum(sizes))
    if scheme == "class-uniform":
        chosen, before = {}, 0
        for name, values in weights.items():
            # Rounded so that the classes' counts add up to the total.
            upto = round(sparsity * (before + len(values)))
            count = upto - round(sparsity * before)
            chosen[name] = smallest(values.abs(), count, padding[name], f"class {name!r}")
            before += len(values)
        return chosen, None
    magnitude = _in_deviations if scheme == "class-distribution" else torch.abs
    scores = torch.cat([magnitude(values) for values in weights.values()])
    mask = smallest(scores, total, sum(padding.values()), "the model")
    factor = float(scores[mask].max()) if scheme == "class-distribution" and mask.any() else None
    return dict(zip(weights, mask.split(sizes), strict=True)), factor


def _in_deviations(values: torch.Tensor) -> torch.Tensor:
    # float64: weights that differ must not become equal by the division.
    values = values.double()
    return values.abs() / values.std(correction=0).clamp(min=torch.finfo(torch.float64).tiny)


def prune_model(model: dict[str, torch.Tensor], sparsity: float, scheme: str) -> dict[str, Any]:
    """Prune a checkpoint's model in place, tied matrices once and under all their names.

    Returns:
        The report: "parameters", "prunable", "nonzero", "lambda" and for each class "parameters", "nonzero" and
        "threshold", the largest magnitude that was set to zero.

    Raises:
        UserError: there are no weights, or normalised ones, or as :func:`choose`.
    """
    if any(name.endswith(("weight_g", "original0")) for name in model):
        raise UserError(
            "the model's weights are normalised (g·v/‖v‖), where small entries of v are not small weights; give a "
            "model without weight normalisation"
        )
    found = classes(model)
    if not found:
        raise UserError("the model has no weights to prune; give a fairseq encoder-decoder")
    firsts = {group: [names[0] for names in found[group]] for group in found}
    weights = {group: torch.cat([model[name].flatten() for name in firsts[group]]) for group in found}
    padding = {group: sum(padding_zeros(name, model[name]) for name in firsts[group]) for group in found}
    chosen, factor = choose(weights, padding, sparsity, scheme)
    report = {}
    for group, mask in chosen.items():
        values = weights[group]
        threshold = float(values[mask].abs().max()) if mask.any() else 0.0
        nonzero = len(values) - int(mask.sum())
        report[group] = {"parameters": len(values), "nonzero": nonzero, "threshold": threshold}
        parts = mask.split([model[name].numel() for name in firsts[group]])
        for names, part in zip(found[group], parts, strict=True):
            for name in names:
                model[name].masked_fill_(part.view_as(model[name]), 0)
    parameters, left = count_nonzero(model)
    prunable = sum(map(len, weights.values()))
    return {"parameters": parameters, "prunable": prunable, "nonzero": left, "lambda": factor, "classes": report}


def prune(model: str | Path, output: str | Path, sparsity: float, scheme: str = SCHEMES[0]) -> dict[str, Any]:
    """Write the checkpoint ``model`` with its smallest weights at zero and without its optimizer's state.

    The report goes to ``output`` + ".json". Where ``output`` holds the same checkpoint already, it stays as it is.

    Args:
        model: a fairseq checkpoint.
        output: the checkpoint to write.
        sparsity: share of the prunable weights to be zero, from 0 to below 1.
        scheme: as for :func:`choose`.

    Returns:
        The report: that of :func:`prune_model` and "model", "sha256", "sparsity", "scheme", "bytes" (of ``output``),
        "sparse_bytes" (of its sparse export), "versions" and "commit".

    Raises:
        UserError: the sparsity is out of range, the output holds something else, or as :func:`prune_model`.
    """
    if not 0 <= sparsity < 1:
        raise UserError(f"--sparsity {sparsity}: give a number from 0 to below 1")
    state = untrained(saved_state(model))
    pruned = prune_model(state["model"], sparsity, scheme)
    dense, sparse = to_bytes(state), pack(state)
    report = {
        "model": str(model),
        "sha256": file_hash(model),
        "sparsity": sparsity,
        "scheme": scheme,
        **pruned,
        "bytes": len(dense),
        "sparse_bytes": len(sparse),
        "versions": versions(),
        "commit": commit(),
    }
    write_once(Path(output), dense)
    write_json(f"{output}.json", report)
    return report


def describe(report: Mapping[str, Any]) -> str:
    """The report of :func:`prune` as lines of text."""
    left, prunable = report["nonzero"], report["prunable"]
    lines = [
        f"{name}: {figures['nonzero']:,} of {figures['parameters']:,} left, |w| > {figures['threshold']:.4g}"
        for name, figures in report["classes"].items()
    ]
    if report["lambda"] is not None:
        lines.append(f"λ = {report['lambda']:.4g}")
    lines.append(f"{report['parameters']:,} parameters, {prunable:,} prunable, {left:,} not zero")
    share = report["sparse_bytes"] / report["bytes"]
    lines.append(f"{report['bytes']:,} bytes; fairseq-kd export --to sparse: {report['sparse_bytes']:,} ({share:.1%})")
    return "\n".join(lines)
