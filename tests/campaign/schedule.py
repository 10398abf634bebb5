"""What happens in one play of the campaign, all of it decided by a seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from coval_sandbox.quirks import DEFAULT, Quirks
from coval_sandbox.scenarios import for_test_set

if TYPE_CHECKING:
    from collections.abc import Iterator

GITHUB_PATIENCE: Final = 10.0  # s from the first signal to the kill, as GitHub's runner has it (7.5 s + 2.5 s)

# In the grammar of coval_sandbox.faults, and beyond it what no server can do: to be out of reach.
REFUSED: Final = "refused"
UNRESOLVED: Final = "unresolved"
UNREACHABLE: Final = "unreachable"
ECHO: Final = "echo"  # an error with this status whose message repeats the key
BEYOND: Final = (REFUSED, UNRESOLVED, UNREACHABLE)

GATES: Final[dict[str, dict[str, str]]] = {
    "default": {},
    "thresholds": {"thresholds": "Latency: avg < 1.5\nResolved: rate(YES) >= 90%\nCompliance: count(NO) == 0"},
    "targets": {"use_metric_targets": "true"},
    "pass_rate": {"thresholds": "pass_rate >= 95%"},
    "forbidden": {"fail_on_metric_id": "Compliance", "fail_on_metric_value": "NO"},
    "half": {"max_failed_simulations": "50%"},
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the requests number `first` to `last` (from 1, over the whole play) of an endpoint meet."""

    method: str
    path: str
    first: int
    last: int
    action: str

    def concerns(self, method: str, path: str) -> bool:
        """Whether such a request counts for this fault."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)

    def __str__(self) -> str:
        count = f"#{self.first}" if self.first == self.last else f"#{self.first}-{self.last}"
        return f"{self.method} {self.path} {count} -> {self.action}"


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What every request meets that begins in these seconds of the play."""

    begin: float
    end: float
    action: str

    def __str__(self) -> str:
        return f"from {self.begin:g} s to {self.end:g} s, every request -> {self.action}"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """An interrupt (SIGINT, with the kill that the runner sends 10 s later) or a kill -9 of a step.

    `at`: seconds after the step's beginning. `request`: as the step's request number n of those that match, `phase`
    "before" or "after" it takes effect; its answer is under way in either case. `check`: as the step asks for the n-th
    time whether it was told to end, while no request is under way.
    """

    kill: bool
    at: float | None = None
    method: str = "*"
    path: str = "*"
    request: int | None = None
    phase: str = "before"
    check: int | None = None

    def __str__(self) -> str:
        what = "kill -9" if self.kill else "interrupt"
        if self.at is not None:
            return f"{what} {self.at:g} s after the step's beginning"
        if self.request is not None:
            return f"{what} at {self.method} {self.path} #{self.request} of the step, {self.phase} it takes effect"
        return f"{what} at check number {self.check}"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong with a file of the runner: `what` is missing, or a directory or a full disk from `at` on (s)."""

    file: str  # output, state, summary or event
    what: str  # missing, directory or full
    at: float

    def __str__(self) -> str:
        return f"the {self.file} file is {self.what} from {self.at:g} s on"


@dataclass(frozen=True, kw_only=True)
class Event:
    """What somebody else does: "revoke" the key, "delete" the step's run, "jump" the wall clock by `amount` s."""

    what: str
    at: float
    amount: float = 0.0

    def __str__(self) -> str:
        by = f" by {self.amount:+g} s" if self.amount else ""
        return f"{self.what}{by} at {self.at:g} s"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a job. Without `run_id` among the inputs, the modes wait and cancel take that of the step before."""

    mode: str
    inputs: tuple[tuple[str, str], ...] = ()
    workflow_run: str = "1234567890"
    attempt: int = 1
    action: str = "__acme_coval-gate"
    signal: Signal | None = None
    trouble: Trouble | None = None
    post: bool = True
    post_signal: Signal | None = None
    pause: float = 2.0  # s before it

    @property
    def given(self) -> dict[str, str]:
        """The inputs by name."""
        return dict(self.inputs)

    def flag(self, name: str) -> bool:
        """An input that is true or false; those that are tested by their effect have the default written out."""
        return self.given[name] == "true"

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.inputs)
        lines = [f"step {self.mode} (workflow run {self.workflow_run}, attempt {self.attempt}, {self.action}): {given}"]
        lines += [f"    {each}" for each in (self.signal, self.trouble) if each]
        lines += [] if self.post else ["    no post step"]
        lines += [f"    post step: {self.post_signal}"] if self.post_signal else []
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One play: steps of one or more jobs, against a Coval that behaves like this."""

    seed: int
    temper: str  # benign (nothing happens), mild (the right verdict has to come out all the same) or rough
    story: str
    test_set: str
    gate: str
    steps: tuple[Step, ...]
    quirks: Quirks = DEFAULT
    faults: tuple[Fault, ...] = ()
    outages: tuple[Outage, ...] = ()
    events: tuple[Event, ...] = ()
    latency: float = 0.1  # s from a request to its answer
    skew: float = 0.0  # s by which Coval's clock is ahead of ours
    stranger: str = ""  # somebody else's run of the same begins just before ours: tagged, or bare of any metadata

    @property
    def calm(self) -> bool:
        """Whether the right verdict has to come out."""
        return self.temper != "rough"

    def __str__(self) -> str:
        scenario = for_test_set(self.test_set)
        quirks = [
            f"{each.name}={getattr(self.quirks, each.name)!r}"
            for each in fields(Quirks)
            if getattr(self.quirks, each.name) != getattr(DEFAULT, each.name)
        ]
        lines = [
            f"schedule {self.seed}: {self.temper}, story {self.story}",
            f"  scenario: {scenario.name} ({scenario.summary}), gate {self.gate}",
            f"  Coval: latency {self.latency:g} s, clock {self.skew:+g} s, stranger {self.stranger or 'none'}",
            f"  quirks: {', '.join(quirks) or 'none'}",
            *(f"  {each}" for each in self._happenings()),
            *(f"  {each}" for each in self.steps),
        ]
        return "\n".join(lines)

    def _happenings(self) -> Iterator[object]:
        yield from self.faults
        yield from self.outages
        yield from self.events
