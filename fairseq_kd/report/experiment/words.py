"""Text in an experiment's YAML that a shell reads as words, checked before anything is trained."""

import re
from typing import Any

from fairseq_kd.storage.shapes import misfit, text

_SUBSTITUTED = re.compile(r"\$\([^()]*\)|`[^`]*`")
_QUOTED = re.compile(r"""\$'(?:\\.|[^'\\])*'|'[^']*'|"(?:\\.|[^"\\])*"|\\\S""", re.DOTALL)


def command_words(value: Any, place: str) -> None:
    """The shape of options or of a command; the workflow joins their lines and gives them to a shell.

    In a block of text YAML has no comments, so a ``#`` would reach the shell, which drops all behind it.
    """
    text(value, place)
    bare = _QUOTED.sub("_", value)
    if re.search(r"(?<![^\s;&|<>()`])#", bare):
        reason = "'#' begins no comment in a block of text, and the shell would drop all words behind it"
        raise misfit(place, f"{reason}; put the comment above the key")
    if re.search(r"\\(\s|$)", bare):
        reason = "\\ before a space: leave it out at the end of a line, as lines are joined"
        raise misfit(place, f"{reason}; put a name with spaces into quotes")
    if re.search("['\"]", bare):
        raise misfit(place, "has a quote that is not closed")


def option_words(value: Any, place: str) -> None:
    """The shape of options, which no sign of the shell's may end: the command would run without those behind it."""
    command_words(value, place)
    sign = re.search(r"[;&|<>()]", _SUBSTITUTED.sub("_", _QUOTED.sub("_", value)))
    if sign:
        raise misfit(place, f"the shell ends the options at {sign[0]!r}; put a value that has it into quotes")


def training_words(value: Any, place: str) -> None:
    """The shape of options of a training, whose log the table reads at the end."""
    option_words(value, place)
    if re.search(r"(?<!\S)--log-format[\s=]+none(?!\S)", value):
        raise misfit(place, "--log-format none leaves no log for the table; give simple or json")


def beam_sizes(value: Any, place: str) -> None:
    """The shape of beam sizes: a whole number, or several with spaces between."""
    sizes = [] if isinstance(value, bool) else str(value).split()
    if not sizes or not all(re.fullmatch("0*[1-9][0-9]*", size) for size in sizes):
        raise misfit(place, f"{value!r} are no beam sizes; give whole numbers with spaces between: 1 5")


def names_option(words: str, option: str) -> bool:
    """Whether options name ``option`` outside of quotes, with a value behind it or joined to it."""
    return re.search(rf"(?<!\S){re.escape(option)}(?![^\s=])", _QUOTED.sub("_", words)) is not None
