"""A break changes what it names and nothing else, and fails if it fits nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from campaign.sabotage import MISAIMED, Condition, Constant, Instead, Value, Without, gives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from campaign.sabotage import Break

TESTS = Path(__file__).parents[1]
WRONG_REPLACEMENT = """
from campaign.sabotage import Instead

def double(number):
    return 2 * number

Instead(double, lambda it, number: it(number.renamed)).prepare()()
try:
    double(1)
except AttributeError:
    pass  # as the program may do
"""


def new_counter() -> type[Any]:
    """Make a class for one test to break."""

    class Counter:
        def __init__(self) -> None:
            self.count, self.step, self.resets = 0, 2, 0

        @property
        def is_odd(self) -> bool:
            return self.count % 2 == 1

        def add(self, number: int = 1, *, most: int = 10) -> int:
            self.reset()
            if number > most:
                return -1
            self.count = number * self.step
            return self.count

        def reset(self) -> None:
            self.resets += 1

        def above(self, numbers: list[int], most: int) -> list[int]:
            if found := [each for each in numbers if each > most]:
                return found
            return [most] if numbers else []

        def steps(self) -> Iterator[int]:
            yield self.step

    return Counter


def test_a_function_is_replaced_for_those_that_hold_it() -> None:
    counter = new_counter()
    held = counter.add
    Instead(counter.add, lambda it, self, number=1, **rest: it(self, number + 1, **rest)).prepare()()
    assert held(counter()) == 4
    assert held(counter(), 10) == -1
    assert held(counter(), number=11, most=12) == 24


def test_a_property_is_replaced() -> None:
    counter = new_counter()
    Instead(counter.is_odd, gives("odd")).prepare()()
    assert counter().is_odd == "odd"


def test_a_generator_is_replaced_by_one() -> None:
    counter = new_counter()
    Instead(counter.steps, gives("done")).prepare()()
    with pytest.raises(StopIteration, match="done"):
        next(counter().steps())


def test_errors_of_the_original_come_through() -> None:
    counter = new_counter()
    Instead(counter.add, lambda it, self, number: it(self, number)).prepare()()
    with pytest.raises(TypeError):
        counter().add("one")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, [1, 20]), (False, [10])],
)
def test_the_inner_condition_is_decided(value: bool, expected: list[int]) -> None:
    counter = new_counter()
    Condition(counter.above, mentions="most", value=value).prepare()()
    assert counter().above([1, 20], 10) == expected


def test_one_of_several_places_is_chosen_by_number() -> None:
    counter = new_counter()
    Condition(counter.above, mentions="numbers", value=False, which=2).prepare()()
    assert counter().above([1], 10) == []
    assert counter().above([1, 20], 10) == [20]


def test_a_value_is_replaced() -> None:
    counter = new_counter()
    Value(counter.add, "step", value=5).prepare()()
    assert counter().add(3) == 15
    assert counter().add() == 5


def test_a_call_is_left_out() -> None:
    counter = new_counter()
    Without(counter.add, call="reset").prepare()()
    one = counter()
    assert (one.add(), one.resets) == (2, 0)


def test_a_constant_is_replaced() -> None:
    module = ModuleType("module")
    vars(module)["LIMIT"] = 1
    Constant(module, "LIMIT", 2).prepare()()
    assert module.LIMIT == 2


@pytest.mark.parametrize(
    "misaimed",
    [
        lambda _: Constant(ModuleType("module"), "LIMIT", 2),
        lambda counter: Instead(counter.add, lambda it, self, renamed: it(self, renamed)),
        lambda _: Instead(len, gives(0)),
        lambda counter: Condition(counter.add, mentions="renamed", value=True),
        lambda counter: Value(counter.add, "number", value=1),
        lambda counter: Value(counter.add, "number", value=1, which=3),
        lambda counter: Without(counter.add, call="renamed"),
    ],
)
def test_a_break_that_fits_nowhere_or_twice_is_refused(misaimed: Callable[[type[Any]], Break]) -> None:
    counter = new_counter()
    with pytest.raises(LookupError):
        misaimed(counter).prepare()
    assert counter().add(2) == 4


def test_a_replacement_that_fails_itself_ends_the_process() -> None:
    """The program would report such an error as its own, and the campaign would seem to have caught the mutant."""
    command = [sys.executable, "-c", WRONG_REPLACEMENT]
    ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert ended.returncode == MISAIMED
    assert "renamed" in ended.stderr
