"""Measurements in turn: a function called by its name, in a process of its own, and what a failure says."""

import json
import subprocess
import sys

import pytest

from fairseq_kd.errors import UserError
from fairseq_kd.timing import interleaved
from fairseq_kd.timing.call import call_by_name
from fairseq_kd.timing.interleaved import TimedCall, measure, measure_in_turn, run_module


def test_a_function_is_called_by_its_name() -> None:
    assert call_by_name("json:loads", {"s": "[1]"}) == [1]
    with pytest.raises(AttributeError):
        call_by_name("json:no_such_function", {})


def test_the_last_line_printed_is_what_the_function_returns() -> None:
    words = ["-m", "fairseq_kd.timing.call", "json:loads", json.dumps({"s": '{"seconds": 2}'})]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"seconds": 2}


@pytest.mark.integration
def test_a_measurement_finds_its_function_again() -> None:
    assert measure(TimedCall("a section", "a line", json.loads, {"s": '{"seconds": 2}'})) == {"seconds": 2}


@pytest.mark.integration
def test_a_failure_is_one_line_with_its_reason() -> None:
    call = TimedCall("a section", "a line", json.loads, {"s": "no JSON"})
    with pytest.raises(UserError, match=r"python -m fairseq_kd\.timing\.call json:loads failed: .*Expecting value"):
        measure(call)
    with pytest.raises(UserError, match=r"python -m no_such_module failed: .*No module named no_such_module"):
        run_module(["no_such_module"])


def test_calls_are_measured_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def record(call: TimedCall) -> dict[str, float]:
        order.append(call.name)
        return {"seconds": float(len(order))}

    monkeypatch.setattr(interleaved, "measure", record)
    calls = [TimedCall("a section", name, dict, {}) for name in ("a", "b")]
    assert measure_in_turn(calls, 2, "title") == [[{"seconds": 1}, {"seconds": 3}], [{"seconds": 2}, {"seconds": 4}]]
    assert order == ["a", "b", "a", "b"]
