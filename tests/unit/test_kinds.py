"""A kind of criterion or problem has a name of its own."""

from coval_gate.gate import criteria, population, problems
from coval_gate.gate.problems import UNIDENTIFIED


def test_every_kind_of_criterion_has_a_name_of_its_own() -> None:
    assert_own_names([kind for module in (criteria, population) for kind in vars(module).values()])


def test_every_kind_of_problem_has_a_name_of_its_own() -> None:
    assert_own_names([*vars(problems).values()])


def assert_own_names(members: list[object]) -> None:
    unique = {id(member): member for member in members if member is not UNIDENTIFIED}
    names = [name for member in unique.values() if isinstance(name := getattr(member, "kind", None), str)]
    assert len({*names}) == len(names) > 10
