"""The criterion on real models: against loops over the definitions, and in fairseq-train."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import tasks
from fairseq.logging import metrics

from fairseq_kd.criterions.f_distill import TEACHERS
from fairseq_kd.criterions.interleave import interleave
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts
from fairseq_kd.errors import UserError
from fairseq_kd.losses.divergences import DIVERGENCES
from fairseq_kd.networks.teacher import Teacher
from tests.support.corpora import binarise
from tests.support.gradients import assert_slope, gradient
from tests.support.models import ARCHITECTURES, batch, build, configured
from tests.support.training import train_command

KD = ("--task", "translation_kd", "--criterion", "f_distill")
ONLINE = ("--online-teacher-samples",)


def setup(data: Path, *options: str, student: str = "transformer") -> tuple[Any, Any, Any]:
    """A student, its task and criterion, and a teacher of other weights in the task's hands."""
    task, model, criterion = build(data, *KD, *options, architecture=student)
    _, other, _ = build(data, seed=2)
    task._teacher = Teacher([other.eval().requires_grad_(False)])
    return task, model.train(), criterion.train()


def step_log_probs(model: Any, sample: dict[str, Any], row: int, sequence: list[int], eos: int) -> torch.Tensor:
    """log p(· | prefix) of one sentence at each step of a sequence, float64, from a forward of its own."""
    source = sample["net_input"]["src_tokens"][row : row + 1]
    length = sample["net_input"]["src_lengths"][row : row + 1]
    source = source[:, -int(length) :]  # fairseq pads sources on the left
    previous = torch.tensor([[eos, *sequence[:-1]]])
    with torch.no_grad():
        return model(source, length, previous)[0][0].double().log_softmax(-1)


def by_hand(task: Any, model: Any, sample: dict[str, Any], sequences: torch.Tensor, divergence: Any) -> float:
    """The sum over the steps of these sequences, sentence by sentence."""
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    total = 0.0
    for row, padded in enumerate(sequences.tolist()):
        sequence = [symbol for symbol in padded if symbol != pad]
        p, q = (step_log_probs(one, sample, row, sequence, eos) for one in (task._teacher.models[0], model))
        total += divergence(p, q).sum().item()
    return total


def drawn(task: Any, models: Any, criterion: Any, sample: dict[str, Any]) -> torch.Tensor:
    models = models if isinstance(models, list) else [models]
    seed = (criterion.seed, task.update + (TEACHERS if models[0] is task._teacher.models[0] else 0))
    return draw_rollouts(models, sample, criterion.sampling, seed, task.target_dictionary)


def test_both_models_draw_with_random_numbers_of_their_own(tiny_corpus: Path) -> None:
    """The student in the place of its teacher: with the same numbers, it would draw the same sequences twice."""
    task, model, criterion = setup(tiny_corpus, "--divergence", "js", *ONLINE)
    task._teacher = Teacher([model])
    task.update = 5
    terms = criterion._terms(model, task._teacher, batch(task, "valid", [0, 1, 2, 3]))
    of_teacher, of_student = (next(one.sequences for one in terms if one.name == who) for who in ("teacher", "student"))
    same = [one.tolist() == other.tolist() for one, other in zip(of_teacher, of_student, strict=True)]
    assert not any(same)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_loss_is_the_sum_over_the_steps(tiny_corpus: Path, name: str) -> None:
    """Each divergence where its authors take it, on sequences that are drawn again here with the same seed."""
    family = DIVERGENCES[name]
    online = () if family.prefixes == "student" else ONLINE
    task, model, criterion = setup(tiny_corpus, "--divergence", name, *online)
    task.update = 5
    sample = batch(task, "valid", [0, 1, 2, 3])
    loss, sample_size, _ = criterion(model, sample)
    one = family.at(None)
    whole = {"teacher": (one.value, None), "student": (None, one.value)}
    on_teacher, on_student = whole.get(family.prefixes, (one.on_teacher_prefixes, one.on_student_prefixes))
    expected = 0.0
    for drawer, divergence in ((task._teacher.models[0], on_teacher), (model, on_student)):
        if divergence is not None:
            expected += by_hand(task, model, sample, drawn(task, drawer, criterion, sample), divergence)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert sample_size == sample["ntokens"]


def test_the_authors_js_is_generalized_js(tiny_corpus: Path) -> None:
    """Their scripts: β·KL(q‖m) on student samples + (1−β)·KL(p‖m) on the teacher's, m = (1−β)·p + β·q; here 1−β."""
    beta = 0.25
    task, model, criterion = setup(
        tiny_corpus, "--divergence", "generalized_js", "--divergence-parameter", str(1 - beta), *ONLINE
    )
    sample = batch(task, "valid", [0, 1, 2, 3])

    def to_middle(own: int, weight: float) -> Any:
        def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
            middle = ((1 - beta) * p.exp() + beta * q.exp()).log()
            side = (p, q)[own]
            return weight * (side.exp() * (side - middle)).sum(-1)

        return kl

    expected = by_hand(task, model, sample, drawn(task, task._teacher.models[0], criterion, sample), to_middle(0, 0.75))
    expected += by_hand(task, model, sample, drawn(task, model, criterion, sample), to_middle(1, beta))
    assert criterion(model, sample)[0].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("both", "of_teacher"), [(2.0, None), (1.0, 0.5), (0.7, 3.0)])
def test_the_temperatures_are_of_the_divergence_alone(tiny_corpus: Path, both: float, of_teacher: float | None) -> None:
    """Neither changes what is drawn, and there is no factor τ²; the gradient is that of the value."""
    words = ["--kd-temperature", str(both), *([] if of_teacher is None else ["--teacher-temperature", str(of_teacher)])]
    task, model, criterion = setup(tiny_corpus, "--divergence", "rkl", *words)
    sample = batch(task, "valid", [0, 1, 2, 3])

    def rkl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        p, q = (p / (of_teacher or both)).log_softmax(-1), (q / both).log_softmax(-1)
        return (q.exp() * (q - p)).sum(-1)

    loss, _, _ = criterion(model, sample)
    sequences = drawn(task, model, criterion, sample)
    assert loss.item() == pytest.approx(by_hand(task, model, sample, sequences, rkl), rel=1e-4)
    loss.backward()
    weight = model.decoder.layers[0].fc1.weight
    assert_slope(lambda: by_hand(task, model, sample, sequences, rkl), [weight], step=1e-2, rel=2e-2)


@pytest.mark.parametrize("name", ["rkl", "tvd"])
def test_each_sequence_by_its_own_length(tiny_corpus: Path, name: str) -> None:
    """A drawn sequence's mean over its own tokens, times its gold target's; a batch is the sum of its sentences."""
    long = ("--rollout-max-len-a", "2", "--rollout-max-len-b", "5", *(ONLINE if name == "tvd" else ()))
    task, model, criterion = setup(tiny_corpus, "--divergence", name, "--own-lengths", *long)
    sample = batch(task, "valid", [0, 1, 2, 3])
    family = DIVERGENCES[name]
    one, pad, eos = family.at(None), task.target_dictionary.pad(), task.target_dictionary.eos()
    sides = [(model, one.value)]
    if family.prefixes == "both":
        sides = [(task._teacher.models[0], one.on_teacher_prefixes), (model, one.on_student_prefixes)]
    expected, ratios = 0.0, []
    for drawer, divergence in sides:
        for row, padded in enumerate(drawn(task, drawer, criterion, sample).tolist()):
            own = [symbol for symbol in padded if symbol != pad]
            p, q = (step_log_probs(one, sample, row, own, eos) for one in (task._teacher.models[0], model))
            ratios.append(int(sample["target"][row].ne(pad).sum()) / len(own))
            expected += divergence(p, q).sum().item() * ratios[-1]
    loss, sample_size, _ = criterion(model, sample)
    assert loss.item() == pytest.approx(expected, rel=1e-4) and sample_size == sample["ntokens"]
    assert len(set(ratios)) > 2
    parts = sum(criterion(model, batch(task, "valid", [row]))[0].item() for row in range(4))
    assert parts == pytest.approx(loss.item(), rel=1e-4)


def test_rollouts_by_beam_and_of_a_minimum_length_reach_the_loss(tiny_corpus: Path) -> None:
    words = ("--rollout-beam", "3", "--rollout-top-k", "4", "--rollout-min-len", "4")
    task, model, criterion = setup(tiny_corpus, "--divergence", "rkl", *words)
    task.update = 3
    sample = batch(task, "valid", [0, 1, 2, 3])
    how = (criterion.sampling, (criterion.seed, 3), task.target_dictionary)
    sequences = draw_rollouts([model], sample, *how, beam=3, min_len=4)
    expected = by_hand(task, model, sample, sequences, DIVERGENCES["rkl"].value)
    assert criterion(model, sample)[0].item() == pytest.approx(expected, rel=1e-4)
    assert criterion(model, sample)[2]["student_tokens"] >= 5 * 4


def test_top_k_of_one_is_a_greedy_search(tiny_corpus: Path) -> None:
    """The rollouts of ENGINE in its authors' code."""
    task, model, criterion = setup(tiny_corpus, "--divergence", "engine", "--rollout-top-k", "1")
    sample = batch(task, "valid", [0, 1])
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    model.eval()
    for row, padded in enumerate(drawn(task, model, criterion, sample).tolist()):
        own = [symbol for symbol in padded if symbol != pad]
        log_probs = step_log_probs(model, sample, row, own, eos)
        log_probs[:, pad] = -math.inf
        assert log_probs.argmax(-1).tolist()[:-1] == own[:-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--rollout-beam 0", "--rollout-beam 0: give a number of beams"),
        ("--rollout-beam 5", "--rollout-beam 5: needs --rollout-top-k of at least 2"),
        ("--rollout-beam 5 --rollout-top-k 9 --rollout-top-p 0.9", "--rollout-top-p: does not go with --rollout-beam"),
        ("--rollout-beam 5 --rollout-top-k 9 --rollout-refresh 2", "--rollout-refresh: does not go with"),
        ("--rollout-min-len -1", "--rollout-min-len -1: give a number of tokens"),
        ("--kd-temperature 0", "--kd-temperature 0.0: give a temperature above 0"),
        ("--teacher-temperature nan", "--teacher-temperature nan: give a temperature above 0"),
        (
            "--divergence js --js-mixture sequence --kd-temperature 2 --online-teacher-samples",
            "--kd-temperature 2.0: --js-mixture sequence",
        ),
    ],
)
def test_options_that_do_not_fit(tiny_corpus: Path, words: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        setup(tiny_corpus, "--divergence", "rkl", *words.split())


@pytest.mark.parametrize("teachers", [1, 2])
def test_js_to_the_mixture_of_sequences(tiny_corpus: Path, teachers: int) -> None:
    """Against a loop that mixes, at every step, by the running products of the prefix's probabilities."""

    def by_prefixes(p: torch.Tensor, q: torch.Tensor, sequence: list[int], own: int) -> float:
        before, total = [1.0, 1.0], 0.0
        for step, symbol in enumerate(sequence):
            sides = [p[step].exp().tolist(), q[step].exp().tolist()]
            share = 0.3 * before[0] / (0.3 * before[0] + 0.7 * before[1])
            total += math.fsum(
                one * math.log(one / (share * a + (1 - share) * b))
                for one, a, b in zip(sides[own], *sides, strict=True)
                if one > 1e-30
            )
            before = [chance * side[symbol] for chance, side in zip(before, sides, strict=True)]
        return total

    js = ("--divergence", "generalized_js", "--divergence-parameter", "0.3", "--js-mixture", "sequence")
    task, model, criterion = setup(tiny_corpus, *js, *ONLINE)
    seeds = range(2, 2 + teachers)
    models = [build(tiny_corpus, seed=seed)[1].eval().requires_grad_(False) for seed in seeds]
    task._teacher = Teacher(models)
    sample = batch(task, "valid", [0, 1, 2, 3])
    loss, _, _ = criterion(model, sample)
    loss.backward()
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    expected = 0.0
    for own, (drawers, weight) in enumerate(((models, 0.3), ([model], 0.7))):
        for row, padded in enumerate(drawn(task, drawers, criterion, sample).tolist()):
            sequence = [symbol for symbol in padded if symbol != pad]
            *each, q = (step_log_probs(one, sample, row, sequence, eos) for one in (*models, model))
            p = torch.stack(each).exp().mean(dim=0).log()
            expected += weight * by_prefixes(p, q, sequence, own)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    per_step = setup(tiny_corpus, *js[:-2], *ONLINE)[2]
    per_step.task._teacher = task._teacher
    assert per_step(model, sample)[0].item() != pytest.approx(expected, rel=1e-4)


def test_validation_of_online_samples_is_on_gold_targets(tiny_corpus: Path) -> None:
    """As that of given samples, so that the losses of both can be compared."""
    found = []
    for samples in (ONLINE, ("--distilled-data", str(tiny_corpus))):
        task, model, criterion = setup(tiny_corpus, "--divergence", "js", "--student-fraction", "0", *samples)
        task._teacher = Teacher([build(tiny_corpus, seed=5)[1].eval().requires_grad_(False)])
        sample = batch(task, "valid", [0, 1, 2])
        sample.pop("distilled", None)
        found.append(criterion.eval()(model.eval(), sample)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("more", [(), ("--rollout-beam", "2", "--rollout-top-k", "9"), ("--rollout-refresh", "1")])
@pytest.mark.parametrize("shorter", ["student", "teacher"])
def test_sequences_have_room_in_both_models(tiny_corpus: Path, shorter: str, more: tuple[str, ...]) -> None:
    """What one model draws, the other reads."""
    few = ("--max-target-positions", "8", "--decoder-learned-pos")
    options = ("--divergence", "js", *ONLINE, *more, *(few if shorter == "student" else ()))
    task, model, criterion = setup(tiny_corpus, *options)
    other = build(tiny_corpus, *(few if shorter == "teacher" else ()), seed=2)[1].eval().requires_grad_(False)
    task._teacher = Teacher([other])
    task.load_dataset("train")
    sample = next(task.get_batch_iterator(task.dataset("train"), max_sentences=8).next_epoch_itr())
    log = criterion(model, sample)[2]
    for name in ("teacher_tokens", "student_tokens"):
        assert 4 * 8 < log[name] <= 8 * 8  # untrained models write until they are cut


def test_online_samples_are_drawn_from_the_mean_of_all_teachers(tiny_corpus: Path) -> None:
    """Two symbols after the source, against the probabilities of all pairs by the mean of two teachers at each step."""
    limits = ("--rollout-max-len-a", "0", "--rollout-max-len-b", "2")
    task, _, criterion = setup(tiny_corpus, "--divergence", "kl", *ONLINE, *limits)
    teachers = [build(tiny_corpus, seed=seed)[1].eval().requires_grad_(False) for seed in (5, 6)]
    for one in teachers:  # far apart, and sure of little
        one.decoder.output_projection.weight.data.mul_(3)
    task._teacher = Teacher(teachers)
    sample = batch(task, "valid", [0])
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    source = sample["net_input"]["src_tokens"]

    def step(prefixes: list[list[int]]) -> list[torch.Tensor]:
        """Each teacher's probabilities of the next symbol, and their mean; without padding, as rollouts are drawn."""
        rows, previous = source.expand(len(prefixes), -1), torch.tensor([[eos, *prefix] for prefix in prefixes])
        lengths = torch.full((len(prefixes),), source.size(1))
        each = [one(rows, lengths, previous)[0][:, -1].double().softmax(-1) for one in teachers]
        mean = torch.stack(each).mean(0)
        for one in (*each, mean):
            one[:, pad] = 0
            one /= one.sum(-1, keepdim=True)
        return [*each, mean]

    symbols = range(len(task.target_dictionary))
    # Each pair's probability, (first, second), by either teacher and by the mean; after </s> nothing follows.
    chances = []
    for first, second in zip(step([[]]), step([[symbol] for symbol in symbols]), strict=True):
        pairs = first[0][:, None] * second
        pairs[eos], pairs[eos, pad] = 0, first[0, eos]
        chances.append(pairs.flatten())
    count, drawings = 4000, 200
    many = {
        "id": torch.arange(drawings),
        "net_input": {
            "src_tokens": source.expand(drawings, -1),
            "src_lengths": sample["net_input"]["src_lengths"].expand(drawings),
        },
    }
    found = torch.zeros(len(symbols), len(symbols))
    for task.update in range(count // drawings):
        for one, *rest in criterion._teacher_sequences(task._teacher, many)[:, :2].tolist():
            found[one, rest[0] if rest else pad] += 1
    # The likelihood ratio of 4,000 draws tells the mean from either teacher, and fits it: chi-squared over its
    # likeliest pairs and one cell for all others.
    likely = [(found.flatten() * one.clamp(min=1e-30).log()).sum().item() for one in chances]
    assert likely[2] > max(likely[:2]) + 100
    best, cells = chances[2].topk(20)
    seen, wanted = found.flatten()[cells], count * best
    seen, wanted = torch.cat([seen, count - seen.sum(0, True)]), torch.cat([wanted, count - wanted.sum(0, True)])
    assert ((seen - wanted) ** 2 / wanted).sum() < 45.3, "the chance of more is 1 in 1,000 (20 degrees of freedom)"


def test_a_fraction_of_updates_is_on_the_students_sequences(tiny_corpus: Path) -> None:
    """Each update all on one kind of prefixes: the loss is that of a criterion which knows only this kind."""
    alone = {}
    for prefixes in ("gold", "student"):
        alone[prefixes] = setup(tiny_corpus, "--divergence", "kl", "--prefixes", prefixes)
    mixed = setup(tiny_corpus, "--divergence", "kl", "--prefixes", "gold", "--student-fraction", "0.3")
    sample = batch(mixed[0], "valid", [0, 1])
    kinds = []
    for update in range(200):
        for task, *_ in (*alone.values(), mixed):
            task.update = update
        kinds.append("student" if mixed[2]._students_turn() else "gold")
        if update < 12:
            task, model, criterion = alone[kinds[-1]]
            assert mixed[2](mixed[1], sample)[0].item() == pytest.approx(criterion(model, sample)[0].item(), rel=1e-5)
    assert set(kinds[:12]) == {"gold", "student"}
    assert 40 <= kinds.count("student") <= 80  # 60 of 200 expected, a standard deviation of 6.5
    mixed[2].eval()
    assert not any(mixed[2]._students_turn() for mixed[0].update in range(50))


def test_gold_prefixes_and_a_share_of_cross_entropy(tiny_corpus: Path) -> None:
    task, model, criterion = setup(tiny_corpus, "--divergence", "tvd", "--prefixes", "gold", "--kd-alpha", "0.3")
    sample = batch(task, "valid", [0, 1, 2, 3])
    loss, _, log = criterion(model, sample)
    tvd = by_hand(task, model, sample, sample["target"], DIVERGENCES["tvd"].at(None).value)
    stock = build(tiny_corpus, "--criterion", "cross_entropy")[2]
    nll = stock(model, sample)[0].item()
    assert loss.item() == pytest.approx(0.7 * nll + 0.3 * tvd, rel=1e-4)
    assert log["gold_nll"].item() == pytest.approx(nll, rel=1e-4)


def test_drawn_prefixes_and_a_share_of_cross_entropy(tiny_corpus: Path) -> None:
    """The gold target's NLL gets 1 − α, the divergence on the sequences of both models α."""
    task, model, criterion = setup(tiny_corpus, "--divergence", "tvd", *ONLINE, "--kd-alpha", "0.3")
    sample = batch(task, "valid", [0, 1, 2, 3])
    loss, _, log = criterion(model, sample)
    half, tvd = DIVERGENCES["tvd"].at(None).on_teacher_prefixes, 0.0
    for drawer in (task._teacher.models[0], model):
        tvd += by_hand(task, model, sample, drawn(task, drawer, criterion, sample), half)
    nll = build(tiny_corpus, "--criterion", "cross_entropy")[2](model, sample)[0].item()
    assert loss.item() == pytest.approx(0.7 * nll + 0.3 * tvd, rel=1e-4)
    assert log["gold_nll"].item() == pytest.approx(nll, rel=1e-4)


@pytest.mark.parametrize("student", ARCHITECTURES)
@pytest.mark.parametrize("prefixes", ["gold", "student"])
def test_padding_on_either_side_is_the_same(tiny_corpus: Path, prefixes: str, student: str) -> None:
    """The decoder's input of a gold target is fairseq's, and so is the loss, also beside a drawn sequence."""
    words = ("--divergence", "rkl", "--prefixes", prefixes, "--kd-alpha", "0.3")
    found = []
    for left in (False, True):
        task, model, criterion = setup(tiny_corpus, *words, student=student)
        task.cfg.left_pad_target = left
        sample = batch(task, "valid", [0, 1, 2, 3])
        assert (sample["target"][:, 0] == task.target_dictionary.pad()).any() == left
        _, batch_of_it = interleave(sample, [sample["target"]], task.target_dictionary)
        assert torch.equal(batch_of_it["net_input"]["prev_output_tokens"], sample["net_input"]["prev_output_tokens"])
        found.append(criterion(model, sample)[0].item())
    # fairseq's convolutions and LSTMs let padding on the left into their states.
    assert found[0] == pytest.approx(found[1], rel=1e-5) or student != "transformer"


def test_token_kd_is_a_special_case(tiny_corpus: Path) -> None:
    task, model, criterion = setup(
        tiny_corpus, "--divergence", "cross_entropy", "--prefixes", "gold", "--kd-alpha", "0.4"
    )
    other, _, token_kd = build(tiny_corpus, "--task", "translation_kd", "--criterion", "token_kd", "--kd-alpha", "0.4")
    other._teacher = task._teacher
    sample = batch(task, "valid", [0, 1, 2, 3])
    gradients = []
    for one in (criterion, token_kd):
        model.zero_grad()
        loss = one(model, sample)[0]
        loss.backward()
        gradients.append((loss.item(), gradient(model)))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("student", ARCHITECTURES)
def test_a_batch_is_the_sum_of_its_sentences(tiny_corpus: Path, student: str) -> None:
    """Whatever was drawn for the others; the length limit here does not depend on the batch's longest source."""
    limits = ("--rollout-max-len-a", "0", "--rollout-max-len-b", "8")
    task, model, criterion = setup(tiny_corpus, "--divergence", "js", *ONLINE, *limits, student=student)
    rows = [0, 1, 2, 3]
    whole = criterion(model, batch(task, "valid", rows))[0].item()
    parts = math.fsum(criterion(model, batch(task, "valid", [row]))[0].item() for row in rows)
    assert whole == pytest.approx(parts, rel=1e-4)


def test_a_teacher_that_is_the_student_teaches_nothing(tiny_corpus: Path) -> None:
    task, model, criterion = setup(tiny_corpus, "--divergence", "js", *ONLINE)
    task._teacher = Teacher([build(tiny_corpus, seed=1)[1].eval().requires_grad_(False)])
    loss, _, _ = criterion(model, batch(task, "valid", [0, 1, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert max(p.grad.abs().max() for p in model.parameters()) < 1e-4


@pytest.mark.parametrize("more", [(), ("--label-smoothing", "0.1"), ("--rollout-beam", "2", "--rollout-top-k", "9")])
@pytest.mark.parametrize("longest", [1, 60])
def test_the_entropy_is_of_the_tokens_that_were_drawn(tiny_corpus: Path, longest: int, more: tuple[str, ...]) -> None:
    """Not of the ``</s>`` behind a sequence that its limit cuts; the loss counts its step."""
    limits = ("--rollout-max-len-a", "0", "--rollout-max-len-b", str(longest))
    task, model, criterion = setup(tiny_corpus, "--divergence", "rkl", *limits, *more)
    sample = batch(task, "valid", [0, 1, 2, 3, 4, 5])
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    sequences = criterion._draw([model], sample)
    bits, cut = [], 0
    for row, padded in enumerate(sequences.tolist()):
        own = [symbol for symbol in padded if symbol != pad]
        log_q = step_log_probs(model, sample, row, own, eos)
        bits += [-log_q[step, symbol].item() / math.log(2) for step, symbol in enumerate(own[:longest])]
        cut += len(own) > longest
    # The beams here never end: </s> is not among their likeliest symbols.
    assert cut == 6 if longest == 1 or "--rollout-beam" in more else 0 < cut < 6
    _, _, log = criterion(model, sample)
    with metrics.aggregate(new_root=True) as logged:
        criterion.reduce_metrics([log])
    assert logged.get_smoothed_values()["entropy"] == pytest.approx(math.fsum(bits) / len(bits), abs=1e-3)
    assert log["student_tokens"] == sequences.ne(pad).sum() == len(bits) + cut


@pytest.mark.parametrize("name", ["kl", "tvd", "hellinger", "alpha"])
def test_a_logged_distance_is_its_formula_and_a_divergence_is_in_bits(tiny_corpus: Path, name: str) -> None:
    """TVD is at most 1, also in the log."""
    task, model, criterion = setup(tiny_corpus, "--divergence", name, "--prefixes", "gold")
    sample = batch(task, "valid", [0, 1, 2, 3])
    _, _, log = criterion(model, sample)
    with metrics.aggregate(new_root=True) as logged:
        criterion.reduce_metrics([log])
    mean = by_hand(task, model, sample, sample["target"], criterion.divergence.value) / sample["ntokens"]
    expected = mean / math.log(2) if name == "kl" else mean
    assert logged.get_smoothed_values()["gold_divergence"] == pytest.approx(expected, abs=1e-3)


def test_validation_draws_the_same_every_time(tiny_corpus: Path) -> None:
    task, model, criterion = setup(tiny_corpus, "--divergence", "rkl")
    model.eval(), criterion.eval()
    sample = batch(task, "valid", [0, 1, 2])
    values = set()
    for task.update in (1, 2, 3):
        with torch.no_grad():
            values.add(criterion(model, sample)[0].item())
    assert len(values) == 1


def test_batches_bring_the_teachers_targets_along(tiny_corpus: Path, distilled: Path) -> None:
    task, model, criterion = setup(tiny_corpus, "--divergence", "kl", "--distilled-data", str(distilled))
    task.load_dataset("train")
    dataset = task.dataset("train")
    sample = dataset.collater([dataset[row] for row in (4, 9, 2)])
    for row, targets in zip(sample["id"].tolist(), sample["distilled"], strict=True):
        assert torch.equal(targets[targets != task.target_dictionary.pad()], dataset.tgt[row + 1])
    loss, _, _ = criterion(model, sample)
    expected = by_hand(task, model, sample, sample["distilled"], DIVERGENCES["kl"].at(None).value)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("criterion", ["token_kd", "fused_cross_entropy", "pre_distill", "cross_entropy"])
def test_distilled_data_that_nothing_reads_is_refused(tiny_corpus: Path, criterion: str) -> None:
    with pytest.raises(UserError, match=f"--criterion {criterion} learns only .* leave out --distilled-data"):
        build(tiny_corpus, "--task", "translation_kd", "--distilled-data", "distilled", "--criterion", criterion)


@pytest.mark.parametrize("name", ["js", "tvd", "rkl"])
def test_fairseq_train_learns(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path, name: str
) -> None:
    options = [*KD, "--teacher-path", str(tiny_teacher), "--divergence", name, "--max-update", "8"]
    options += ["--distilled-data", str(distilled)] if name != "rkl" else []
    done = train_command(tiny_corpus, tmp_path, *options)
    text = done.stdout + done.stderr
    lines = [line for line in text.splitlines() if "| train_inner |" in line]
    assert len(lines) == 8 and all("student_divergence=" in line and "rollout_length=" in line for line in lines)
    assert all(("teacher_divergence=" in line) == (name != "rkl") for line in lines)
    values = [float(line.split(" loss=")[1].split(",")[0]) for line in lines]
    assert all(math.isfinite(value) for value in values) and values[-1] < values[0]


def test_resume_draws_what_an_unbroken_run_draws(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    options = [*KD, "--teacher-path", str(tiny_teacher), "--divergence", "tvd", *ONLINE]
    logs = []
    for folder, updates in (("unbroken", "9"), ("broken", "4"), ("broken", "9")):
        done = train_command(tiny_corpus, tmp_path / folder, *options, "--max-update", updates)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "| train_inner |" in line]
        logs.append([re.sub(r"(wps|ups|wall|train_wall)=\S+", "", line.split(" | ")[-1]) for line in lines])
    assert logs[1] + logs[2] == logs[0]


MISTAKES = {
    "no teacher samples": (("--divergence", "js"), "--distilled-data DATABIN, or draw them"),
    "weight": (("--kd-alpha", "2", *ONLINE), "--kd-alpha 2.0: give"),
    "parameter": (("--divergence", "skew_kl", "--divergence-parameter", "1", *ONLINE), "of at least 0 and below 1"),
    "no parameter": (("--divergence-parameter", "0.5", *ONLINE), "has no parameter"),
    "mixture": (
        ("--divergence", "tvd", "--js-mixture", "sequence", *ONLINE),
        "needs --divergence js or generalized_js",
    ),
    "fraction": (("--student-fraction", "1.5", *ONLINE), "--student-fraction 1.5: give a share"),
    "fraction of nothing": (("--divergence", "js", "--student-fraction", "0.5", *ONLINE), "are .both. here"),
    "cache": (("--teacher-cache", "x", *ONLINE), "give --teacher-path"),
    "samples of the teacher on gold prefixes": (
        ("--prefixes", "gold", "--distilled-data", "x"),
        "--distilled-data: --divergence kl on gold prefixes uses no sequences of the teacher; leave it out",
    ),
    "samples of the teacher for the student's": (
        ("--divergence", "rkl", *ONLINE),
        "--online-teacher-samples: --divergence rkl on student prefixes uses no sequences of the teacher",
    ),
    "two kinds of samples": (("--distilled-data", "x", *ONLINE), "leave out --distilled-data or"),
    "rollouts of nobody": (
        ("--distilled-data", "x", "--rollout-top-k", "40"),
        "--rollout-top-k: --divergence kl on teacher prefixes of --distilled-data draws no sequences; leave it out",
    ),
    "length of rollouts that nobody draws": (
        ("--prefixes", "gold", "--rollout-max-len-b", "20"),
        "--rollout-max-len-b: --divergence kl on gold prefixes draws no sequences; leave it out",
    ),
    "lengths of gold targets alone": (
        ("--prefixes", "gold", "--own-lengths"),
        "--own-lengths: --divergence kl on gold prefixes has no sequences but the gold targets; leave it out",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tiny_corpus: Path, mistake: str) -> None:
    options, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        build(tiny_corpus, *KD, *options)


@pytest.mark.parametrize(
    "words",
    [
        (*ONLINE, "--rollout-top-k", "4"),
        ("--prefixes", "gold", "--student-fraction", "0.5", "--rollout-top-p", "0.9", "--own-lengths"),
        ("--distilled-data", "x", "--own-lengths"),
        ("--divergence", "js", "--distilled-data", "x", "--rollout-beam", "2", "--rollout-top-k", "4"),
    ],
)
def test_options_of_sequences_that_are_drawn_or_given(tiny_corpus: Path, words: tuple[str, ...]) -> None:
    build(tiny_corpus, *KD, *words)


def test_a_checkpoint_of_a_training_with_options_that_drew_nothing_is_validated(tiny_corpus: Path) -> None:
    """Earlier versions took them."""
    config = configured(tiny_corpus, *KD, "--prefixes", "gold", "--rollout-top-k", "4", "--own-lengths")
    task = tasks.setup_task(config.task)
    task.build_model(config.model, from_checkpoint=True)
    task.build_criterion(config.criterion)


def test_an_unknown_divergence_lists_the_choices(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build(tiny_corpus, *KD, "--divergence", "euclid")
    assert "skew_rkl" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["shuffled", "fewer"])
def test_misaligned_teacher_samples_are_refused(tiny_text: Path, tiny_corpus: Path, tmp_path: Path, kind: str) -> None:
    for split in ("train", "valid", "test"):
        for side in ("src", "tgt"):
            lines = (tiny_text / f"{split}.{side}").read_text().splitlines(keepends=True)
            changed = [*lines[:7], lines[8], lines[7], *lines[9:]] if kind == "shuffled" else lines[:-1]
            (tmp_path / f"{split}.{side}").write_text("".join(changed))
    dictionary = str(tiny_corpus / "dict.src.txt")
    data = binarise(tmp_path, tmp_path / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)
    task, _, _ = build(tiny_corpus, *KD, "--divergence", "kl", "--distilled-data", str(data))
    with pytest.raises(
        UserError, match="the source of row 7 .* differs" if kind == "shuffled" else "299 rows, .* has 300"
    ):
        task.load_dataset("train")
