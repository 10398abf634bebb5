"""The campaign with own builds: a run is launched, `coval-gate attach` answers it or not, and another step judges it.

`attach_model.py` stands for the command.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Final

from campaign import invariants
from campaign.attach_model import ANSWERED, TAG, AttachPlan, AttachProcess
from campaign.generate import generate, with_inputs
from campaign.invariants import (
    INVARIANTS,
    Violation,
    cancel_was_impossible,
    is_ended,
    main_results,
    met_fault,
)
from campaign.legs import is_plain
from campaign.pool import Rules
from campaign.schedule import GATES, Fault, Schedule, Signal
from campaign.simulate import History, Simulator, simulated_in
from coval_gate.ci.host import AGENT_TYPE
from coval_sandbox.catalogue import OWN_BUILD_ID
from coval_sandbox.faults import FaultScript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from campaign.schedule import Step
    from campaign.simulate import ProcessResult
    from coval_sandbox.state import RunRecord

RELAY: Final = "wss://127.0.0.1"
LONGEST: Final = 4000.0  # s for which a job waits for a process that does not end
REASON: Final = "Nothing shows that a job answered every simulation"
PASSING: Final = 10.0  # s; errors that last no longer must not hide the agent's type
SHOWN_LATE: Final = 25.0  # s from the end of the run in which the tag may still come
OFFERS: Final = ("lost 5", "lost 40", "lost", "stale", "delay 10", "delay 60")
RELAYS: Final = ("refuse", "refuse 503", "error the line broke", "close 1011", "close 1000", "drop")
SHARES: Final = (*[0.0] * 8, 0.1, 0.3)


@dataclass(frozen=True, kw_only=True)
class AttachSchedule(Schedule):
    """A schedule with processes that answer."""

    attached: tuple[AttachPlan, ...] = ()
    offers: tuple[str, ...] = ()  # faults of offers and of the relay

    def __str__(self) -> str:
        limits = f"a simulation waits {self.quirks.attach_limit:g} s, an offer lasts {self.quirks.offer_life:g} s"
        lines = [f"  {limits}", *(f"  {line}" for line in (*self.offers, *self.attached))]
        return "\n".join([super().__str__(), *lines])


@dataclass(frozen=True, kw_only=True)
class AttachHistory(History):
    """What happened, and the processes that answered, by the number of the step that they followed."""

    schedule: AttachSchedule
    processes: tuple[AttachProcess, ...]

    def of_run(self, run_id: str) -> list[AttachProcess]:
        """Return the processes that answered a run, in their order."""
        return [process for process in self.processes if process.run_id == run_id]

    def unanswered(self, record: RunRecord) -> list[str]:
        """Return the simulations of a run that really no process answered."""
        outcomes = [process.outcomes for process in self.of_run(record.run_id)]
        ids = [planned.simulation_id for planned in record.plan.simulations]
        return [id_ for id_ in ids if not any(known.get(id_) in ANSWERED for known in outcomes)]


def attached(seed: int) -> AttachSchedule:
    """Return a schedule whose run a process answers, and whose rest is that of the first fitting seed."""
    place = 1000 * seed + 250
    while not _fits(generated := generate(place)):
        place += 1
    rng = Random(f"attach/{seed}")
    launch, wait = (_of_own_build(step, rng) for step in generated.steps)
    if rng.random() < 0.7:
        launch = replace(launch, signal=None, file_fault=None)
    gate = generated.gate
    if rng.random() < 0.4:  # only this gate could let simulations pass that no process answered
        wait, gate = replace(wait, inputs=_with_gate(wait, gate, "half")), "half"
    waits = rng.random() < 0.6
    is_rerun, is_absent = rng.random() < 0.25, rng.random() < 0.07
    plans = [] if is_absent else [_plan(rng, 0, waits=waits)]
    if plans and not is_rerun and rng.random() < 0.2:
        plans = [_ended(replace(plans[0], waits=True), rng), _plan(rng, 0, waits=waits)]
    steps: tuple[Step, ...] = (launch, wait)
    if is_rerun:
        first = replace(launch, post=launch.post and rng.random() < 0.6)
        again = replace(launch, attempt=2, signal=None, pause=rng.choice((1.0, 20.0, 90.0)))
        steps = (first, again, replace(wait, attempt=2))
        left = [_ended(plans[0], rng)] if plans and rng.random() < 0.8 else []
        plans = [*left, *(replace(plan, after=1) for plan in plans)]
    severity = generated.severity
    if rng.random() < 0.2:
        *earlier, last = steps
        kill = rng.random() < 0.4
        steps = (*earlier, replace(last, signal=Signal(kill=kill, at=round(rng.uniform(0, 150), 3))))
        severity = "rough"
    quirks = replace(
        generated.quirks,
        attach_limit=rng.choice((40.0, 90.0, 300.0, 1000.0)),
        offer_life=rng.choice((10.0, 60.0)),
    )
    values = vars(generated) | {"steps": steps, "quirks": quirks, "gate": gate, "seed": seed}
    values |= {"workflow": "attach", "foreign_run": "", "severity": severity}
    schedule = AttachSchedule(
        **values,
        attached=tuple(plans),
        offers=tuple(_faults(rng)) if rng.random() < 0.3 else (),
    )
    return schedule if is_rerun or rng.random() > 0.1 else _unnoted(schedule)


def _unnoted(schedule: AttachSchedule) -> AttachSchedule:
    """Let nothing but the agent's type show that a process has to answer, and both steps read it in vain at first."""
    plans = [replace(plan, tag_delay=None, is_killed=True, at=5.0) for plan in schedule.attached[-1:]]
    steps = tuple(replace(step, signal=None, file_fault=None) for step in schedule.steps)
    return replace(
        schedule,
        severity="mild",
        steps=steps,
        faults=(Fault(method="GET", path="/agents/*", first=1, last=2, action="503"),),
        outages=(),
        events=(),
        attached=tuple(plans),
        quirks=replace(schedule.quirks, attach_limit=40.0, agent_metrics="shown"),
    )


def _fits(schedule: Schedule) -> bool:
    return schedule.workflow == "launch-wait" and is_plain(schedule) and schedule.gate in GATES


def _of_own_build(step: Step, rng: Random) -> Step:
    inputs = tuple((name, value) for name, value in step.inputs if name != "mutation_ids")
    more = {"agent_id": OWN_BUILD_ID, "resume": "true"}
    if step.mode == "launch":
        more["concurrency"] = rng.choice(("4", "10", "10"))
    return replace(step, inputs=with_inputs(inputs, **more), pause=rng.choice((1.0, 2.0, 30.0)))


def _with_gate(step: Step, old: str, gate: str) -> tuple[tuple[str, str], ...]:
    inputs = {name: value for name, value in step.inputs if name not in GATES[old]}
    return tuple((inputs | GATES[gate]).items())


def _plan(rng: Random, after: int, *, waits: bool) -> AttachPlan:
    plan = AttachPlan(
        after=after,
        waits=waits,
        begins=rng.choice((0.5, 3.0, 20.0)),
        call=rng.choice((5.0, 20.0, 50.0)),
        closing=rng.choice((0.0, 0.0, 3.0, 12.0)),
        tag_delay=None if rng.random() < 0.15 else rng.choice((0.5, 3.0, 15.0)),
        crashes=rng.choice(SHARES),
        returns=rng.choice(SHARES),
        overlooks=rng.choice((*[0.0] * 8, 0.2)),
    )
    return _ended(plan, rng) if rng.random() < 0.2 else plan


def _ended(plan: AttachPlan, rng: Random) -> AttachPlan:
    """Let a process end before its run."""
    if rng.random() < 0.4:
        return replace(plan, is_killed=True, call_number=rng.randint(1, 10))
    return replace(plan, is_killed=True, at=round(rng.choice((rng.uniform(0, 5), rng.uniform(0, 90))), 2))


def _faults(rng: Random) -> Iterator[str]:
    for _ in range(rng.randint(1, 2)):
        first = rng.randint(1, 8)
        of_relay = rng.random() < 0.5
        action = rng.choice(RELAYS if of_relay else OFFERS)
        count = f"#{first}-{first + rng.randint(0, 2)}"
        yield f"{'RELAY' if of_relay else 'OFFER'} /simulations/* {count} -> {action}"


class AttachSimulator(Simulator):
    """The simulation of a schedule with processes that answer."""

    schedule: AttachSchedule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.processes: list[AttachProcess] = []
        self.world.attachments.open(RELAY, FaultScript(self.schedule.offers))

    def run(self) -> AttachHistory:
        """Run all steps and processes."""
        history = super().run()
        return AttachHistory(**vars(history), processes=tuple(self.processes))

    def _follow(self, result: ProcessResult) -> None:
        """Start the processes that follow a step; the next step waits for some of them."""
        launched = result.exit_code == 0 and result.run_id in {run.run_id for run in self.world.runs}
        for plan in self.schedule.attached:
            if plan.after != result.number or not launched:
                continue
            for earlier in self.processes:  # with its job
                earlier.kill()
            self.clock.advance(plan.begins)
            name = f"attach/{self.schedule.seed}/{len(self.processes)}"
            process = AttachProcess(plan, name, result.run_id, self.clock, self.world)
            self.processes.append(process)
            with self.clock.lock:
                process.start()
            until = self.clock.now() + LONGEST
            while plan.waits and process.ended is None and self.clock.now() < until:
                self.clock.advance(1.0)


def simulate_attached(schedule: Schedule) -> AttachHistory:
    """Simulate a schedule with processes that answer."""
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


def green_only_if_all_were_answered(history: AttachHistory) -> Iterator[str]:
    """A step passes only if a process really answered every simulation of its run."""
    for result, record in _judged(history):
        left = history.unanswered(record)
        if result.verdict == "passed" and left and _knows_type(history, result, record):
            yield f"step {result.number} passed, but no process answered {len(left)} simulations"


def set_up_is_to_blame(history: AttachHistory) -> Iterator[str]:
    """A run that no process answered in part is no failure of the agent."""
    for result, record in _judged(history):
        left = history.unanswered(record)
        if result.verdict != "failed" or not left or not _knows_type(history, result, record):
            continue
        yield f"step {result.number} failed, but no process answered {len(left)} simulations"


def answered_run_is_judged(history: AttachHistory) -> Iterator[str]:
    """A step is in no error about attachment, if all were answered, and the tag shows that in time."""
    for result, record in _judged(history):
        if result.verdict != "error" or not _is_about_attach(result) or not _shows_all(history, result, record):
            continue
        if not met_fault(result.requests):
            yield f"step {result.number} is in error, but all were answered: {result.outputs['reason']}"


def _shows_all(history: AttachHistory, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether all simulations were answered, and the last process shows it to the step while that looks."""
    processes = history.of_run(record.run_id)
    if not processes or history.unanswered(record) or any(event.kind == "jump" for event in history.schedule.events):
        return False
    last, now = processes[-1], history.coval_time(result.ended)
    until = result.began + float(result.step.given["max_wait_time"])
    if not last.is_whole or not record.finished(now) or result.ended >= until:
        return False
    shown = history.schedule.quirks.run_identity in ("both", "tags")
    grace = float(result.step.given.get("metrics_grace_time", SHOWN_LATE + 5)) - 5
    latest = max(result.began, record.end_time - now + result.ended) + min(SHOWN_LATE, grace)
    return shown and last.tagged is not None and last.tagged <= latest


def answered_run_has_its_verdict(history: AttachHistory) -> Iterator[str]:
    """If all were answered, and that is shown, the verdict is the one of any other run."""
    judged = [*_judged(history)]
    if judged and all(_shows_all(history, result, record) for result, record in judged):
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
    for process in history.processes:
        record = history.runs[process.run_id]
        if process.tagged is not None and TAG not in record.tags and history.schedule.quirks.run_identity != "metadata":
            yield f"the run {process.run_id} has lost the tag of its process"


OF_ATTACH: Final = (
    tag_of_process_is_kept,
    green_only_if_all_were_answered,
    set_up_is_to_blame,
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
