"""Collects the data of a run that completed, and finds which are missing yet, and which will never come.

The final poll has all values already; the list of simulations is what they are checked against. Either may lag behind
the run's status, and Coval may not say how many simulations and metrics there are. So the step looks again while
something that the gate needs is missing, or may be, unless it certainly will not come. It judges only what the last
look showed.

A run shows neither which metrics it must have nor which values they can have. A run that completed may list its metrics
one after another: if each counts, the step must know that the list is complete. A run that was launched without metrics
has those of its agent. If the agent names none, or the run was launched elsewhere, a simulation lists the metrics that
are computed for it. A value that is not there may be late; the metric outputs of its simulation say whether it ended
without one. Definitions cost a call only where a criterion names a value that no simulation has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from coval_gate.base.errors import CovalError, NotFound
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Procedure, Wait, together
from coval_gate.base.text import one_line, plural
from coval_gate.base.times import COLLECTING
from coval_gate.coval.model import CANCELLED, COMPLETED, FAILED, SKIPPED, Metric, Run, RunResult, Simulation, Target
from coval_gate.coval.resources import AGENT, METRIC, MetricDefinition, MetricOutput
from coval_gate.coval.session import Session
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.population import population
from coval_gate.gate.targets import named_values
from coval_gate.gate.values import Vocabulary
from coval_gate.gate.verdict import Completed, NotCompleted
from coval_gate.step.leg import Trial
from coval_gate.step.step import LegRun
from coval_gate.step.watch import overall_limit, see

OPTIONAL_TIME: Final = 15.0  # s for a call that the step can do without
SETTLING: Final = 20.0  # s for which data must stay the same if more may come
EMPTY_SETTLING: Final = 30.0  # s for which a run must list no simulation if Coval does not say that it has none
UNNAMED_SETTLING: Final = 60.0  # s for which data must stay the same if neither the launch nor the agent names metrics
UNUSED: Final = (CANCELLED, SKIPPED)  # the status of a metric that is not computed for a simulation
ASKED: Final = 5  # simulations whose outputs are fetched, at most
ENDED: Final = (COMPLETED, FAILED, SKIPPED, CANCELLED)  # statuses of an output that does not change any more

Outputs = dict[str, "MetricOutput"]  # of one simulation, by the id of their metric
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 15.0  # s between two looks


def collect(session: LegRun, trial: Trial, run: Run, criteria: Criteria) -> Procedure[Completed | NotCompleted]:
    """Collect what the criteria need. Raises CovalError."""
    collected = yield from _collect(session, trial, run, criteria)
    if isinstance(collected, NotCompleted):
        return collected
    now = session.clock.now()
    until = min(max(session.deadline, now), now + OPTIONAL_TIME)
    return collected._replace(result=(yield from with_definitions(session.until(until), collected.result, criteria)))


def _collect(session: LegRun, trial: Trial, run: Run, criteria: Criteria) -> Procedure[Completed | NotCompleted]:
    """Wait as long as `metrics_grace_time` and the deadline allow.

    If Coval does not say how much there is, wait until the data have stayed the same for SETTLING, even beyond that.
    """
    clock, deadline = session.clock, session.deadline
    began = looked_at = clock.now()
    give_up = min(deadline, began + session.inputs.metrics_grace_time)
    until = max(deadline, began + COLLECTING)
    looks = Looks(session.until(until), criteria)
    pause = FIRST_PAUSE
    while True:
        look = yield from looks.look(run)
        if run.is_over and run.status != COMPLETED:
            return NotCompleted(run=run)
        since = looks.unchanged_since(look)
        unchanged = max(0.0, looked_at - since)
        settles_at = since + (SETTLING if look.result.simulations else EMPTY_SETTLING)
        missing = yield from looks.missing(run, look, unchanged=unchanged, deadline=deadline)
        if not any(missing):
            return Completed(result=look.result)
        last = min(deadline, max(give_up, settles_at) if missing.is_open else give_up)
        if looked_at >= last:
            late = overall_limit(session) if clock.now() >= deadline else None
            return Completed(result=look.result._replace(settled=not missing.is_open), late=late)
        if pause == FIRST_PAUSE:
            session.log(missing_text(missing))
        next_look = min(clock.now() + pause, last, settles_at if settles_at > looked_at else math.inf)
        yield Wait(max(0.0, next_look - clock.now()))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        looked_at = clock.now()
        with suppress(NotFound):  # it was there a moment ago; if it is gone for good, its values stay missing
            run = yield from session.client.get_run(run.run_id, until=until)
            see(session, trial, run)


def most_common_error(session: Session, run_id: str) -> Procedure[str]:
    """Return an empty text if Coval does not show errors in time."""
    until = min(session.deadline, session.clock.now() + OPTIONAL_TIME)
    with suppress(CovalError):
        simulations = yield from session.client.list_simulations(run_id, until=until)
        errors = Counter(one_line(simulation.error) for simulation in simulations if simulation.error)
        return max(errors, key=lambda text: errors[text], default="")
    return ""


def with_definitions(session: Session, result: RunResult, criteria: Criteria) -> Procedure[RunResult]:
    """Return the run with the values that its metrics can have, as far as they matter and Coval responds in time."""
    metrics = []
    for metric in result.metrics:
        values = tuple(_named_values(metric, result, criteria))
        if metric.is_identified and Vocabulary.of(metric).unseen(values):
            texts = yield from _texts(session, metric.id)
            metrics.append(metric._replace(defined=texts))
        else:
            metrics.append(metric)
    return result._replace(metrics=tuple(metrics))


def _named_values(metric: Metric, result: RunResult, criteria: Criteria) -> Iterator[str]:
    for reference, values in criteria.named_values:
        if metric in result.find_metrics(reference):
            yield from values
    if metric.target:
        yield from named_values(metric.target)


def _texts(session: Session, metric_id: str) -> Procedure[tuple[str, ...]]:
    """Return the only texts that a metric can have; none if that is not known."""
    with suppress(CovalError):
        return (yield from session.client.get(METRIC, metric_id, until=session.deadline)).texts
    return ()


class Targets:
    """Fetches each definition once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._definitions: dict[str, MetricDefinition] = {}

    def fetch(self, metric_id: str) -> Procedure[Target | None]:
        """Return None if the metric has no target. Raises CovalError."""
        if metric_id not in self._definitions:
            session = self._session
            self._definitions[metric_id] = yield from session.client.get(METRIC, metric_id, until=session.deadline)
        return self._definitions[metric_id].target

    def name(self, metric_id: str) -> str:
        """Return the id if the definition has no name."""
        return self._definitions[metric_id].name or metric_id

    def add_to(self, metrics: Sequence[Metric]) -> Procedure[tuple[Metric, ...]]:
        """Raises CovalError."""
        with_targets = []
        for metric in metrics:
            target = (yield from self.fetch(metric.id)) if metric.is_identified else None
            with_targets.append(metric._replace(target=target))
        return tuple(with_targets)


class Announced:
    """The ids of the metrics that Coval announces for a run."""

    def __init__(self, criteria: Criteria) -> None:
        self._launched_here = criteria.iterations is not None
        self._ids: frozenset[str] = frozenset(criteria.metric_ids)
        self._asked = False  # the agent

    @property
    def certain(self) -> bool:
        """Whether the launch or the agent names all metrics of the run."""
        return bool(self._ids)

    def fetch(self, session: Session, run: Run, simulations: Sequence[Simulation]) -> Procedure[frozenset[str]]:
        """Return the ids announced by now. A call that fails announces nothing."""
        yield from self.of_launch(session, run)
        completed = [simulation for simulation in simulations if simulation.completed]
        if self._ids or not completed:
            return self._ids
        outputs: tuple[MetricOutput, ...] = ()
        with suppress(CovalError):
            outputs = yield from session.client.list_metric_outputs(completed[-1].id, until=_soon(session))
        return frozenset(output.metric_id for output in outputs if output.status not in UNUSED)

    def of_launch(self, session: Session, run: Run) -> Procedure[frozenset[str]]:
        """Return the ids that the launch or the agent names; none if they do not say."""
        if not (self._ids or self._asked) and self._launched_here and run.agent_id:
            with suppress(CovalError):
                agent = yield from session.client.get(AGENT, run.agent_id, until=_soon(session))
                self._ids, self._asked = frozenset(agent.metric_ids), True
        return self._ids


def absent_metrics(announced: frozenset[str], result: RunResult, known_targets: Targets) -> Procedure[tuple[str, ...]]:
    """Return the names of the metrics that have a target and are announced, but not listed. Raises CovalError."""
    absent = []
    for metric_id in sorted(announced):
        if result.find_metrics(metric_id):
            continue
        with suppress(NotFound):  # a metric that was deleted gets no values
            target = yield from known_targets.fetch(metric_id)
            name = known_targets.name(metric_id)
            if target is not None and not result.find_metrics(name):
                absent.append(name)
    return tuple(absent)


def _soon(session: Session) -> float:
    return min(session.deadline, session.clock.now() + OPTIONAL_TIME)


class Never(NamedTuple):
    """What will not come: further metrics, or missing values of the metrics with these ids."""

    no_more_metrics: bool = False
    values_of: frozenset[str] = frozenset()


def find_never(
    session: Session, result: RunResult, named: frozenset[str], needed: Sequence[Metric]
) -> Procedure[Never]:
    """Look at a few simulations. If a call fails, nothing is certain. `named`: metrics of the launch or the agent."""
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    if not completed:
        return Never(no_more_metrics=True)  # metrics are computed for simulations that completed
    lacking = {
        metric.id: [simulation_id for simulation_id in completed if simulation_id not in metric.values]
        for metric in needed
        if not metric.summary
    }
    sample = _sample(completed, [simulation_ids for simulation_ids in lacking.values() if simulation_ids])
    calls = (session.client.list_metric_outputs(simulation_id, until=session.deadline) for simulation_id in sample)
    responses = yield from together(calls, session.clock, at_once=ASKED)
    outputs: dict[str, Outputs] = {}
    for simulation_id, response in zip(sample, responses, strict=True):
        if isinstance(response, CovalError):
            return Never()
        outputs[simulation_id] = {output.metric_id: output for output in response}
    computed = {metric_id for by_metric in outputs.values() for metric_id in by_metric}
    listed = {metric.id for metric in result.metrics}
    return Never(
        no_more_metrics=bool(computed) and named | computed <= listed,
        values_of=frozenset(
            metric_id for metric_id, ids in lacking.items() if _has_ended(metric_id, ids, completed, outputs)
        ),
    )


def _sample(completed: Sequence[str], lacking: Sequence[Sequence[str]]) -> list[str]:
    """Return simulations that lack a value of some metric, the smallest gap first; any if none lacks one."""
    ranked = [simulation_id for gap in sorted(lacking, key=len) for simulation_id in gap] or completed
    return list(dict.fromkeys(ranked))[:ASKED]


def _has_ended(
    metric_id: str, lacking: Sequence[str], completed: Sequence[str], outputs: Mapping[str, Outputs]
) -> bool:
    """All that lack a value must show it. If all simulations lack one, the sample stands for the others."""
    shown = [outputs[simulation_id].get(metric_id) for simulation_id in lacking if simulation_id in outputs]
    is_known = len(shown) == len(lacking) or (len(lacking) == len(completed) and len(shown) > 0)
    return is_known and all(output is not None and _ended_without_value(output) for output in shown)


def _ended_without_value(output: MetricOutput) -> bool:
    """If an output has a value, the run will show it later."""
    return output.status in ENDED and output.value is None


class Look(NamedTuple):
    """`certain`: Coval says how many simulations and metrics there are. `is_empty`: it says there is no simulation."""

    result: RunResult
    certain: bool
    is_empty: bool = False


class MissingData(NamedTuple):
    """`test_cases`: how many simulations do not show theirs. `is_open`: more may come than the run lists."""

    simulations: int = 0
    metric: str = ""
    values: int = 0
    test_cases: int = 0
    is_open: bool = False


def missing_text(missing: MissingData) -> str:
    if missing.simulations:
        what = plural(missing.simulations, "simulation")
    elif missing.metric:
        what = f"the metric {one_line(missing.metric, 80)}"
    elif missing.values:
        what = f"{plural(missing.values, 'value')} of metrics"
    elif missing.test_cases:
        what = f"the test cases of {plural(missing.test_cases, 'simulation')}"
    else:
        what = "further simulations and metrics, because Coval does not say how many there are"
    return f"The run completed; waiting for {what}."


class Looks:
    def __init__(self, session: Session, criteria: Criteria) -> None:
        self._session = session
        self._criteria = criteria
        self._targets = Targets(session)
        self._announced = Announced(criteria)
        self._simulations: tuple[Simulation, ...] | None = None
        self._last: RunResult | None = None
        self._since = -math.inf

    def look(self, run: Run) -> Procedure[Look]:
        """`run`: the poll that this look began with. Raises CovalError."""
        session, criteria = self._session, self._criteria
        simulations = self._simulations
        if simulations is None:
            simulations = yield from session.client.list_simulations(run.run_id, until=session.deadline)
        people = population(run, simulations, criteria)
        complete = people.certain and len(simulations) >= people.expected
        has_cases = not criteria.needs_test_cases or all(simulation.test_case_id for simulation in simulations)
        ended = all(simulation.ended for simulation in simulations)
        self._simulations = simulations if complete and ended and has_cases else None
        result = RunResult(
            run_id=run.run_id,
            expected=people.expected,
            reported_error=_reported_error(run, simulations),
            simulations=simulations,
            metrics=run.metrics,
        )
        if not criteria.needs_targets:
            return Look(result, people.certain, run.is_empty)
        result = result._replace(metrics=(yield from self._targets.add_to(run.metrics)))
        announced = yield from self._announced.fetch(session, run, simulations)
        absent = yield from absent_metrics(announced, result, self._targets)
        certain = people.certain and self._announced.certain
        return Look(result._replace(absent_metrics=absent), certain, run.is_empty)

    def unchanged_since(self, look: Look) -> float:
        """A look may have begun long before it showed its data."""
        if look.result != self._last:
            self._last, self._since = look.result, self._session.clock.now()
        return self._since

    def missing(self, run: Run, look: Look, *, unchanged: float, deadline: float) -> Procedure[MissingData]:
        """Return what is missing yet. `unchanged`: seconds for which the data stayed the same."""
        missing = _missing_data(look, self._criteria, unchanged=unchanged)
        if unchanged >= SETTLING and (missing.metric or missing.values):
            never = yield from self._never(run, look.result, unchanged=unchanged, deadline=deadline)
            missing = _missing_data(look, self._criteria, unchanged=unchanged, never=never)
        return missing

    def _never(self, run: Run, result: RunResult, *, unchanged: float, deadline: float) -> Procedure[Never]:
        now = self._session.clock.now()
        session = self._session.until(min(now + OPTIONAL_TIME, max(deadline, now)))
        announced = yield from self._announced.of_launch(session, run)
        lacks_metric = not all(result.find_metrics(reference) for reference in self._criteria.references)
        has_completed = any(simulation.completed for simulation in result.simulations)
        if lacks_metric and has_completed and not announced and unchanged < UNNAMED_SETTLING:
            return Never()  # the outputs of simulations may lag behind the run's status, as its own metrics do
        needed = _needed_metrics(result, self._criteria)
        never = yield from find_never(session, result, announced, needed)
        return never._replace(no_more_metrics=False) if self._criteria.persona_metrics else never


def _missing_data(look: Look, criteria: Criteria, *, unchanged: float = 0.0, never: Never = Never()) -> MissingData:  # noqa: B008 - immutable
    """Return what the criteria need and may still come."""
    result = look.result
    if not (result.simulations or result.expected) and (look.is_empty or unchanged >= EMPTY_SETTLING):
        return MissingData()
    running = sum(not simulation.ended for simulation in result.simulations)
    absent = max(0, max(result.expected, 1) - len(result.simulations))
    if absent or running:
        return MissingData(simulations=absent + running)
    for reference in criteria.references:
        if not result.find_metrics(reference) and not never.no_more_metrics:
            return MissingData(metric=reference)
    if result.absent_metrics:
        return MissingData(metric=result.absent_metrics[0])
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    needed = [metric for metric in _needed_metrics(result, criteria) if metric.id not in never.values_of]
    by_metric = {metric.id: metric.values for metric in needed if not metric.summary}
    if lacking := sum(simulation_id not in values for values in by_metric.values() for simulation_id in completed):
        return MissingData(values=lacking)
    if criteria.needs_targets and not result.metrics:
        return MissingData(metric="with a target")
    unnamed = sum(not simulation.test_case_id for simulation in result.simulations)
    if unnamed and criteria.needs_test_cases:
        return MissingData(test_cases=unnamed)
    return MissingData(is_open=not look.certain and unchanged < SETTLING)


def _needed_metrics(result: RunResult, criteria: Criteria) -> list[Metric]:
    """Return the metrics with targets, if these matter, and those that the criteria name."""
    with_targets = [metric for metric in result.metrics if criteria.needs_targets and metric.target]
    return with_targets + [metric for reference in criteria.references for metric in result.find_metrics(reference)]


def _reported_error(run: Run, simulations: tuple[Simulation, ...]) -> str:
    """EXECUTION_FAILURE adds nothing: Coval reports it if a single simulation failed."""
    restated = run.error_status.upper() == "EXECUTION_FAILURE" and not all(
        simulation.completed for simulation in simulations
    )
    texts = ("" if run.is_clean or restated else run.error_status, run.error)
    return one_line(": ".join(filter(None, texts)))
