"""The invariants that must hold after every schedule: one function for each promise, which yields its violations.

Each public function of these modules that yields is one. They know nothing of the implementation: they check the
requests that Coval received, its runs, and the files written.
"""

from collections.abc import Callable, Iterator
from inspect import isgeneratorfunction
from typing import Final

from campaign import of_reports, of_runs, of_tags, of_verdicts
from campaign.simulate import History

INVARIANTS: Final[dict[str, Callable[[History], Iterator[str]]]] = {
    name: check
    for module in (of_runs, of_verdicts, of_tags, of_reports)
    for name, check in vars(module).items()
    if isgeneratorfunction(check) and check.__module__ == module.__name__ and not name.startswith("_")
}


def violations(history: History) -> list[str]:
    """Return all violations of a schedule."""
    return [f"{name}: {problem}" for name, check in INVARIANTS.items() for problem in check(history)]
