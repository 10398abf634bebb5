"""A kind of criterion or problem is one class with a name and words of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import coval_gate.gate.judge  # noqa: F401 - imports all of them
from coval_gate.gate.kinds import Criterion
from coval_gate.gate.population import Rule
from coval_gate.gate.problems import Problem, ValueProblem

if TYPE_CHECKING:
    from collections.abc import Iterator


def kinds_of(base: type[Any]) -> Iterator[type[Any]]:
    kind: type[Any]
    for kind in base.__subclasses__():
        if kind not in (Rule, ValueProblem):
            yield kind
        yield from kinds_of(kind)


@pytest.mark.parametrize("base", [Criterion, Problem])
def test_every_kind_has_a_name_of_its_own(base: type[Criterion | Problem]) -> None:
    names = {kind.__name__: kind.kind for kind in kinds_of(base)}
    assert len({*names.values()}) == len(names) > 10


@pytest.mark.parametrize(("base", "short", "method"), [(Criterion, "sentence", "text"), (Problem, "short", "text")])
def test_every_kind_has_words_of_its_own(base: type, short: str, method: str) -> None:
    silent = [
        kind.__name__
        for kind in kinds_of(base)
        if not getattr(kind, short) and getattr(kind, method) is getattr(base, method)
    ]
    assert silent == []
