"""A kind of criterion or problem has a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coval_gate.gate import incomparable, problems
from coval_gate.gate.kinds import Criterion
from coval_gate.gate.population import Rule
from coval_gate.gate.problems import UNIDENTIFIED, Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator


def kinds_of(base: type[Any]) -> Iterator[type[Any]]:
    kind: type[Any]
    for kind in base.__subclasses__():
        if kind is not Rule:
            yield kind
        yield from kinds_of(kind)


def test_every_kind_of_criterion_has_a_name_of_its_own() -> None:
    names = {kind.__name__: kind.kind for kind in kinds_of(Criterion)}
    assert len({*names.values()}) == len(names) > 10


def test_every_kind_of_problem_has_a_name_of_its_own() -> None:
    rows = [row for module in (problems, incomparable) for row in vars(module).values() if isinstance(row, Obstacle)]
    kinds = [row.kind for row in {id(row): row for row in rows}.values() if row is not UNIDENTIFIED]
    assert len({*kinds}) == len(kinds) > 10
