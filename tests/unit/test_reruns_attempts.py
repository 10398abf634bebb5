"""The numbers of the attempts that launched runs."""

import pytest

from coval_gate.ci.host import Context
from coval_gate.coval.model import Run
from coval_gate.history.tags import numbers_of


def run_of(attempt: str) -> Run:
    key = f"coval-gate/77.{attempt}/{'0' * 16}{'a' * 12}/1f"
    return Run(run_id=f"run{attempt}", status="COMPLETED", tags=(key,))


@pytest.mark.parametrize(
    ("attempts", "are_ids", "numbers"),
    [
        (["3", "1", "3"], False, {"1": 1, "3": 3}),
        (["9801", "977"], True, {"977": 1, "9801": 2}),  # jobs of GitLab
        (["b2", "a1"], False, {"a1": 1, "b2": 2}),
        ([], False, {}),
    ],
)
def test_attempts_are_counted_where_they_have_ids(attempts: list[str], are_ids: bool, numbers: dict[str, int]) -> None:
    runs = [*map(run_of, attempts), Run(run_id="other", status="COMPLETED")]
    assert numbers_of(runs, Context(attempt_is_id=are_ids)) == numbers
