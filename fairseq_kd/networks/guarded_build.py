"""Build a model from a configuration that somebody else wrote, without running its text or opening the files it names.

fairseq evaluates some of a model's settings as Python while it builds the model: ``--adaptive-softmax-cutoff``, the
layers of ``fconv`` and others. It opens embedding files and loads pretrained checkpoints that the settings name. It
builds as many layers as the settings ask for. :func:`guarded_build` allows none of that.
"""

import ast
import builtins
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

LONGEST_LITERAL = 10_000
"""Characters of a setting that is evaluated, and values that it may stand for."""
Model = TypeVar("Model", bound=nn.Module)
TABLES = 2**28
"""Numbers that a model may hold beside its saved weights: tables of sinusoidal positions, above all."""
TOO_LARGE = "its configuration asks for a model far larger than its weights"
FILLED = {"empty", "zeros", "ones", "full", "rand", "randn", "eye"}
"""torch's functions that take a tensor's size."""
COUNTED = {"arange", "linspace", "range"}
"""torch's functions that take where a row of numbers ends."""


class Refused(Exception):
    """Why a configuration is not built, in a clause about "it"."""


def literal(text: str) -> Any:
    """The value of a Python literal: numbers, strings, lists, tuples, dicts, ``[(512, 3)] * 20`` and sums of lists.

    Raises:
        Refused: the text is anything else, or stands for more than :data:`LONGEST_LITERAL` values.
    """
    try:
        if len(text) > LONGEST_LITERAL:
            raise ValueError("too long")
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        shown = text if len(text) < 60 else text[:57] + "..."
        raise Refused(f"its configuration has {shown!r} where a plain list or number belongs") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Add):
        return _combined(node)
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)


def _combined(node: ast.BinOp) -> Any:
    """``list * number`` or ``list + list``, as fairseq's documentation writes layers."""
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Mult):
        sequence, times = (right, left) if isinstance(left, int) else (left, right)
        sound = isinstance(sequence, list | tuple) and isinstance(times, int)
        if not sound or len(sequence) * times > LONGEST_LITERAL:
            raise ValueError("no repeated list, or too long a one")
        return sequence * times
    if not isinstance(left, list | tuple) or len(left) + len(right) > LONGEST_LITERAL:
        raise ValueError("no sum of lists, or too long a one")
    return left + right


def guarded_build(build: Callable[[], Model], weights: Mapping[str, Tensor]) -> Model:
    """What ``build`` returns, if it needs nothing but plain settings and is no larger than ``weights`` allow.

    Args:
        build: makes the model. fairseq's ``eval`` in it gives literals alone; its ``open`` and ``torch.load`` raise.
        weights: a checkpoint's weights by name. The model may have four times as many numbers, and tables of
            :data:`TABLES` numbers beside them.

    Raises:
        Refused: the model would run text, open a file, or be larger.
    """
    # Tied weights share their memory and count once: a file may give one memory many names.
    held = {tensor.data_ptr(): tensor.numel() for tensor in sorted(weights.values(), key=Tensor.numel)}
    numbers = 4 * sum(held.values()) + 1_000_000
    pieces = 100 * len(weights) + 10_000
    with without_side_effects(), _few_parameters(numbers, pieces), _SmallTensors(numbers + TABLES):
        return build()


class _SmallTensors(TorchFunctionMode):
    """Raises before torch makes a tensor that is too large, alone or together with those before it."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        size = _size(getattr(func, "__name__", ""), args, kwargs)
        self.left -= size
        if self.left < 0:
            raise Refused(TOO_LARGE)
        return func(*args, **kwargs)


def _size(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """How many numbers the tensor will have that torch's function ``name`` makes from nothing or by broadcasting."""
    if name in FILLED:
        given = args[0] if args and isinstance(args[0], Sequence) else kwargs.get("size", args)
        return math.prod(abs(int(n)) for n in given if isinstance(n, int))
    if name in COUNTED:
        return max((abs(int(n)) for n in [*args, *kwargs.values()] if isinstance(n, int | float)), default=0)
    if name in ("mul", "__mul__", "__rmul__") and sum(isinstance(a, Tensor) for a in args) == 2:
        return math.prod(torch.broadcast_shapes(*(a.shape for a in args)))
    return 0


@contextmanager
def without_side_effects() -> Iterator[None]:
    """In the block, fairseq's own code neither evaluates text nor opens files. All other code does as before."""
    kept = builtins.eval, builtins.open, torch.load

    def of_fairseq() -> bool:
        return sys._getframe(2).f_globals.get("__name__", "").partition(".")[0] == "fairseq"

    def safe_eval(source: Any, *scopes: Any) -> Any:
        if not of_fairseq():
            return kept[0](source, *scopes or (sys._getframe(1).f_globals, sys._getframe(1).f_locals))
        if not isinstance(source, str):
            raise TypeError("eval() arg 1 must be a string")  # as Python's own: fairseq's eval_bool expects it
        return literal(source)

    def refusing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if of_fairseq():
                raise Refused(f"its configuration makes fairseq {name} {str(args[0])[:60]!r}")
            return function(*args, **options)

        return called

    builtins.eval = safe_eval  # type: ignore[assignment]
    builtins.open = refusing("open", kept[1])  # type: ignore[assignment]
    torch.load = refusing("load", kept[2])
    try:
        yield
    finally:
        builtins.eval, builtins.open, torch.load = kept  # type: ignore[assignment]


@contextmanager
def _few_parameters(numbers: int, pieces: int) -> Iterator[None]:
    """In the block, a model that gets more parameters or more modules raises as soon as it does so."""

    def count(size: int) -> None:
        nonlocal numbers, pieces
        numbers, pieces = numbers - size, pieces - 1
        if numbers < 0 or pieces < 0:
            raise Refused(TOO_LARGE)

    hooks = [
        registration.register_module_parameter_registration_hook(
            lambda _, __, parameter: count(0 if parameter is None else parameter.numel())
        ),
        registration.register_module_module_registration_hook(lambda *_: count(0)),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
