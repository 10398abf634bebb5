"""Runs `doctor --launch`: launches two runs and one that Coval must refuse, and reports what they show.

The same code as in a step launches, follows and cancels the runs. If the command is killed, `coval-gate post` cancels
them. The JSON file is valid at any time, and lists what was not seen so far.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from coval_cli.choices import Ask
from coval_cli.doctor import NOT_TRIED, PER_CALL, Log, Recorder, conclude, connection, look, read_inputs
from coval_cli.doubts import DOUBTS, NO_RUN, NO_TAG, Evidence, Finding
from coval_cli.init import CONNECTION_INPUTS, reported
from coval_cli.installation import installed_commit
from coval_gate import __version__
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, GateError, InputError, NotFound, Rejected
from coval_gate.base.runtime import USAGE_ERROR, Runtime
from coval_gate.base.schedule import Procedure, Wait, run, together
from coval_gate.base.text import day_at
from coval_gate.coval.model import Run, RunFilter
from coval_gate.coval.resources import AGENT, METRIC, cases_of
from coval_gate.features.comparisons.standing import mark
from coval_gate.gate.judgement import INTERRUPTED_STEP
from coval_gate.history.tags import FAILED_TAG
from coval_gate.inputs.inputs import LAUNCH_IDS, Inputs
from coval_gate.inputs.naming import flag_of
from coval_gate.report.wording import run_cancellation_text
from coval_gate.step.cancel import cancel_trial
from coval_gate.step.cleanup import clean_up
from coval_gate.step.launch import launch_trial
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.step import LegRun, Step, StepRun
from coval_gate.step.watch import follow_trial

T = TypeVar("T")

LAUNCH_INPUTS: Final = (*LAUNCH_IDS, "metric_ids", "max_wait_time")
COSTS: Final = (
    "This launches two runs of one test case, at most three conversations: one run is judged, the other is cancelled "
    "at once. A third launch names an agent that does not exist: Coval must refuse it. If Coval accepts it, it is "
    "cancelled at once, too. The first run gets a tag that keeps it out of baselines."
)
LEFT: Final = (
    "Run `coval-gate post` here with the same key and --api-base-url: it cancels the runs that are still active."
)
YES, NO = "yes, launch them", "no, launch nothing"
OWN_TAG: Final = "Coval-Gate-Doctor"  # its capital letters show whether Coval keeps them
LOOKING, LOOK_AGAIN, READ_AGAIN = 60.0, 2.0, 5.0  # s until something must be seen, and between two looks
WHOLE_AFTER: Final = 60.0  # s without a change, after which a run's results count as complete
MOST_DEFINITIONS: Final = 10  # definitions to read


class Proof(NamedTuple):
    """`path`: the file to write, if any. `reading`: findings that answer no doubt, such as permissions."""

    recorder: Recorder
    inputs: Inputs
    step: Step
    path: str
    reading: list[Finding]

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """Each finding after the number of its doubt, or ""."""
        ids = [leg.first.run_id if leg.trials else "" for leg in self.step.legs] or ["", ""]
        seen = Evidence(self.recorder.exchanges, *ids[:2])
        launched = Finding("ok", "Permission runs:write", "granted") if ids[0] else NOT_TRIED
        reading = [launched if one is NOT_TRIED else one for one in self.reading]
        return [*(("", finding) for finding in reading), *((doubt.number, doubt.finding(seen)) for doubt in DOUBTS)]

    def write(self, *, is_complete: bool = False) -> None:
        """Write the findings so far. Raises RunnerError."""
        if not self.path:
            return
        clock = self.step.clock
        head = {"version": __version__, "commit": installed_commit() or None, "day": str(day_at(clock.time()))}
        rows = [
            {"doubt": number, "mark": one.mark, "topic": one.topic, "found": one.found, "follows": one.follows}
            for number, one in self.findings
        ]
        content = {**head, **connection(self.inputs), "is_complete": is_complete, "findings": rows}
        self.step.host.workspace.replace(self.path, json.dumps(content, indent=2) + "\n")


def prove(runtime: Runtime, json_path: str, *, yes: bool, ask: Ask | None) -> int:
    """Return the exit code: 0 if the gate can work, 1 if not, 2 if nothing was sent. Raises Interrupted."""
    recorder = Recorder(runtime.clock)
    runtime = runtime._replace(record=recorder)
    return reported(runtime, lambda log, _: _prove(runtime, recorder, log, json_path, None if yes else ask, yes=yes))


def _prove(runtime: Runtime, recorder: Recorder, log: Log, json_path: str, ask: Ask | None, *, yes: bool) -> int:
    """Raises GateError, Interrupted."""
    inputs = read_inputs(runtime, (*CONNECTION_INPUTS, *LAUNCH_INPUTS))
    if several := [name for name in LAUNCH_IDS if len(getattr(inputs, name)) != 1]:
        raise InputError([(flag_of(name), "must be one id.") for name in several])
    step = Step(runtime)
    try:
        path = json_path and step.host.workspace.prepare(json_path, "proof.json")
    except ValueError as problem:
        raise InputError([("--json-path", str(problem))]) from None
    log(COSTS)
    if not yes and (ask is None or ask("Launch them?", (YES, NO)) != YES):
        log(f"Nothing was launched.{'' if ask else ' Without a terminal, --yes is required.'}")
        return USAGE_ERROR
    proof = Proof(recorder, inputs, step, path, [])
    proof.write()
    try:
        _look_and_launch(proof, runtime, log)
    except (GateError, Interrupted):
        proof.write()
        log(f"Stopped early.{f' {path} has the findings so far.' if path else ''}")
        raise
    finally:
        step.host.release()
    proof.write(is_complete=True)
    log("")
    return conclude(log, inputs, [finding for _, finding in proof.findings])


def _look_and_launch(proof: Proof, runtime: Runtime, log: Log) -> None:
    """Raises GateError, Interrupted."""
    try:
        proof.reading.extend(look(runtime, proof.inputs, log)[0])
        if any(finding.mark == "fails" for finding in proof.reading):
            log("Nothing is launched, because the gate cannot work here.")
        else:
            run(_launch(proof), runtime.clock)
    except CovalError as error:
        found = f"{error.title} (HTTP {error.status})" if isinstance(error, Rejected) else error.title
        proof.reading.append(Finding("fails", "Calls to Coval", found, said=f"{error.what} {error.advice}".strip()))


async def _launch(proof: Proof) -> None:
    """Launch the runs; in the end, cancel those that are still active. Raises GateError, Interrupted."""
    step = proof.step
    if proof.inputs.api_key:
        step.host.mask(proof.inputs.api_key.reveal())
    # A run of this command must not become a branch's baseline.
    step.inputs, step.context = proof.inputs, step.host.context()._replace(branch="")
    session, failure = step.session(), None
    try:
        listed = session.client.list(
            cases_of(*proof.inputs.test_set_id), until=session.clock.now() + PER_CALL, go_on=lambda _: False
        )
        cases = await _optional(session, listed)
        step.legs = _legs(proof.inputs, cases[0].id if cases else "")
        errors = await _launch_all(proof, *map(session.of, step.legs))
        proof.reading.extend(Finding("limited", "A call after a launch", one.title, said=one.what) for one in errors)
    except (Exception, Interrupted) as error:  # noqa: BLE001 - raised below
        failure = error
    if isinstance(failure, Interrupted):
        step.hurry()
    await clean_up(step, INTERRUPTED_STEP)
    ended = [trial.ended for trial in step.trials if trial.ended]
    session.log(*(run_cancellation_text(one) for one in ended if one.run_id))
    if any(one.outcome == "failed" for one in ended):
        proof.reading.append(Finding("fails", "Cancellation of the runs", "incomplete", LEFT))
        session.log(LEFT)  # after an interruption, no finding is shown
    if failure:
        raise failure


def _legs(inputs: Inputs, case: str) -> list[Leg]:
    """Return three legs: of the run to judge, of the run to cancel, and of the launch that Coval must refuse."""
    one = {"test_case_ids": (case,)} if case else {"sub_sample_size": 1}
    given = inputs._replace(tags=(OWN_TAG,), resume=False, **one)
    absent = given._replace(agent_id=(NO_RUN,))
    legs = {"judged": given._replace(iteration_count=2), "cancelled": given, "refused": absent}
    return [Leg(own, name, name) for name, own in legs.items()]


async def _launch_all(proof: Proof, judged: LegRun, cancelled: LegRun, refused: LegRun) -> list[CovalError]:
    """Return what went wrong after the first launch. Raises GateError if that failed."""
    clock = judged.clock
    trial = await launch_trial(judged)
    proof.write()
    agent = judged.client.get(AGENT, *proof.inputs.agent_id, until=clock.now() + PER_CALL)
    results: list[object] = []
    seen = [follow_trial(judged, trial), _find(judged, trial), _optional(judged, agent)]
    results += await together(seen, clock)
    proof.write()
    results += await together([_read(judged, trial), _cancel(cancelled), _refuse(refused)], clock)
    return [result for result in results if isinstance(result, CovalError)]


async def _find(session: LegRun, trial: Trial) -> None:
    """Read the run by its id, then list by its ids and by its tag until both show it. A third filter matches no run."""
    until = session.clock.now() + LOOKING
    await _optional(session, session.client.get_run(trial.run_id, until=until, once=True))
    sought = [RunFilter(**trial.ids), RunFilter(tag=trial.tags.key), RunFilter(tag=NO_TAG)]
    while sought and session.clock.now() < until:
        for run_filter in [*sought]:
            listed = await _optional(session, session.client.list_runs(run_filter, until=until))
            if listed is None or run_filter.tag == NO_TAG or trial.run_id in {one.run_id for one in listed}:
                sought.remove(run_filter)
        await Wait(LOOK_AGAIN)


async def _read(session: LegRun, trial: Trial) -> None:
    """Read the results until they stop changing, then metrics and a transcript. Then change the tags."""
    client, clock, deadline, simulation = session.client, session.clock, session.deadline, ""
    last, since = None, clock.now()
    while clock.now() - since < WHOLE_AFTER and clock.now() < deadline:
        run_now = await client.get_run(trial.run_id, until=deadline)
        simulations = await client.list_simulations(trial.run_id, until=deadline)
        simulation = simulation or next((one.id for one in simulations), "")
        outputs = await client.list_metric_outputs(simulation, until=deadline) if simulation else ()
        if (run_now, simulations, outputs) != last:
            last, since = (run_now, simulations, outputs), clock.now()
        await Wait(READ_AGAIN)
    metric_ids = [output.metric_id for output in last[2][:MOST_DEFINITIONS]] if last else []
    until = min(clock.now() + PER_CALL, deadline)
    await together([client.get(METRIC, id_, until=until) for id_ in metric_ids], clock)
    await _optional(session, client.get_transcript(simulation, until=until))
    await mark(session, trial.run_id, FAILED_TAG, sent=trial.tags.to_send)
    await _poll(session, trial.run_id, lambda one: FAILED_TAG in one.tags)


async def _cancel(session: LegRun) -> None:
    """Launch a run, cancel it as soon as Coval shows it, and poll it until it is over."""
    trial = await launch_trial(session)
    trial.ended = await cancel_trial(session, trial)
    trial.release()
    await _poll(session, trial.run_id, lambda one: one.is_over)


async def _refuse(session: LegRun) -> None:
    """Launch a run of an agent that does not exist. Cancel it if Coval accepts that."""
    with suppress(Rejected):
        trial = await launch_trial(session)
        trial.ended = await cancel_trial(session, trial)
        trial.release()


async def _poll(session: LegRun, run_id: str, is_last: Callable[[Run], bool]) -> None:
    until = session.clock.now() + LOOKING
    with suppress(NotFound):
        while session.clock.now() < until and not is_last(await session.client.get_run(run_id, until=until)):
            await Wait(LOOK_AGAIN)


async def _optional(session: StepRun, call: Procedure[T]) -> T | None:
    """Return the result; None if Coval refuses the call or does not respond."""
    (result,) = await together([call], session.clock)
    return None if isinstance(result, CovalError) else result
