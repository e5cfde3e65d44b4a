"""The criterion on real models: against a float64 loop over its definition, and in fairseq-train."""

import copy
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.hidden_states import matched_layers
from fairseq_kd.networks.parameters import is_parameter
from fairseq_kd.networks.teacher import Teacher
from tests.support.commands import PLUGIN, generated_rows, run_command
from tests.support.gradients import assert_slope
from tests.support.models import assert_same_weights, batch, build
from tests.support.training import losses, train_command, train_model

KD = ("--task", "translation_kd", "--criterion", "pre_distill")
DEEP = ("--encoder-layers", "4", "--decoder-layers", "3")
SHALLOW = ("--encoder-layers", "2", "--decoder-layers", "1")
NARROW = (*SHALLOW, "--encoder-embed-dim", "12", "--decoder-embed-dim", "8")
NARROWER_ENCODER = ("--encoder-embed-dim", "10")
STUDENTS = {
    "same widths": SHALLOW,
    "narrow": NARROW,
    "pre-norm": (*SHALLOW, "--encoder-normalize-before"),
    "transformer_align": (*SHALLOW, "--arch", "transformer_align"),
}


@pytest.fixture(scope="module")
def deep_teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deep")
    return train_model(tiny_corpus, folder, *DEEP, "--max-update", "30", "--lr", "0.003")


def setup(data: Path, teacher: Path, *options: str) -> tuple[Any, Any, Any]:
    """A task with its teacher loaded, a student without dropout, and the criterion."""
    words = ("--teacher-path", str(teacher), "--teacher-data", str(data))
    task, model, criterion = build(data, *KD, *words, *options)
    model.train()
    task.teacher(model)
    return task, model, criterion.train()


def per_sentence(model: Any, sample: dict[str, Any], row: int) -> tuple[list[torch.Tensor], list[torch.Tensor], Any]:
    """States of each encoder and decoder layer and the logits of one sentence without padding, float64."""
    source = sample["net_input"]["src_tokens"][row]
    source = source[source != 1][None]
    previous = sample["net_input"]["prev_output_tokens"][row]
    previous = previous[previous != 1][None]
    model = copy.deepcopy(model).double()
    model.eval()  # a generating model gives nothing back here
    with torch.no_grad():
        encoder_out = model.encoder(source, torch.tensor([source.size(1)]), return_all_hiddens=True)
        logits, extra = model.decoder(previous, encoder_out=encoder_out)
    encoder, decoder = encoder_out["encoder_states"][1:], extra["inner_states"][1:]
    return [state[:, 0] for state in encoder], [state[:, 0] for state in decoder], logits[0]


def normal(states: torch.Tensor) -> torch.Tensor:
    """Each position brought to mean 0 and variance 1 over the width; torch's layer norm adds 1e-5 to the variance."""
    centred = states - states.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def mean_squared_error(own: list[Any], wanted: list[Any], linear: Any, norm: bool = False) -> float:
    """Over one sentence's positions and the width, summed over the student's layers."""
    total = 0.0
    for layer, beside in enumerate(matched_layers(len(own), len(wanted))):
        mapped = own[layer] if linear is None else own[layer] @ linear.weight.detach().double().t()
        sides = [normal(one) if norm else one for one in (mapped, wanted[beside])]
        pairs = zip(*(one.flatten().tolist() for one in sides), strict=True)
        squares = [(a - b) ** 2 for a, b in pairs]
        total += math.fsum(squares) / len(squares)
    return total


def expected(
    task: Any,
    model: Any,
    criterion: Any,
    sample: dict[str, Any],
    eps: float = 0.0,
    tau: float = 1.0,
    norm: bool = False,
) -> dict[str, float]:
    """Each part, by loops over sentences, steps and symbols; the KL of both distributions at ``tau``."""
    parts = dict.fromkeys(("hard", "kl", "encoder_mse", "decoder_mse"), 0.0)
    maps = {side: one if hasattr(one, "weight") else None for side, one in criterion.to_teacher.items()}
    for row, target in enumerate(sample["target"].tolist()):
        gold = [symbol for symbol in target if symbol != 1]
        own, wanted = (per_sentence(one, sample, row) for one in (model, task._teacher.models[0]))
        parts["encoder_mse"] += len(gold) * mean_squared_error(own[0], wanted[0], maps["encoder"], norm)
        parts["decoder_mse"] += len(gold) * mean_squared_error(own[1], wanted[1], maps["decoder"], norm)
        for step, symbol in enumerate(gold):
            log_q = own[2][step].log_softmax(-1).tolist()
            others = eps / (len(log_q) - 1)
            tempered = [(logits[step] / tau).log_softmax(-1).tolist() for logits in (wanted[2], own[2])]
            parts["hard"] += -(1 - eps - others) * log_q[symbol] - others * math.fsum(log_q)
            parts["kl"] += math.fsum(math.exp(p) * (p - q) for p, q in zip(*tempered, strict=True))
    return parts


def loss_and_gradients(model: Any, criterion: Any, samples: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
    parameters = [*model.parameters(), *criterion.parameters()]
    for parameter in parameters:
        parameter.grad = None
    total = sum(criterion(model, sample)[0] for sample in samples)
    total.backward()
    return total.item(), [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


@pytest.mark.parametrize("student", STUDENTS)
def test_the_loss_is_the_formula(tiny_corpus: Path, deep_teacher: Path, student: str) -> None:
    options = ("--kd-alpha", "0.7", "--hidden-weight", "2", "--label-smoothing", "0.1", *STUDENTS[student])
    task, model, criterion = setup(tiny_corpus, deep_teacher, *options)
    sample = batch(task, "valid", [0, 1, 2, 3])
    # The corpus has targets as long as their sources; without its first two words a source is shorter.
    source = sample["net_input"]["src_tokens"][:, 2:]
    sample["net_input"] |= {"src_tokens": source, "src_lengths": source.ne(1).sum(dim=1)}
    assert not source.ne(1).sum(dim=1).equal(sample["target"].ne(1).sum(dim=1))
    loss, sample_size, log = criterion(model, sample)
    parts = expected(task, model, criterion, sample, eps=0.1)
    for name in ("kl", "encoder_mse", "decoder_mse"):
        assert log[name].item() == pytest.approx(parts[name], rel=1e-4)
    whole = 0.3 * parts["hard"] + 0.7 * parts["kl"] + 2 * (parts["encoder_mse"] + parts["decoder_mse"])
    assert loss.item() == log["loss"].item() == pytest.approx(whole, rel=1e-4)
    assert sample_size == sample["ntokens"]


def test_a_temperature_and_normalised_states(tiny_corpus: Path, deep_teacher: Path) -> None:
    """As Wen et al. 2023 pre-distil: τ = 2, the KL times τ²; and each position's state normalised."""
    options = ("--kd-temperature", "2", "--hidden-norm", "--label-smoothing", "0.1", *NARROW)
    task, model, criterion = setup(tiny_corpus, deep_teacher, *options)
    samples = [batch(task, "valid", rows) for rows in ([0, 1, 2, 3], [0], [1, 2, 3])]
    loss, _, log = criterion(model, samples[0])
    parts = expected(task, model, criterion, samples[0], eps=0.1, tau=2.0, norm=True)
    for name in ("kl", "encoder_mse", "decoder_mse"):
        assert log[name].item() == pytest.approx(parts[name], rel=1e-4)
    whole = 0.2 * parts["hard"] + 4 * 0.8 * parts["kl"] + 3 * (parts["encoder_mse"] + parts["decoder_mse"])
    assert loss.item() == pytest.approx(whole, rel=1e-4)
    assert sum(criterion(model, one)[0].item() for one in samples[1:]) == pytest.approx(loss.item(), rel=1e-4)
    with pytest.raises(UserError, match=r"--kd-temperature 0\.0: give a temperature above 0"):
        setup(tiny_corpus, deep_teacher, "--kd-temperature", "0", *SHALLOW)


def test_frozen_embeddings_stay(tiny_corpus: Path, deep_teacher: Path, tmp_path: Path) -> None:
    """Those of symbols and positions, and the output projection that shares them; all else is trained."""
    words = ("--teacher-path", str(deep_teacher), "--teacher-data", str(tiny_corpus), *KD, *SHALLOW)
    words += ("--share-all-embeddings", "--encoder-learned-pos", "--freeze-embeddings", "--lr", "0.01")
    states = [
        read_checkpoint(train_model(tiny_corpus, tmp_path / str(updates), *words, "--max-update", str(updates)), "m")
        for updates in (1, 4)
    ]
    one, other = (state["model"] for state in states)
    frozen = {name for name in one if ".embed_" in name or "output_projection" in name}
    assert len(frozen) >= 4
    for name in filter(is_parameter, one):
        assert torch.equal(one[name], other[name]) == (name in frozen), name


@pytest.mark.parametrize("student", STUDENTS)
def test_a_batch_is_the_sum_of_its_sentences(tiny_corpus: Path, deep_teacher: Path, student: str) -> None:
    """Loss and gradients, the linear maps' too; sentences of other lengths bring padding on both sides."""
    task, model, criterion = setup(tiny_corpus, deep_teacher, *STUDENTS[student])
    rows = [0, 1, 2, 3, 4]
    assert len({len(batch(task, "valid", [row])["target"][0]) for row in rows}) > 1
    whole, gradients = loss_and_gradients(model, criterion, [batch(task, "valid", rows)])
    parts, others = loss_and_gradients(model, criterion, [batch(task, "valid", [row]) for row in rows])
    assert whole == pytest.approx(parts, rel=1e-5)
    assert len(gradients) == len(others)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_gradient_reaches_the_maps_and_not_the_teacher(tiny_corpus: Path, deep_teacher: Path) -> None:
    task, model, criterion = setup(tiny_corpus, deep_teacher, *NARROW, "--kd-alpha", "0")
    shapes = {name: tuple(one.shape) for name, one in criterion.named_parameters()}
    assert shapes == {"to_teacher.encoder.weight": (16, 12), "to_teacher.decoder.weight": (16, 8)}
    samples = [batch(task, "valid", [0, 1, 2])]
    loss_and_gradients(model, criterion, samples)
    for parameter in criterion.parameters():
        assert_slope(lambda: criterion(model, samples[0])[0].item(), [parameter], step=1e-2, rel=2e-2)
    assert all(one.grad is None and not one.requires_grad for one in task._teacher.models[0].parameters())


def test_a_teacher_that_is_the_student_teaches_nothing(tiny_corpus: Path, deep_teacher: Path) -> None:
    task, model, criterion = setup(tiny_corpus, deep_teacher, *DEEP, "--kd-alpha", "1")
    task._teacher = Teacher([copy.deepcopy(model).eval().requires_grad_(False)])
    assert not list(criterion.parameters())
    loss, gradients = loss_and_gradients(model, criterion, [batch(task, "valid", [0, 1, 2])])
    assert loss == pytest.approx(0, abs=1e-4)
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-4


def test_a_teacher_in_bfloat16(tiny_corpus: Path, deep_teacher: Path) -> None:
    """Its states are rounded, the error is not: it comes close to that of a float32 teacher."""
    values = []
    for options in ((), ("--teacher-bf16",)):
        task, model, criterion = setup(tiny_corpus, deep_teacher, *SHALLOW, *options)
        log = criterion(model, batch(task, "valid", [0, 1, 2]))[2]
        assert log["encoder_mse"].dtype == torch.float32
        values.append([log[name].item() for name in ("encoder_mse", "decoder_mse", "kl")])
    assert values[1] == pytest.approx(values[0], rel=3e-2) and values[1] != values[0]


def test_layerdrop_is_refused(tiny_corpus: Path, deep_teacher: Path) -> None:
    task, model, criterion = setup(tiny_corpus, deep_teacher, *SHALLOW, "--encoder-layerdrop", "0.999")
    with pytest.raises(UserError, match="train without --encoder-layerdrop"):
        criterion(model, batch(task, "valid", [0]))
    assert not model.encoder._forward_hooks and not model.decoder._forward_hooks


REFUSED = {
    "alpha": (("--kd-alpha", "1.5"), "--kd-alpha 1.5: give a weight between 0 and 1"),
    "weight": (("--hidden-weight", "-1"), "--hidden-weight -1.0: give a weight of at least 0"),
    "cache": (("--teacher-cache", "soft"), "which a cache does not hold: give --teacher-path"),
    "deeper": (("--encoder-layers", "5"), "--encoder-layers 5: .* which has 4"),
    "two": (("--teacher-path", "a:b"), "--teacher-path has 2 checkpoints"),
    "task": (("--task", "translation"), "--task translation_kd"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_matched(name: str, tiny_corpus: Path, deep_teacher: Path) -> None:
    options, told = REFUSED[name]
    teacher = () if name == "task" else ("--teacher-path", str(deep_teacher))
    with pytest.raises(UserError, match=told):
        build(tiny_corpus, *KD, *teacher, *options)


@pytest.mark.parametrize("other", ["lstm", "fconv", "lightconv"])
def test_models_without_such_states(other: str, tiny_corpus: Path, deep_teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the hidden states of Transformers"):
        build(tiny_corpus, *KD, "--teacher-path", str(deep_teacher), architecture=other)
    teacher = train_model(tiny_corpus, tmp_path, "--max-update", "1", "--disable-validation", architecture=other)
    with pytest.raises(UserError, match="no Transformer, whose hidden states"):
        build(tiny_corpus, *KD, "--teacher-path", str(teacher))


def on(teacher: Path, *options: str) -> tuple[str, ...]:
    return (*KD, "--teacher-path", str(teacher), *options)


HYBRID = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--distilled-data", "x")


def test_the_state_of_another_criterion_changes_nothing(
    tiny_corpus: Path, deep_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """fairseq hands a checkpoint's state over, whichever criterion it is of."""
    maps, gate = (build(tiny_corpus, *words, *NARROW)[2] for words in (on(deep_teacher), HYBRID))
    for own, other in ((maps, gate), (gate, maps)):
        before = copy.deepcopy(own.state_dict())
        own.load_state_dict(other.state_dict(), strict=True)
        for name, value in own.state_dict().items():
            assert not torch.is_tensor(value) or torch.equal(value, before[name]), name
        assert caplog.records[-1].levelname == "WARNING" and "start anew" in caplog.messages[-1]


def test_maps_of_another_width_start_anew(
    tiny_corpus: Path, deep_teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    narrow, wide = (build(tiny_corpus, *on(deep_teacher), *NARROW, *more)[2] for more in ((), NARROWER_ENCODER))
    saved, before = narrow.state_dict(), copy.deepcopy(wide.state_dict())
    wide.load_state_dict(saved, strict=True)
    encoder, decoder = "to_teacher.encoder.weight", "to_teacher.decoder.weight"
    assert torch.equal(wide.state_dict()[encoder], before[encoder])
    assert torch.equal(wide.state_dict()[decoder], saved[decoder])
    assert f"{encoder} start anew" in caplog.messages[-1]
    before = copy.deepcopy(wide.state_dict())
    wide.load_state_dict({encoder: torch.zeros(16, 3), decoder: torch.zeros(16, 3)}, strict=True)
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())
    assert f"{decoder}, {encoder} start anew" in caplog.messages[-1]


def test_a_training_without_its_teacher_ends_at_once(tiny_corpus: Path) -> None:
    """Resumed without its maps, it would end in the optimizer, which has their moments."""
    with pytest.raises(UserError, match=r"teacher none.pt: no such file"):
        build(tiny_corpus, *on(Path("none.pt")), *NARROW)


def test_from_a_copied_student_to_the_next_criterion(
    tiny_corpus: Path, deep_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """init-student, pre_distill, token_kd: each goes on from the weights before it."""
    start = tmp_path / "start.pt"
    words = ["init-student", "--teacher", str(deep_teacher), "--output", str(start)]
    cli.main([*words, "--encoder-layers", "2", "--decoder-layers", "1"])
    shape = capsys.readouterr().out.split()
    options = (*shape, "--finetune-from-model", str(start), "--max-update", "20", "--lr", "0.003")
    done = train_command(tiny_corpus, tmp_path / "pre", *on(deep_teacher, *options))
    log = done.stdout + done.stderr
    for name in ("loss", "kl", "encoder_mse", "decoder_mse"):
        series = losses(log, name)
        assert len(series) == 20 and series[-1] < series[0], name
    blank = train_command(tiny_corpus, tmp_path / "blank", *on(deep_teacher, *shape, "--max-update", "1"))
    assert losses(blank.stdout + blank.stderr, "decoder_mse")[0] > losses(log, "decoder_mse")[0]
    pre = tmp_path / "pre" / "checkpoint_last.pt"
    then = (*shape, "--criterion", "token_kd", "--finetune-from-model", str(pre), "--lr", "0", "--max-update", "1")
    assert_same_weights(pre, train_model(tiny_corpus, tmp_path / "kd", *on(deep_teacher, *then)), rtol=0, atol=0)


def test_maps_are_trained_and_a_finished_student_needs_neither_them_nor_the_teacher(
    tiny_corpus: Path, deep_teacher: Path, tmp_path: Path
) -> None:
    """A narrow student that starts from another criterion's weights, whose checkpoint holds no maps."""
    teacher = shutil.copytree(deep_teacher.parent, tmp_path / "teacher") / deep_teacher.name
    start = train_model(tiny_corpus, tmp_path / "start", *NARROW, "--max-update", "2")
    options = on(teacher, *NARROW, "--finetune-from-model", str(start), "--max-update", "3", "--teacher-data")
    student = train_model(tiny_corpus, tmp_path / "student", *options, str(tiny_corpus))
    state = read_checkpoint(student)
    assert {name: tuple(one.shape) for name, one in state["criterion"].items()} == {
        "to_teacher.encoder.weight": (16, 12),
        "to_teacher.decoder.weight": (16, 8),
    }
    assert not any("to_teacher" in name for name in state["model"])
    words = ("--path", student, "--user-dir", PLUGIN, "--cpu")
    # fairseq-validate does not load the maps.
    done = run_command("fairseq-validate", tiny_corpus, *words, "--task", "translation_kd", "--max-tokens", "400")
    log = done.stdout + done.stderr
    assert "loss is without the hidden states" in log
    (line,) = [line for line in log.splitlines() if "| kl " in line]
    loss, nll, kl = (float(line.split(f"| {name} ")[1].split()[0]) for name in ("loss", "nll_loss", "kl"))
    assert loss == pytest.approx(0.2 * nll + 0.8 * kl, abs=0.01) and "_mse" not in line
    shutil.rmtree(teacher.parent)
    assert generated_rows(tiny_corpus, student) == 40
    done = run_command("fairseq-validate", tiny_corpus, *words, "--task", "translation_kd", "--max-tokens", "400")
    assert "validating the gold part of the loss alone" in done.stdout + done.stderr
