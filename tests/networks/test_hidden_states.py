"""Which layers are copied and matched, and the error between hidden states."""

from argparse import Namespace
from itertools import pairwise

import pytest
import torch
from torch import nn

from fairseq_kd.networks.hidden_states import copied_layers, matched_layers, squared_error, transformer_config

PAPER = [(1, 12, [0]), (3, 12, [0, 6, 11]), (6, 12, [0, 2, 4, 7, 9, 11]), (4, 16, [0, 5, 10, 15]), (2, 6, [0, 5])]
"""Student's and teacher's number of layers and what Shleifer & Rush copy."""


@pytest.mark.parametrize(("student", "teacher", "layers"), PAPER)
def test_the_layers_of_the_paper(student: int, teacher: int, layers: list[int]) -> None:
    assert copied_layers(student, teacher) == layers


@pytest.mark.parametrize("teacher", range(1, 25))
def test_copied_layers_are_spaced(teacher: int) -> None:
    for student in range(1, teacher + 1):
        layers = copied_layers(student, teacher)
        gaps = [after - before for before, after in pairwise(layers)]
        assert len(layers) == student and layers[0] == 0
        assert student == 1 or (layers[-1] == teacher - 1 and min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


@pytest.mark.parametrize("teacher", range(1, 25))
def test_what_a_layer_puts_out_is_what_the_next_copied_one_takes(teacher: int) -> None:
    for student in range(1, teacher + 1):
        copied, matched = copied_layers(student, teacher), matched_layers(student, teacher)
        assert matched[-1] == teacher - 1
        assert [layer + 1 for layer in matched[:-1]] == copied[1:]
        assert all(end >= start for start, end in zip(copied, matched, strict=True))


@pytest.mark.parametrize("widths", [(4, 4), (3, 5)])
def test_the_squared_error_is_a_loop(widths: tuple[int, int]) -> None:
    """Two student layers beside three of the teacher, whatever stands where the weight is 0."""
    torch.manual_seed(1)
    narrow, wide = widths
    student = [torch.randn(6, 2, narrow, requires_grad=True) for _ in range(2)]
    teacher = [torch.randn(6, 2, wide) for _ in range(3)]
    weight = torch.tensor([[0.0, 0, 0.5, 0.5, 2, 2], [1, 1, 1, 1, 1, 0]])
    linear = nn.Identity() if narrow == wide else nn.Linear(narrow, wide, bias=False)
    matrix = torch.eye(narrow).tolist() if narrow == wide else linear.weight.tolist()
    expected = 0.0
    for layer, beside in enumerate([1, 2]):
        for row in range(2):
            for step in range(6):
                own, wanted = student[layer][step, row].tolist(), teacher[beside][step, row].tolist()
                mapped = [sum(m * x for m, x in zip(line, own, strict=True)) for line in matrix]
                mean = sum((a - b) ** 2 for a, b in zip(mapped, wanted, strict=True)) / wide
                expected += weight[row, step].item() * mean
    for states in teacher:
        states[0, 0] = states[5, 1] = float("nan")
    value = squared_error(student, teacher, weight, linear)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert all(states.grad.isfinite().all() and not states.grad[5, 1].any() for states in student)


def test_half_precision_is_compared_in_float32() -> None:
    """600² is beyond float16's largest number."""
    student, teacher = torch.full((1, 1, 2), 600.0).half(), torch.zeros(1, 1, 2).bfloat16()
    value = squared_error([student], [teacher], torch.ones(1, 1), nn.Identity())
    assert value.dtype == torch.float32 and value.item() == 360000


@pytest.mark.parametrize("name", ["lstm", "fconv", "lightconv", "no_such", None])
def test_what_is_no_transformer(name: str | None) -> None:
    assert transformer_config(Namespace(arch=name)) is None
    assert transformer_config(Namespace(arch="transformer_iwslt_de_en", encoder_layers=5)).encoder.layers == 5
