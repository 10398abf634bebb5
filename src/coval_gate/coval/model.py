"""Runs in types of ours: what launches and finds them, their status, whose spellings differ, and their results."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from coval_gate.base.text import folded
from coval_gate.inputs.parsing import RunMetadata

LONGEST: Final = 40  # characters
PENDING: Final = "PENDING"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
CANCELLED: Final = "CANCELLED"
SKIPPED: Final = "SKIPPED"  # of a simulation that did not take place, and of a metric that is not computed for one
DELETED: Final = "DELETED"
ERROR: Final = "ERROR"

QUEUED: Final = frozenset({PENDING, "IN QUEUE", "QUEUED"})
RUNNING: Final = frozenset({"IN PROGRESS", "RUNNING"})
ENDING: Final = frozenset({"CANCELLING", "CANCELING", "DELETING", "STOPPING", "TERMINATING", "ABORTING"})
TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED, DELETED, ERROR})
ENDED: Final = TERMINAL | {SKIPPED}  # of a simulation, and of a metric output
API_DEFAULT_COUNT: Final = 1  # of iteration_count and concurrency; the API's defaults are not sent


def normalize_status(status: object) -> str:
    """Turn "in_progress" into "IN PROGRESS". Raises ValueError unless it is a short plain text."""
    plain = status if isinstance(status, str) and status.isprintable() and len(status.strip()) <= LONGEST else ""
    words = " ".join(plain.upper().replace("_", " ").replace("-", " ").split())
    if not words:
        raise ValueError("not a short text")
    return CANCELLED if words == "CANCELED" else words


CLEAN: Final = frozenset({"", "SUCCESS"})


class RunProgress(NamedTuple):
    """Coval does not document whether it counts test cases or simulations. `failed` is None if it is not shown."""

    total: int
    completed: int
    failed: int | None = 0

    @property
    def done(self) -> int:
        return min(self.total, self.completed + (self.failed or 0))

    def in_simulations(self, planned: int | None) -> "RunProgress":
        """Return the counts of simulations, if a run that has so many shows counts of their test cases."""
        each, rest = divmod(planned or 0, self.total or 1)
        if each <= 1 or rest or not self.total:
            return self
        failed = None if self.failed is None else each * self.failed
        return RunProgress(each * self.total, each * self.completed, failed)


class Run(NamedTuple):
    """`metadata` is from the launch. Until the run completes, `metrics` is empty.

    `output_ids`: None until then, and where Coval omits them.
    """

    run_id: str
    status: str
    progress: RunProgress | None = None
    error: str = ""
    error_status: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    create_time: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = MappingProxyType({})
    output_ids: tuple[str, ...] | None = None
    metrics: tuple["Metric", ...] = ()

    @property
    def ids(self) -> dict[str, str]:
        return {"agent_id": self.agent_id, "persona_id": self.persona_id, "test_set_id": self.test_set_id}

    @property
    def created(self) -> float | None:
        """Seconds since the epoch; None if the run does not show them."""
        return moment_of(self.create_time)

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_ending(self) -> bool:
        """Coval may report that the run is being cancelled only once the run is over."""
        return self.status in ENDING

    @property
    def is_empty(self) -> bool:
        """Whether both of Coval's counts are 0 simulations."""
        return self.output_ids == () and self.progress is not None and self.progress.total == 0

    @property
    def is_queued(self) -> bool:
        return self.status in QUEUED

    @property
    def shows_failures(self) -> bool:
        """Whether it shows how many simulations have failed so far: none, before the first."""
        progress = self.progress
        return self.status in QUEUED or bool(progress and progress.total and progress.failed is not None)

    @property
    def has_known_status(self) -> bool:
        return self.status in QUEUED | RUNNING | TERMINAL

    @property
    def is_clean(self) -> bool:
        """Live runs have "SUCCESS" in `error_status`, or omit it."""
        return self.error_status.upper() in CLEAN


def moment_of(text: str) -> float | None:
    """Return seconds since the epoch; None if the text cannot be read. Without an offset, it is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


LARGEST_VALUE: Final = 1e100  # magnitude of a number; sums and squares of many stay finite
SMALLEST_VALUE: Final = 1e-100  # magnitude of a number, for the same reason; anything closer to 0 counts as 0

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
    def conversation(self) -> tuple[str, str]:
        """What its iterations have in common: the variant and the test case."""
        return self.mutation, self.test_case_id

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
    compared with. `unit`: of its numbers, in Coval's words; empty if it has none, or before it is known. `left_out`: by
    simulation id, what known failures leave out of `values`; None where a value is missing.
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
    left_out: Mapping[str, Value | None] = MappingProxyType({})

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
    `reported_error`: Coval's error for the run, apart from failed simulations. `left_out`: those that known failures
    leave out of `simulations`.
    """

    run_id: str
    simulations: tuple[Simulation, ...]
    expected: int = 0
    reported_error: str = ""
    metrics: tuple["Metric", ...] = ()
    absent_metrics: tuple[str, ...] = ()
    settled: bool = True
    left_out: tuple[Simulation, ...] = ()

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


class Details(NamedTuple):
    """Texts for the report that do not affect the verdict.

    `labels`: test cases in words, by id. `texts`: explanations of metric values, by simulation id and metric id.
    `transcripts`: by simulation id, if `include_transcripts` requests them.
    """

    labels: Mapping[str, str] = MappingProxyType({})
    texts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    transcripts: Mapping[str, tuple[Turn, ...]] = MappingProxyType({})


class LaunchRequest(NamedTuple):
    """What a run evaluates, and how. Unset fields are empty, or None."""

    agent_id: str
    persona_id: str
    test_set_id: str
    metric_ids: tuple[str, ...] = ()
    persona_metrics: tuple[str, ...] = ()
    mutation_ids: tuple[str, ...] = ()
    iteration_count: int = API_DEFAULT_COUNT
    concurrency: int = API_DEFAULT_COUNT
    sub_sample_size: int | None = None
    sub_sample_seed: int | None = None
    test_case_ids: tuple[str, ...] = ()
    config_overrides: Mapping[str, Any] | None = None
    metadata: RunMetadata = RunMetadata()

    @property
    def ids(self) -> dict[str, str]:
        """The resources by which the run is found again."""
        return {"agent_id": self.agent_id, "persona_id": self.persona_id, "test_set_id": self.test_set_id}

    @property
    def parameters(self) -> dict[str, Any]:
        """All but the metadata by the API's names, without unset fields."""
        return _set_only(
            {
                **self.ids,
                "metric_ids": self.metric_ids,
                "persona_metrics": self.persona_metrics,
                "mutation_ids": self.mutation_ids,
                "options": self._options,
                "config_overrides": self.config_overrides,
            }
        )

    @property
    def body(self) -> dict[str, Any]:
        return _set_only({**self.parameters, "metadata": _set_only(self.metadata._asdict())})

    @property
    def _options(self) -> dict[str, Any]:
        counts = {"iteration_count": self.iteration_count, "concurrency": self.concurrency}
        sample = {"sub_sample_size": self.sub_sample_size, "sub_sample_seed": self.sub_sample_seed}
        return {
            **{name: count for name, count in counts.items() if count != API_DEFAULT_COUNT},
            **(_set_only(sample) if self.sub_sample_size else {}),
            **_set_only({"test_case_ids": self.test_case_ids}),
        }


class RunFilter(NamedTuple):
    """A run matches if it has all of the values that are not empty."""

    tag: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    status: str = ""

    @property
    def can_be_sent(self) -> bool:
        """Whether all values can be written without escapes, because Coval documents none."""
        return all(value.isprintable() and not set('"\\') & set(value) for value in self)

    def __str__(self) -> str:
        return " AND ".join(f'{name}="{value}"' for name, value in self._asdict().items() if value)


def _set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value not in ("", (), {}, [])}
