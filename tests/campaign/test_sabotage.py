"""A break changes only its target, and is refused if there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from campaign.sabotage import REPLACEMENT_FAILED, Break, ReplaceFunction, SetConstant, returns

TESTS = Path(__file__).parents[1]
WRONG_REPLACEMENT = """
from campaign.sabotage import ReplaceFunction

def double(number):
    return 2 * number

ReplaceFunction(double, lambda original, number: original(number.renamed)).prepare()()
try:
    double(1)
except AttributeError:
    pass  # the action may catch it like this
"""


def new_counter_class() -> type[Any]:
    """Return a new class, so that breaks do not affect other tests."""

    class Counter:
        def __init__(self) -> None:
            self.count, self.step = 0, 2

        @property
        def is_odd(self) -> bool:
            return self.count % 2 == 1

        def add(self, number: int = 1, *, most: int = 10) -> int:
            if number > most:
                return -1
            self.count = number * self.step
            return self.count

        def steps(self) -> Iterator[int]:
            yield self.step

    return Counter


def test_replace_function_affects_existing_references() -> None:
    counter = new_counter_class()
    reference = counter.add
    ReplaceFunction(
        counter.add, lambda original, self, number=1, **rest: original(self, number + 1, **rest)
    ).prepare()()
    assert reference(counter()) == 4
    assert reference(counter(), 10) == -1
    assert reference(counter(), number=11, most=12) == 24


def test_replace_property() -> None:
    counter = new_counter_class()
    ReplaceFunction(counter.is_odd, returns("odd")).prepare()()
    assert counter().is_odd == "odd"


def test_returns_replaces_generator_function_with_generator() -> None:
    counter = new_counter_class()
    ReplaceFunction(counter.steps, returns("done")).prepare()()
    with pytest.raises(StopIteration, match="done"):
        next(counter().steps())


def test_replacement_propagates_errors_of_original() -> None:
    counter = new_counter_class()
    ReplaceFunction(counter.add, lambda original, self, number: original(self, number)).prepare()()
    with pytest.raises(TypeError):
        counter().add("one")


def test_set_constant() -> None:
    module = ModuleType("module")
    vars(module)["LIMIT"] = 1
    SetConstant(module, "LIMIT", 2).prepare()()
    assert module.LIMIT == 2


@pytest.mark.parametrize(
    "new_break",
    [
        lambda _: SetConstant(ModuleType("module"), "LIMIT", 2),
        lambda counter: ReplaceFunction(counter.add, lambda original, self, renamed: original(self, renamed)),
        lambda _: ReplaceFunction(len, returns(0)),
    ],
)
def test_break_without_a_target_is_refused(new_break: Callable[[type[Any]], Break]) -> None:
    counter = new_counter_class()
    with pytest.raises(LookupError):
        new_break(counter).prepare()
    assert counter().add(2) == 4


def test_failing_replacement_exits_process() -> None:
    """Otherwise the action would report the error, and the campaign would seem to catch the mutant."""
    command = [sys.executable, "-c", WRONG_REPLACEMENT]
    process = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert process.returncode == REPLACEMENT_FAILED
    assert "renamed" in process.stderr
