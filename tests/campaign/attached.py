"""The campaign with own builds: a run is launched, `coval-gate attach` tags it or not, and another step judges it.

The sandbox holds all conversations, so that only the tag shows whether a process of the job answered them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from typing import Final

from campaign import invariants
from campaign.generate import generate, with_inputs
from campaign.invariants import ATTACHED as TAG
from campaign.invariants import (
    GRACE,
    INVARIANTS,
    Violation,
    cancel_was_impossible,
    is_ended,
    main_results,
    met_fault,
)
from campaign.legs import is_plain
from campaign.pool import Rules
from campaign.schedule import GATES, Fault, Schedule, Signal, Step
from campaign.simulate import History, ProcessResult, Simulator, simulated_in
from coval_gate.ci.host import AGENT_TYPE
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks
from coval_sandbox.state import RunRecord
from own_build import of_own_builds

TICK: Final = 1.0  # s between two looks of the process at its run
LONGEST: Final = 4000.0  # s for which the process follows a run
REASON: Final = "Nothing shows that a job answered every simulation"
PASSING: Final = 10.0  # s; errors that last no longer must not hide the agent's type
SHOWN_LATE: Final = 25.0  # s from the end of the run in which the tag may still come


@dataclass(frozen=True, kw_only=True)
class AttachSchedule(Schedule):
    """A schedule whose run a process answers. `late`: s from the end of the run to the tag; None if there is none.

    `waits`: the step that judges begins when the process has ended.
    """

    late: float | None = None
    waits: bool = True

    def __str__(self) -> str:
        tag = "no tag" if self.late is None else f"the tag comes {self.late:g} s after the end of the run"
        return f"{super().__str__()}\n  {tag}, {'before' if self.waits else 'beside'} the step that judges"


@dataclass(frozen=True, kw_only=True)
class AttachHistory(History):
    """What happened. `tagged`: when the runs got their tags, on the simulated clock."""

    schedule: AttachSchedule
    tagged: Mapping[str, float]


def attached(seed: int) -> AttachSchedule:
    """Return a schedule whose run a process answers, and whose rest is that of the first fitting seed."""
    place = 1000 * seed + 250
    while not _fits(generated := generate(place)):
        place += 1
    rng = Random(f"attach/{seed}")
    launch, wait = (_of_own_build(step, rng) for step in generated.steps)
    if rng.random() < 0.7:
        launch = replace(launch, signal=None, file_fault=None)
    severity = generated.severity
    if rng.random() < 0.2:
        wait = replace(wait, signal=Signal(kill=rng.random() < 0.4, at=round(rng.uniform(0, 150), 3)))
        severity = "rough"
    values = vars(generated) | {"steps": (launch, wait), "seed": seed}
    values |= {"workflow": "attach", "foreign_run": "", "severity": severity}
    if rng.random() < 0.3:  # nothing else holds the verdict up
        values |= {"faults": (), "outages": (), "quirks": Quirks()}
    late = None if rng.random() < 0.3 else rng.choice((0.5, 8.0, 20.0, 20.0, 60.0))
    schedule = AttachSchedule(**values, late=late, waits=rng.random() < 0.4)
    return schedule if rng.random() > 0.1 else _unnoted(schedule)


def _unnoted(schedule: AttachSchedule) -> AttachSchedule:
    """Let nothing but the agent's type show that a process has to answer, and both steps read it in vain at first."""
    return replace(
        schedule,
        severity="mild",
        steps=tuple(replace(step, signal=None, file_fault=None) for step in schedule.steps),
        faults=(Fault(method="GET", path="/agents/*", first=1, last=2, action="503"),),
        outages=(),
        events=(),
        late=None,
        quirks=replace(schedule.quirks, agent_metrics="shown"),
    )


def _fits(schedule: Schedule) -> bool:
    return schedule.workflow == "launch-wait" and is_plain(schedule) and schedule.gate in GATES


def _of_own_build(step: Step, rng: Random) -> Step:
    inputs = tuple((name, value) for name, value in step.inputs if name != "mutation_ids")
    return replace(step, inputs=with_inputs(inputs, resume="true"), pause=rng.choice((1.0, 2.0, 30.0)))


class AttachSimulator(Simulator):
    """The simulation of a schedule with a process that answers."""

    schedule: AttachSchedule

    def __post_init__(self) -> None:
        super().__post_init__()
        of_own_builds(self.world)
        self.tagged: dict[str, float] = {}
        self.has_left = True  # the process

    def run(self) -> AttachHistory:
        """Run all steps, and the process between or beside them."""
        return AttachHistory(**vars(super().run()), tagged=self.tagged)

    def _follow(self, result: ProcessResult) -> None:
        """Start the process that follows a launch; the next step may wait for it."""
        if result.step.mode != "launch" or result.exit_code or not any(self._runs(result.run_id)):
            return
        self.has_left, until = False, self.clock.now() + LONGEST
        with self.clock.lock:
            self._look(result.run_id, until)
        while self.schedule.waits and not self.has_left:
            self.clock.advance(TICK)

    def _runs(self, run_id: str) -> list[RunRecord]:
        return [run for run in self.world.runs if run.run_id == run_id]

    def _look(self, run_id: str, until: float) -> None:
        (run,), now = self._runs(run_id), self.clock.now()
        is_ended = run.delete_time is not None or run.cancel_time is not None
        if is_ended or now > until or (run.finished(self.world.clock()) and self.schedule.late is None):
            self.has_left = True
        elif run.finished(self.world.clock()):
            self.clock.at(now + (self.schedule.late or 0.0), lambda: self._tag(run))
        else:
            self.clock.at(now + TICK, lambda: self._look(run_id, until))

    def _tag(self, run: RunRecord) -> None:
        self.has_left = True
        with suppress(Problem):  # it was deleted
            self.world.update_run(run.run_id, {"tags": [*run.tags, TAG]})
            self.tagged[run.run_id] = self.clock.now()


def simulate_attached(schedule: Schedule) -> AttachHistory:
    """Simulate a schedule with a process that answers."""
    assert isinstance(schedule, AttachSchedule)
    return simulated_in(lambda directory: AttachSimulator(schedule, directory).run())


# What must hold


def _judged(history: AttachHistory) -> Iterator[tuple[ProcessResult, RunRecord]]:
    """Yield the steps that judged a run, each with its run."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if result.step.mode == "wait" and record is not None and result.killed is None:
            yield result, record


def _is_about_attach(result: ProcessResult) -> bool:
    return REASON in result.outputs.get("reason", "")


def _knows_type(history: AttachHistory, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the step could know that a process has to answer: by the launch's note, or the agent.

    Errors that pass are no excuse, but a key may not be allowed to read agents.
    """
    noted = record.body.get("metadata", {}).get("customer", {}).get(AGENT_TYPE) is not None
    shown = history.schedule.quirks.run_identity in ("both", "metadata")
    refused = history.schedule.quirks.agent_metrics == "forbidden"
    asked = [request for request in result.requests if request.path.startswith("/agents/")]
    lasting = bool(asked) and bool(asked[-1].fault) and asked[-1].sent_at - asked[0].sent_at > PASSING
    if not refused and (lasting or not history.schedule.recoverable):
        refused = not any(one.answered and one.status == HTTPStatus.OK and not one.fault for one in asked)
    return (noted and shown) or not refused


def no_verdict_on_the_agent_without_the_tag(history: AttachHistory) -> Iterator[str]:
    """A step neither passes nor blames the agent if no process answered its run."""
    for result, record in _judged(history):
        is_judged = result.verdict in ("passed", "failed") and record.run_id not in history.tagged
        if is_judged and _knows_type(history, result, record):
            yield f"step {result.number} {result.verdict}, but no process answered the run {record.run_id}"


def answered_run_is_judged(history: AttachHistory) -> Iterator[str]:
    """A step is in no error about attachment if the tag comes in time."""
    for result, record in _judged(history):
        if result.verdict != "error" or not _is_about_attach(result) or not _shows_tag(history, result, record):
            continue
        if not met_fault(result.requests):
            yield f"step {result.number} is in error, but the run is tagged: {result.outputs['reason']}"


def _shows_tag(history: AttachHistory, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the run shows its tag while the step looks for it."""
    now, tagged = history.coval_time(result.ended), history.tagged.get(record.run_id)
    until = result.began + float(result.step.given["max_wait_time"])
    if tagged is None or not record.finished(now) or result.ended >= until:
        return False
    patience = min(SHOWN_LATE, float(result.step.given.get("metrics_grace_time", GRACE)) - 5)
    latest = max(result.began, record.end_time - now + result.ended) + patience
    return history.schedule.quirks.run_identity in ("both", "tags") and tagged <= latest


def answered_run_has_its_verdict(history: AttachHistory) -> Iterator[str]:
    """If the tag comes in time, the verdict is the one of any other run."""
    judged = [*_judged(history)]
    if judged and all(_shows_tag(history, result, record) for result, record in judged):
        yield from invariants.verdict_matches_run(history)


def no_run_waits_for_a_process(history: AttachHistory) -> Iterator[str]:
    """Once a step was in error about attachment, its run is over or cancelled when its post step is."""
    now = history.coval_time(history.ended)
    for result, record in _judged(history):
        is_over = is_ended(history, record, now) or record.run_id in history.deleted
        if is_over or result.verdict != "error" or not _is_about_attach(result):
            continue
        if not cancel_was_impossible(history, result, record):
            yield f"step {result.number} left the run {record.run_id} waiting for a process"


def tag_of_process_is_kept(history: AttachHistory) -> Iterator[str]:
    """The tag that a process has added is still there at the end."""
    for run_id in history.tagged:
        if TAG not in history.runs[run_id].tags and history.schedule.quirks.run_identity != "metadata":
            yield f"the run {run_id} has lost the tag of its process"


OF_ATTACH: Final = (
    tag_of_process_is_kept,
    no_verdict_on_the_agent_without_the_tag,
    answered_run_is_judged,
    answered_run_has_its_verdict,
    no_run_waits_for_a_process,
)
LEFT_OUT: Final = (  # they take every verdict for one on the agent
    invariants.verdict_matches_run,
    invariants.late_values_are_waited_for,
)


def violations(history: History) -> list[Violation]:
    """Return what does not hold."""
    assert isinstance(history, AttachHistory)
    checked = [invariant for invariant in INVARIANTS if invariant not in LEFT_OUT]
    own = [Violation(rule.__name__, problem) for rule in OF_ATTACH for problem in rule(history)]
    return [*(Violation(rule.__name__, problem) for rule in checked for problem in rule(history)), *own]


ATTACHED: Final = Rules(attached, violations, ".venv/bin/python tests/campaign --attach --seed {}", simulate_attached)
