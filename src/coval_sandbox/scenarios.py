"""Named scenarios for a run's conversations, selected by test set id."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist

from . import catalogue

Value = float | str | tuple[str, ...]
RunStatus = str
"""One of the statuses in the documented spelling, e.g. "IN PROGRESS"."""


@dataclass(frozen=True)
class Numbers:
    """A clipped normal distribution. `spread` is negative if higher is better."""

    mean: float
    spread: float
    low: float
    high: float

    def at(self, luck: float, _random: Random) -> float:
        """`luck`: standard deviations (more: worse)."""
        return round(min(self.high, max(self.low, self.mean + self.spread * luck)), 3)


@dataclass(frozen=True)
class Choices:
    """Weighted strings, best first."""

    weights: tuple[tuple[str, float], ...]

    def at(self, luck: float, _random: Random) -> str:
        """`luck`: as for `Numbers`."""
        place = NormalDist().cdf(luck) * sum(weight for _, weight in self.weights)
        for word, weight in self.weights:
            place -= weight
            if place < 0:
                return word
        return self.weights[-1][0]


@dataclass(frozen=True)
class Sets:
    """A set of one to `most` of the options."""

    options: tuple[str, ...]
    most: int = 2

    def at(self, _luck: float, random: Random) -> tuple[str, ...]:
        """Return a sorted random choice; `luck` has no effect."""
        return tuple(sorted(random.sample(self.options, random.randint(1, self.most))))


Distribution = Numbers | Choices | Sets
OTHER_METRIC = Numbers(0.9, -0.05, 0.0, 1.0)
TOPICS = Sets(("billing", "booking", "identity", "opening hours", "refund"))


def yes_no(yes: float, no: float, unknown: float = 0.0) -> Choices:
    """Return the values of a binary judge, by their weights."""
    return Choices((("YES", yes), ("UNKNOWN", unknown), ("NO", no)))


def _values(latency: Numbers, resolved: Choices, compliance: Choices, tone: Numbers) -> Mapping[str, Distribution]:
    return {
        catalogue.LATENCY.id: latency,
        catalogue.RESOLVED.id: resolved,
        catalogue.COMPLIANCE.id: compliance,
        catalogue.TONE.id: tone,
        catalogue.TOPICS.id: TOPICS,
    }


GOOD = _values(Numbers(0.9, 0.15, 0.3, 1.45), yes_no(1, 0), yes_no(1, 0), Numbers(4.5, -0.2, 4.0, 5.0))
BAD = _values(Numbers(2.1, 0.3, 1.55, 6.0), yes_no(0.5, 0.4, 0.1), yes_no(0.8, 0.2), Numbers(3.4, -0.4, 1.0, 3.9))
MIXED = _values(
    Numbers(1.35, 0.25, 0.3, 6.0), yes_no(0.8, 0.15, 0.05), yes_no(0.95, 0.05), Numbers(4.2, -0.3, 1.0, 5.0)
)
WORSE = _values(Numbers(1.75, 0.25, 0.3, 6.0), yes_no(0.45, 0.45, 0.1), yes_no(0.9, 0.1), Numbers(3.8, -0.3, 1.0, 5.0))


@dataclass(frozen=True)
class Scenario:
    """The course of a run. All times are in seconds of sandbox time.

    `before`: the values in the runs of the last nights, if any. `conversation`: the shortest and the longest.
    `failed_share`: of simulations that end FAILED. `first_unresolved`: the share that is not resolved in the first run
    on the test set. `lost_case`: the label of the test case that is never resolved. `later`: the values from the run on
    that has `runs_before` others before it. `breaks_after`: the run ends this long after its launch, with `end_status`.
    `stuck_status`: the run never leaves it. `unknown_status`: the status during the first seconds in progress.
    """

    name: str
    test_set_id: str
    summary: str
    test_cases: int = 10
    queue: float = 8.0
    conversation: tuple[float, float] = (3.0, 7.0)
    failed_share: float = 0.0
    values: Mapping[str, Distribution] = field(default_factory=lambda: GOOD)
    first_unresolved: float = 0.0
    lost_case: str = ""
    later: Mapping[str, Distribution] | None = None
    runs_before: int = 0
    end_status: RunStatus = "COMPLETED"
    breaks_after: float | None = None
    stuck_status: RunStatus | None = None
    unknown_status: str | None = None
    simulated: bool = True
    null_progress: bool = False
    before: Mapping[str, Distribution] | None = None
    nights: int = 3
    error: str | None = None
    error_status: str | None = "SUCCESS"


PASSING = Scenario("passing", "passing1", "every value meets its target; about a minute")
FAILURE = "EXECUTION_FAILURE"
SCENARIOS: tuple[Scenario, ...] = (
    PASSING,
    Scenario("failing", "failing1", "completes, but most values are bad", values=BAD),
    Scenario("flaky", "flaky001", "some values miss their targets", values=MIXED),
    Scenario(
        "unlucky",
        "flaky002",
        "two in ten conversations of the first run are not resolved, later runs pass",
        first_unresolved=0.2,
    ),
    Scenario(
        "lost",
        "lostCase",
        "one test case in ten is never resolved, all others always are",
        lost_case="Angry caller",
    ),
    Scenario(
        "some-failed",
        "someFail",
        "three in ten conversations fail, the run is COMPLETED",
        failed_share=0.3,
        error_status=FAILURE,
    ),
    Scenario(
        "all-failed",
        "allFail1",
        "every conversation fails, the run is COMPLETED",
        failed_share=1.0,
        error_status=FAILURE,
    ),
    Scenario(
        "run-failed",
        "runFails",
        "FAILED after 20 s, with an error text",
        end_status="FAILED",
        breaks_after=20.0,
        error="The agent did not answer: connection timed out",
        error_status=FAILURE,
    ),
    Scenario(
        "cancelled",
        "cancels1",
        "a user cancels it after 20 s",
        end_status="CANCELLED",
        breaks_after=20.0,
        error_status=None,
    ),
    Scenario(
        "deleted",
        "deletes1",
        "a user deletes it after 20 s",
        end_status="DELETED",
        breaks_after=20.0,
        error_status=None,
    ),
    Scenario(
        "error",
        "errors01",
        "the undocumented status ERROR after 20 s",
        end_status="ERROR",
        breaks_after=20.0,
        error_status=FAILURE,
    ),
    Scenario(
        "slow",
        "slow0001",
        "takes an hour",
        queue=120.0,
        conversation=(288.0, 408.0),
    ),
    Scenario("stuck", "stuck001", "never leaves IN PROGRESS", stuck_status="IN PROGRESS"),
    Scenario("queued", "queued01", "never leaves IN QUEUE", stuck_status="IN QUEUE"),
    Scenario("empty", "empty001", "COMPLETED without simulations", simulated=False),
    Scenario(
        "dirty",
        "dirty001",
        "COMPLETED without failures, but error_status reports one",
        error_status=FAILURE,
    ),
    Scenario(
        "unknown-status",
        "unknown1",
        "has an undocumented status for 15 s, then continues",
        unknown_status="WARMING UP",
    ),
    Scenario("no-progress", "noProgrs", "progress is null", null_progress=True),
    Scenario(
        "large",
        "large001",
        "250 test cases, some values miss their targets",
        test_cases=250,
        conversation=(0.1, 0.3),
        values=MIXED,
    ),
    Scenario(
        "steady",
        "steady01",
        "80 test cases, every value meets its target",
        test_cases=80,
        queue=2.0,
        conversation=(0.3, 0.7),
    ),
    Scenario(
        "regressed",
        "regress1",
        "30 test cases, worse than in the nights before",
        test_cases=30,
        conversation=(1.0, 2.3),
        values=WORSE,
        before=MIXED,
        nights=20,
    ),
    Scenario(
        "worsening",
        "worsens1",
        "30 test cases; some values miss their targets, and from the fourth run on more of them",
        test_cases=30,
        queue=2.0,
        conversation=(0.3, 0.7),
        values=MIXED,
        later=WORSE,
        runs_before=3,
    ),
    Scenario(
        "unchanged",
        "unchang1",
        "30 test cases, as good as in the nights before; some values miss their targets",
        test_cases=30,
        conversation=(1.0, 2.3),
        values=MIXED,
        before=MIXED,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
BY_TEST_SET = {scenario.test_set_id: scenario for scenario in SCENARIOS}


def for_test_set(test_set_id: str) -> Scenario:
    """Return the scenario of a test set; for an unknown id, the passing one."""
    return BY_TEST_SET.get(test_set_id, PASSING)
