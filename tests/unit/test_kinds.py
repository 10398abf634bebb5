"""A kind of criterion or problem is one class, and has one entry of words."""

from __future__ import annotations

from typing import get_args

from coval_gate.judge.criteria import Criterion
from coval_gate.judge.problems import Problem
from coval_gate.report.wording import criteria, problems


def test_every_kind_of_criterion_has_words_of_its_own() -> None:
    assert {*criteria.WORDS} == {*get_args(Criterion)}
    assert len({kind.kind for kind in get_args(Criterion)}) == len(criteria.WORDS)


def test_every_kind_of_problem_has_words_of_its_own() -> None:
    assert {*problems.WORDS} == {*get_args(Problem)}
    assert len({kind.kind for kind in get_args(Problem)}) == len(problems.WORDS)
