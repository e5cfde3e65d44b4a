"""The registry of gates. A new gate is a subclass of :class:`Gate`, registered under the name that ``--gate`` takes."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar, TypeVar, get_type_hints

from torch import Tensor, nn

from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues, HeldOut
from fairseq_kd.losses.chunk import NextTokens
from fairseq_kd.losses.fused import Losses


@dataclass(frozen=True)
class GateOptions:
    """Options of a gate: the dataclass's fields, each with a default and ``metadata={"help": …}``.

    A field's name starts with ``gate_`` and is the option's name. ``__post_init__`` checks the ranges; it runs for
    every registered gate, whichever ``--gate`` chooses. Gates that share an option inherit it from one dataclass.
    """


class Gate(nn.Module):
    """Weighs the token-level loss, by g in [0, 1], against the sentence-level loss, by 1 − g.

    A subclass implements :meth:`values`. A gate that learns also implements :meth:`objective`; criterion ``hybrid_kd``
    trains its parameters and saves its state with the checkpoint.

    Args:
        options: an instance of the class's ``Options``.
        by_token: one g for each relative place in a sentence (--gate-level token), not one for each sentence.
        encoder_width: gives the width of the student's encoder states.

    Raises:
        UserError: an option does not suit this gate.
    """

    Options: ClassVar[type[GateOptions]] = GateOptions
    by_token_too: ClassVar[bool] = False
    """Whether the gate supports --gate-level token."""
    depends_on_input: ClassVar[bool] = True
    """Whether g differs between sentences. Then the batch has the teacher's entropy, and the log has correlations."""
    needs_slopes: bool = False
    """Whether :meth:`objective` reads the losses' slopes."""
    logged: ClassVar[Mapping[str, str]] = {}
    """Entries of the gate's own log to print, each with the entry that it is divided by."""
    name: ClassVar[str] = ""
    """The gate's name on the command line; :func:`register_gate` sets it."""

    def __init__(self, options: Any, by_token: bool, encoder_width: Callable[[], int]):
        super().__init__()
        if by_token and not self.by_token_too:
            raise UserError(f"--gate {self.name} weighs whole sentences: leave out --gate-level token")
        self.options, self.by_token = options, by_token

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses."""
        raise NotImplementedError

    def objective(
        self,
        batch: GateBatch,
        values: GateValues,
        students: tuple[NextTokens, NextTokens],
        losses: tuple[Losses, Losses],
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """What the gate itself minimises, and its log entries.

        Args:
            batch: the batch.
            values: what :meth:`values` gave for it.
            students: the student's distributions at the tokens of the sentence-level and of the token-level loss.
            losses: the sentence-level and the token-level loss.

        Returns:
            A scalar whose gradient the gate follows, or None; and sums that add up over batches and processes.
        """
        return None, {}

    def after_update(self, sums: Mapping[str, Any], held_out: Callable[[], HeldOut]) -> None:
        """Called after each update.

        Args:
            sums: every log entry, summed over all batches and processes of the update.
            held_out: gives the student's answer about a batch of the validation set, the same in every process.
        """


GATES: dict[str, type[Gate]] = {}
"""The registered gates, by name."""
_listeners: list[Callable[[], None]] = []

AnyGate = TypeVar("AnyGate", bound=type[Gate])


def register_gate(name: str) -> Callable[[AnyGate], AnyGate]:
    """Class decorator that makes a gate known as ``--gate name``, its options included.

    Raises:
        ValueError: the name is taken, or an option is not declared as :class:`GateOptions` says.
    """

    def register(gate: AnyGate) -> AnyGate:
        if name in GATES:
            raise ValueError(f"there is a gate {name!r} already")
        option_fields([*GATES.values(), gate])
        gate.name = name
        GATES[name] = gate
        _tell()
        return gate

    return register


def unregister_gate(name: str) -> None:
    """Undo :func:`register_gate`."""
    del GATES[name]
    _tell()


def on_registration(listener: Callable[[], None]) -> None:
    """Call ``listener`` now, and again whenever a gate is registered or unregistered."""
    _listeners.append(listener)
    listener()


def _tell() -> None:
    for listener in _listeners:
        listener()


def option_fields(gates: list[type[Gate]]) -> list[tuple[str, Any, Any]]:
    """The options of these gates for :func:`dataclasses.make_dataclass`: (name, type, field), shared options once.

    Raises:
        ValueError: an option lacks a default or the prefix ``gate_``, or two gates declare the same name separately.
    """
    found: dict[str, tuple[Any, Field[Any]]] = {}
    for gate in gates:
        types = get_type_hints(gate.Options)
        for one in fields(gate.Options):
            if not one.name.startswith("gate_") or one.default is MISSING:
                raise ValueError(f"{gate.__name__}, option {one.name}: start its name with gate_ and give a default")
            # A field that both gates inherit from one dataclass is the same object.
            if found.setdefault(one.name, (types[one.name], one))[1] is not one:
                raise ValueError(f"{gate.__name__}, option {one.name}: another gate declares it; inherit it from there")
    return [
        (name, kind, field(default=one.default, metadata=one.metadata))  # type: ignore[call-overload]
        for name, (kind, one) in found.items()
    ]


def build_gate(
    name: str, config: Any, by_token: bool, encoder_width: Callable[[], int], *, trains: bool = True
) -> Gate:
    """The gate ``name`` with its options from ``config``, an object that has every gate's options as attributes.

    Args:
        name: a key of :data:`GATES`.
        config: such as an instance of :func:`fairseq_kd.criterions.hybrid_options.hybrid_config`'s class.
        by_token: as :class:`Gate`.
        encoder_width: as :class:`Gate`.
        trains: whether the options are those of a training. A checkpoint may have others, which earlier versions took.

    Raises:
        UserError: an option of any gate is out of its range, does not suit this gate, or is of other gates alone.
    """
    options = {other: _read(gate.Options, config) for other, gate in GATES.items()}
    if trains:
        _refuse_unread(name, options)
    return GATES[name](options[name], by_token, encoder_width)


def _refuse_unread(name: str, options: Mapping[str, GateOptions]) -> None:
    """Raise a UserError where an option is not at its default, and the gate ``name`` does not have it."""
    readers: dict[str, list[str]] = {}
    for gate, own in options.items():
        for one in fields(own):
            if getattr(own, one.name) != one.default:
                readers.setdefault(one.name, []).append(gate)
    for option, gates in readers.items():
        if name not in gates:
            *first, last = gates
            named = f"{', '.join(first)} or {last}" if first else last
            raise UserError(
                f"--{option.replace('_', '-')}: --gate {name} does not read it; leave it out, or give --gate {named}"
            )


def _read(kind: type[GateOptions], config: Any) -> GateOptions:
    values = {one.name: getattr(config, one.name) for one in fields(kind)}
    # fairseq gives a choice as a member of an Enum whose text is the choice.
    return kind(**{name: str(value) if isinstance(value, Enum) else value for name, value in values.items()})
