"""What a run produced, as far as a gate cares: simulations, and the values of metrics on them. Frozen."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations
from dataclasses import dataclass, field
from typing import Final

from coval_gate.model.statuses import COMPLETED
from coval_gate.text import folded

LARGEST: Final = 1e100  # of a number either way, so that sums and squares of many stay finite

Value = float | str | frozenset[str]  # a number, a text, or a set of texts

BASE: Final = ""  # the name of the agent itself among its mutations


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One conversation. `mutation` is the name of the agent's mutation that held it, or BASE."""

    id: str
    status: str
    test_case_id: str = ""
    mutation: str = BASE
    error: str = ""

    @property
    def completed(self) -> bool:
        return self.status == COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A metric's own pass condition in Coval: `operator` is one of eq neq gt gte lt lte in nin bt nbt.

    `upper` is the number to compare with or, for bt and nbt, the upper bound; `values` are the texts of in and nin.
    """

    operator: str
    upper: float | None = None
    lower: float | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All that an older shape of the API says of a metric: no single values."""

    mean: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a run. `values`: by simulation id, only those that are there; `summary` where there are none."""

    id: str
    name: str
    values: Mapping[str, Value] = field(default_factory=dict)
    summary: Summary | None = None
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run that completed: its whole population of simulations, also the failed ones, and its metrics.

    `expected`: how many simulations Coval says it has, at the least. `complaint`: what Coval says went wrong with the
    run, beyond simulations that failed; empty if nothing.
    """

    run_id: str
    expected: int = 0
    complaint: str = ""
    simulations: tuple[Simulation, ...]
    metrics: tuple[Metric, ...] = ()

    def called(self, reference: str) -> tuple[Metric, ...]:
        """The metrics that `reference` may mean: the one with that id, or all with that name in any capitals."""
        by_id = tuple(metric for metric in self.metrics if metric.id == reference)
        wanted = folded(reference)
        return by_id or tuple(metric for metric in self.metrics if folded(metric.name) == wanted)

    @property
    def variants(self) -> dict[str, tuple[Simulation, ...]]:
        """The simulations of the agent itself (under BASE) and of each of its mutations."""
        names = dict.fromkeys(sorted({each.mutation for each in self.simulations}))
        return {name: tuple(each for each in self.simulations if each.mutation == name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What only informs: test cases in words, by id; what judges say, by simulation id and then by metric id."""

    labels: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
