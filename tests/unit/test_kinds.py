"""A kind of criterion is one class, and has one entry of words."""

from __future__ import annotations

from typing import get_args

from coval_gate.judge.criteria import Criterion
from coval_gate.report.wording.criteria import WORDS


def test_every_kind_of_criterion_has_words_of_its_own() -> None:
    assert {*WORDS} == {*get_args(Criterion)}
    assert len({kind.kind for kind in WORDS}) == len(WORDS)
