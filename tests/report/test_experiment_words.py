"""Options and commands in an experiment's YAML: what a shell would make of them."""

from typing import Any

import pytest

from fairseq_kd.report.experiment.reader import check_keys
from fairseq_kd.storage.shapes import Misfit
from tests.report.test_experiment_rows import KEYS, rows

COMMENT = "'#' begins no comment in a block of text, and the shell would drop all words behind it; put the comment"
BACKSLASH = "\\ before a space: leave it out at the end of a line, as lines are joined; put a name with spaces"
QUOTE = "has a quote that is not closed"


def config(key: str, value: str) -> dict[str, Any]:
    """An experiment whose key ``key`` has the value."""
    found = KEYS | rows(one={})
    *above, last = key.split(".")
    below: Any = found
    for one in above:
        below = below.setdefault(one, {})
    below[last] = value
    return found


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("--lr 1e-3\n# slowly\n--warmup-updates 200", COMMENT),
        ("#--lr 1e-3", COMMENT),
        ("--lr 1e-3\n# don't\n--warmup-updates 200", COMMENT),
        ("--lr 1e-3; # slowly\n--warmup-updates 200", COMMENT),
        ("--lr 1e-3;# slowly\n--warmup-updates 200", COMMENT),
        ("--lr $(#slowly\n)", COMMENT),
        ("--lr 1e-3 \\\n--warmup-updates 200", BACKSLASH),
        ("--lr 1e-3 \\", BACKSLASH),
        ("--prefix my\\ name", BACKSLASH),
        ('--eval-bleu-args \'{"beam": 1}', QUOTE),
        ("--prefix $'it\\'s' --more \"$'\"", ""),
        ('--eval-bleu-args \'{"beam": 1}\' --prefix \'# \\ \' --name a#b ${#a} ";#" --more \\# "\\" #"', ""),
    ],
)
@pytest.mark.parametrize(
    "key", ["training", "teacher", "decoding", "raw", "rows.one.options", "rows.one.init", "cache.gold", "variants.v"]
)
def test_words_that_the_shell_would_read_otherwise(key: str, value: str, told: str) -> None:
    if not told:
        return check_keys(config(key, value))
    with pytest.raises(Misfit) as error:
        check_keys(config(key, value))
    assert str(error.value).startswith(f"{key}: {told}")


@pytest.mark.parametrize(
    ("value", "sign"),
    [("--lr 1e-3; --seed 2", ";"), ("--lr 1&2", "&"), ("--langs a|b", "|"), ("--seed <2", "<"), ("--filter (a)", "(")],
)
@pytest.mark.parametrize("key", ["training", "decoding", "rows.one.init", "corpora.more"])
def test_options_are_no_two_commands(key: str, value: str, sign: str) -> None:
    """The shell would end the options at such a sign, and run the training without those behind it."""
    with pytest.raises(Misfit) as error:
        check_keys(config(key, value))
    assert str(error.value) == f"{key}: the shell ends the options at {sign!r}; put a value that has it into quotes"
    for sound in (f"--prefix '{value}'", f'--prefix "{value}"', f"--prefix a\\{sign}b", "--lr $(ls | wc -l) `a|b`"):
        check_keys(config("training", sound))
    check_keys(config("raw", "if true; then a | b >c; fi"))


@pytest.mark.parametrize("key", ["training", "student", "rows.one.options"])
@pytest.mark.parametrize("value", ["--log-format none", "--lr 1 --log-format=none --patience 1"])
def test_a_training_without_a_log_has_no_place_in_the_table(key: str, value: str) -> None:
    with pytest.raises(Misfit) as error:
        check_keys(config(key, value))
    assert str(error.value) == f"{key}: --log-format none leaves no log for the table; give simple or json"
    check_keys(config(key, value.replace("none", "json")))
    check_keys(config("decoding", value))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("training", "--lr 1 --seed 3", "--seed would take the place of the key seeds; leave it out"),
        ("rows.one.options", "--seed=3", "--seed would take the place of the key seeds; leave it out"),
        ("fine_tuning", "--seed\n3", "--seed would take the place of the key seeds; leave it out"),
        ("decoding", "--seed 3", "--seed would take the place of the key seeds; leave it out"),
        ("scoring", "--seed 3", "--seed would take the place of the key seeds; leave it out"),
        ("teacher", "--seed 3", ""),
        ("student", "--seeds-of 3", ""),
        ("decoding", "--beam 4", "--beam would take the place of the key beams; leave it out, or give the teacher's"),
        ("scoring", "--beam=4 --lowercase", "--beam would take the place of the key beams; leave it out"),
        ("distilled", "--beam 4", ""),
        ("variants.wide", "--beam 40", ""),
    ],
)
def test_options_that_a_key_gives_already(key: str, value: str, told: str) -> None:
    """Of two such options the command would take the last, and the table would tell the key's."""
    if not told:
        return check_keys(config(key, value))
    with pytest.raises(Misfit) as error:
        check_keys(config(key, value))
    assert str(error.value).startswith(f"{key}: {told}")


@pytest.mark.parametrize(("value", "sound"), [("1 5", True), (5, True), ("1, 5", False), (0, False), ("", False)])
def test_beam_sizes(value: Any, sound: bool) -> None:
    if sound:
        return check_keys(config("beams", value))
    with pytest.raises(Misfit, match=r"^beams: .* are no beam sizes; give whole numbers with spaces between: 1 5$"):
        check_keys(config("beams", value))
