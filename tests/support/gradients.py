"""Gradients of parameters, and the same slopes by finite differences."""

from collections.abc import Callable, Iterable

import pytest
import torch


def gradient(*modules: torch.nn.Module) -> torch.Tensor:
    """A copy of the gradients of all parameters that have one, in one row."""
    return torch.cat([p.grad.flatten() for m in modules for p in m.parameters() if p.grad is not None])


def central_difference(
    value: Callable[[], float], parameters: Iterable[torch.Tensor], direction: Iterable[torch.Tensor], step: float
) -> float:
    """The slope of ``value()`` as the parameters move along a direction. They end where they were, but for rounding."""
    pairs = list(zip(parameters, direction, strict=True))
    values = []
    with torch.no_grad():
        for move in (step, -2 * step, step):
            for parameter, way in pairs:
                parameter += move * way
            values.append(value())
    return (values[0] - values[1]) / (2 * step)


def assert_slope(value: Callable[[], float], parameters: list[torch.Tensor], step: float, rel: float) -> None:
    """The length of the parameters' gradient is the slope of ``value()`` along it."""
    length = torch.cat([p.grad.flatten() for p in parameters]).norm().item()
    direction = [p.grad / length for p in parameters]
    assert central_difference(value, parameters, direction, step) == pytest.approx(length, rel=rel)
