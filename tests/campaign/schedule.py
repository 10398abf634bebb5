"""A schedule: everything that happens in one simulated workflow, as a seed determines it."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from coval_sandbox.quirks import DEFAULT, Quirks
from coval_sandbox.scenarios import for_test_set

# Actions in the grammar of coval_sandbox.faults, and those below: connections that fail before they reach a server.
REFUSED: Final = "refused"
UNRESOLVED: Final = "unresolved"
UNREACHABLE: Final = "unreachable"
ECHO: Final = "echo"  # an error with this status whose message repeats the key in this spelling
EVER: Final = 10_000  # requests
CONNECTION_FAULTS: Final = (REFUSED, UNRESOLVED, UNREACHABLE)

GATES: Final[dict[str, dict[str, str]]] = {
    "default": {},
    "thresholds": {
        "thresholds": "Latency: avg < 1.5\nResolved: rate(YES) >= 90%\nCompliance: count(NO) == 0\n"
        "? Latency: max < 0.01"  # no run meets it, and it decides nothing
    },
    "targets": {"use_metric_targets": "true"},
    "pass_rate": {"thresholds": "pass_rate >= 95%"},
    "forbidden": {"fail_on_metric_id": "Compliance", "fail_on_metric_value": "NO"},
}
# Of steps that repeat a run that failed. Rates and averages are those of all runs; everything else, of each.
REPEATED_GATES: Final[dict[str, dict[str, str]]] = {
    "failed": {},
    "rate": {"thresholds": "Resolved: rate(YES) >= 90%"},
    "mixed": {"thresholds": "Latency: avg < 1.4\nResolved: rate(YES) >= 90%\nCompliance: count(NO) == 0"},
}
STABLE: Final = "stable"  # the tag of baselines
# Runs of the same test set differ much less by chance; after some events, by much more.
BASELINE_GATES: Final[dict[str, dict[str, str]]] = {
    name: {
        "thresholds": "Latency: avg <= baseline * 1.4",
        "baseline": source,
        "on_inconclusive": "fail",
        **({"baseline_max_age": "1h"} if source.startswith("branch:") else {}),
    }
    for name, source in (
        ("baseline of branch", "branch:main"),
        ("baseline of branches", "branch:main last 2"),
        ("baseline of tag", f"tag:{STABLE}"),
        ("baseline of tags", f"tag:{STABLE} last 2"),
    )
}
# Of steps that launch their runs in slices, until the answer is clear.
SLICED: Final = "sliced"
SLICED_GATES: Final[dict[str, dict[str, str]]] = {
    SLICED: {
        "thresholds": "Resolved: rate(YES) >= 60%",  # which six of ten may show
        "confidence": "95%",
        "spend": "until clear",
        "on_inconclusive": "fail",
    }
}
ALL_GATES: Final = GATES | REPEATED_GATES | BASELINE_GATES | SLICED_GATES

# Thresholds that only one leg of a file has, beside those of its step; no run meets the strict one.
OWN_GATES: Final[dict[str, dict[str, str]]] = {
    "strict": {"thresholds": "Latency: max < 0.01"},
    "loose": {"thresholds": "Latency: max < 60"},
}

TOO_FEW: Final = "1"  # simulations of max_simulations; no leg has so few

FAILED: Final = "coval-gate/failed"  # the mark of a run that the gate failed
ACCEPTED: Final = "coval-gate/accepted"  # the mark of a run that a person accepted
ATTACHED: Final = "coval-gate/attached"  # the tag that a process adds, which answered the run
BY_HAND: Final = "workflow_dispatch"  # the event of a workflow that a person started
MARKS: Final = (STABLE, FAILED, ACCEPTED)  # tags that a step gives to a run that is over


class Fault(NamedTuple):
    """An action for the requests number `first` to `last` of an endpoint, counted from 1 over the whole schedule."""

    method: str
    path: str
    first: int
    last: int
    action: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request counts towards this fault."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)


class Outage(NamedTuple):
    """An action for every request that begins within these seconds of the schedule."""

    begin: float
    end: float
    action: str


@dataclass(frozen=True, kw_only=True)
class Signal:
    """An interrupt (SIGINT, followed by the kill that the runner sends 10 s later) or a kill -9 of a step.

    It arrives `at` seconds after the step's start; or during the n-th matching `request` of the step, in the `phase`
    "before" or "after" that request takes effect, while its response is outstanding; or at the n-th `check` for signals
    that the step makes while no request is outstanding.
    """

    kill: bool
    at: float | None = None
    method: str = "*"
    path: str = "*"
    request: int | None = None
    phase: str = "before"
    check: int | None = None


class FileFault(NamedTuple):
    """A fault of a runner file: it is missing, or becomes a directory or a full disk at second `at`."""

    file: str  # output, state, summary or event
    kind: str  # missing, directory or full
    at: float


class Event(NamedTuple):
    """An outside event.

    "revoke" the API key, "jump" the wall clock by `amount` s. Of later runs, "recover": they pass; "regress": they are
    bad; "stall": they never end. "fail newest": another step gives its mark to the
    newest run that has ended. "run schedule": Coval's own schedule launches.
    """

    kind: str
    at: float
    amount: float = 0.0


class Process(NamedTuple):
    """A process of the job that answers the run of a launch, and then tags it.

    `late`: s from the end of the run to the tag; None if none comes. `waits`: the next step begins when it has ended.
    """

    late: float | None
    waits: bool


class ListedLeg(NamedTuple):
    """A leg in the file that a step has; `gate` is one of OWN_GATES, or empty."""

    name: str
    persona_id: str
    test_set_id: str
    gate: str

    @property
    def inputs(self) -> dict[str, str]:
        """Return its entry of the file."""
        ids = {"persona_id": self.persona_id, "test_set_id": self.test_set_id}
        return ids | OWN_GATES.get(self.gate, {})


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job.

    In mode wait, it gets the run_ids output of the previous step, unless its inputs name a run; in mode cancel, the
    run_id output of all.
    """

    mode: str
    inputs: dict[str, str] = field(default_factory=dict)
    workflow_run: str = "1234567890"
    attempt: int = 1
    action: str = "__acme_coval-gate"
    matrix: str = ""  # the value that distinguishes the job within its matrix
    branch: str = ""  # whose push began the workflow; empty: a pull request did
    signal: Signal | None = None
    file_fault: FileFault | None = None
    post: bool = True
    post_signal: Signal | None = None
    pause: float = 2.0  # s before the step starts
    event: str = "pull_request"  # that started the workflow; or push, or BY_HAND
    listed: tuple[ListedLeg, ...] = ()  # the selected legs in the file, or those with which its runs were launched
    filed: tuple[str, ...] = ()  # the inputs that stand at the top of the file

    @property
    def finds(self) -> str:
        """Return the kind of source whose newest run the step judges: tag, branch or schedule; empty if it has none."""
        return self.inputs.get("run_id", "").partition(":")[0] if self.mode == "wait" else ""

    @property
    def job(self) -> tuple[str, int, str]:
        """Return what identifies the job that the step belongs to."""
        return self.workflow_run, self.attempt, self.matrix

    @property
    def accepts(self) -> bool:
        """Return whether the step is to accept its run."""
        return self.mode in ("run", "wait") and self.inputs.get("accept") == "true"

    @property
    def holders(self) -> int:
        """Return how many runs are to have the tag of the step's baseline; 0 if that has none."""
        source, _, most = self.inputs.get("baseline", "").partition(" last ")
        return int(most or 1) if source == f"tag:{STABLE}" else 0

    @property
    def repetitions(self) -> int:
        """Return how often the step may repeat a run that failed."""
        return int(self.inputs.get("repeat_on_failure", "0")) if self.mode == "run" else 0

    def flag(self, name: str) -> bool:
        """Return a boolean input, which the schedule must set."""
        return self.inputs[name] == "true"

    def having(self, **inputs: str) -> "Step":
        """Return the step with some of its inputs added or replaced."""
        return replace(self, inputs=self.inputs | inputs)

    def without(self, *names: str) -> "Step":
        """Return the step without some inputs."""
        return replace(self, inputs={name: value for name, value in self.inputs.items() if name not in names})

    def calm(self) -> "Step":
        """Return the step without what disturbs its process."""
        return replace(self, signal=None, file_fault=None)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The steps of one or more jobs, and how Coval, the network and the runner behave meanwhile."""

    seed: int
    severity: str  # benign (no faults), mild (faults that must not change the verdict) or rough
    workflow: str
    test_set: str
    gate: str
    steps: tuple[Step, ...]
    quirks: Quirks = DEFAULT
    faults: tuple[Fault, ...] = ()
    outages: tuple[Outage, ...] = ()
    events: tuple[Event, ...] = ()
    latency: float = 0.1  # s from a request to its response
    skew: float = 0.0  # s by which Coval's clock is ahead of the runner's
    github_outages: tuple[Outage, ...] = ()  # where steps have a commit_status or a check_run
    fate: str = ""  # of the runs that are the baseline of the last step
    holder: bool = False  # an older run has the tag of baselines
    dimension: str = ""  # of generate.DIMENSIONS
    process: Process | None = None
    base_test_set: str = ""  # its scenario replaces the one of the base agent's runs; empty: they keep their own

    def each(self, change: Callable[[Step], Step]) -> "Schedule":
        """Return the schedule with each step changed."""
        return replace(self, steps=tuple(map(change, self.steps)))

    def with_gate(self, gate: str) -> "Schedule":
        """Return the schedule with another gate."""
        return replace(self.each(lambda step: step.without(*ALL_GATES[self.gate]).having(**ALL_GATES[gate])), gate=gate)

    @property
    def recoverable(self) -> bool:
        """Return whether the verdict must be the same as without faults."""
        return self.severity != "rough"

    def __str__(self) -> str:
        own = _changes(self, "steps", "quirks")
        lines = [f"schedule: {own}", f"  scenario: {for_test_set(self.test_set).summary}"]
        lines += [f"  quirks: {_changes(self.quirks)}", *(f"  step: {_changes(step)}" for step in self.steps)]
        return "\n".join(lines)


def _changes(record: Any, *omitted: str) -> str:
    """Describe a dataclass by the fields that differ from their defaults."""
    shown = [entry for entry in fields(record) if getattr(record, entry.name) != entry.default]
    return ", ".join(f"{entry.name}={getattr(record, entry.name)!r}" for entry in shown if entry.name not in omitted)
