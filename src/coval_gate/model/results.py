"""The results of a run: simulations, their metric values and details, and short records of earlier runs.

All is frozen.
"""

from __future__ import annotations

from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import folded
from coval_gate.model.statuses import COMPLETED, ENDED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST: Final = 1e100  # magnitude of a number; sums and squares of many stay finite
SMALLEST: Final = 1e-100  # magnitude of a number, for the same reason; anything closer to 0 counts as 0

Value = float | str | frozenset[str]  # a number, a text, or a set of texts

BINARY_TEXTS: Final = ("YES", "NO", "UNKNOWN")  # the answers of a binary metric's judge

BASE: Final = ""  # the variant name of the agent itself


class Simulation(NamedTuple):
    """One conversation. `mutation` is a name, or BASE; names are unique in a run.

    `mutation_id` is empty for the agent itself, and if unknown. `run_id` is set if the results of several runs are
    pooled.
    """

    id: str
    status: str
    test_case_id: str = ""
    mutation: str = BASE
    mutation_id: str = ""
    error: str = ""
    run_id: str = ""

    @property
    def completed(self) -> bool:
        return self.status == COMPLETED

    @property
    def ended(self) -> bool:
        """A skipped simulation is over, although it did not complete."""
        return self.status in ENDED


class Target(NamedTuple):
    """A metric's own pass condition in Coval: `operator` is one of eq neq gt gte lt lte in nin bt nbt.

    `upper` is the number to compare with or, for bt and nbt, the upper bound; `values` are the texts of in and nin.
    """

    operator: str
    upper: float | None = None
    lower: float | None = None
    values: tuple[str, ...] = ()


class Summary(NamedTuple):
    """A metric's statistics in an older shape of the API, which has no single values."""

    mean: float | None = None
    min: float | None = None
    max: float | None = None


class Metric(NamedTuple):
    """`values` are by simulation id, without missing ones; older responses have a `summary`.

    `is_identified`: `id` is its id in Coval; older responses have only its name, which then serves as `id`. `defined`:
    the only texts that its definition allows; empty if unknown. `elsewhere`: its texts in the runs that this one is
    compared with. `unit`: of its numbers, in Coval's words; empty if it has none, or before it is known.
    """

    id: str
    name: str
    values: Mapping[str, Value] = MappingProxyType({})
    summary: Summary | None = None
    target: Target | None = None
    is_identified: bool = True
    defined: tuple[str, ...] = ()
    elsewhere: frozenset[str] = frozenset()
    unit: str = ""

    @property
    def numbers(self) -> frozenset[float]:
        return frozenset(value for value in set(self.values.values()) if isinstance(value, float))

    @property
    def texts(self) -> frozenset[str]:
        """Include `elsewhere`, and texts within sets."""
        distinct = set(self.values.values())
        texts = {value for value in distinct if isinstance(value, str)}
        return self.elsewhere.union(texts, *(value for value in distinct if isinstance(value, frozenset)))


class RunResult(NamedTuple):
    """A completed run, with failed simulations, too. `expected`: their minimum number, according to Coval.

    `absent_metrics`: names of metrics with a target that Coval announces for the run, but does not list. `settled`:
    Coval confirmed that the run has no further simulations and metrics, or listed the same for a while.
    `reported_error`: Coval's error for the run, apart from failed simulations.
    """

    run_id: str
    simulations: tuple[Simulation, ...]
    expected: int = 0
    reported_error: str = ""
    metrics: tuple[Metric, ...] = ()
    absent_metrics: tuple[str, ...] = ()
    settled: bool = True

    def find_metrics(self, reference: str) -> tuple[Metric, ...]:
        """Return the one with that id, or all with that name, in any case."""
        by_id = tuple(metric for metric in self.metrics if metric.id == reference)
        name = folded(reference)
        return by_id or tuple(metric for metric in self.metrics if folded(metric.name) == name)

    @property
    def variants(self) -> dict[str, tuple[Simulation, ...]]:
        """Of the agent itself (BASE) and of each mutation."""
        members: dict[str, list[Simulation]] = defaultdict(list)
        for simulation in self.simulations:
            members[simulation.mutation].append(simulation)
        return {name: tuple(members[name]) for name in sorted(members)}


class Turn(NamedTuple):
    """`start` and `end` in seconds from the conversation's start, None if unknown."""

    role: Literal["persona", "agent"]
    text: str
    start: float | None = None
    end: float | None = None


def length(turns: Sequence[Turn]) -> float | None:
    """Return seconds up to the end of the last turn; None if unknown."""
    return turns[-1].end if turns else None


class Details(NamedTuple):
    """Texts for the report that do not affect the verdict.

    `labels`: test cases in words, by id. `texts`: explanations of metric values, by simulation id and metric id.
    `transcripts`: by simulation id, if `include_transcripts` requests them.
    """

    labels: Mapping[str, str] = MappingProxyType({})
    texts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    transcripts: Mapping[str, tuple[Turn, ...]] = MappingProxyType({})


class TrendRun(NamedTuple):
    """An earlier completed run. `created` is ISO 8601; `averages` of metrics are Coval's, by id.

    `is_baseline`: it has the tag. `failed`: it is no baseline, because a comparison failed it, or data were missing.
    """

    run_id: str
    created: str
    averages: Mapping[str, float] = MappingProxyType({})
    is_baseline: bool = False
    failed: bool = False
