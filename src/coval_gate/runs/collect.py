"""From a run that completed to its RunResult, in the fewest calls.

The final look at the run has all values already; the list of simulations is what they are held against. Either may lag
behind the run's status, so both are asked for again while something that the gate needs is missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coval_gate.coval.definitions import read_target
from coval_gate.coval.values import without_numbers
from coval_gate.errors import CovalError, NotFound
from coval_gate.model.results import Background, RunResult
from coval_gate.model.statuses import COMPLETED, TERMINAL
from coval_gate.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.results import Metric, Simulation, Target
    from coval_gate.model.run import Run

CALL_TIME: Final = 30.0  # s for the calls that a run needs which ended just before the deadline
FIRST_PAUSE: Final = 2.0  # s between two looks at data that lag
LONGEST_PAUSE: Final = 15.0  # s
EXPLAIN_TIME: Final = 20.0  # s for asking more about simulations; it only informs
EXPLAINED: Final = 20  # simulations of which more is asked for, at the most
MOST_LABELS: Final = 1000  # test cases that are asked for by name


class Collected(NamedTuple):
    """`lacking`: what was still missing in the end, in words; empty if nothing. `run`: as last seen."""

    result: RunResult
    run: Run
    lacking: str


def collect(
    client: Client,
    run: Run,
    criteria: Criteria,
    *,
    clock: Clock,
    deadline: float,
    grace: float,
    log: Callable[[str], None],
) -> Collected:
    """Collect what the gate needs, and wait at most `grace` seconds, and not past the deadline, for what lags.

    Raises CovalError where a call fails for good, or until the deadline.
    """
    began = clock.now()
    until = max(deadline, began + CALL_TIME)
    give_up = min(deadline, began + grace)
    targets: dict[str, Target | None] = {}
    simulations: tuple[Simulation, ...] = ()
    pause = FIRST_PAUSE
    while True:
        if not _all_ended(simulations, run):
            simulations = client.list_simulations(run.run_id, until=until)
        metrics = _with_targets(client, run.metrics, targets, until) if criteria.needs_targets else run.metrics
        result = RunResult(
            run_id=run.run_id,
            expected=max(criteria.simulations, _known(run, simulations)),
            complaint=_complaint(run, simulations),
            simulations=simulations,
            metrics=metrics,
        )
        lacking = what_lacks(result, criteria)
        if (not lacking and run.status == COMPLETED) or clock.now() >= give_up or _ended_otherwise(run):
            return Collected(result, run, lacking)
        if pause == FIRST_PAUSE:
            log(f"The run completed; waiting for {lacking}.")
        clock.sleep(min(pause, give_up - clock.now()))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        with suppress(NotFound):  # it was there a moment ago; should it be gone for good, its values will lack
            run = client.get_run(run.run_id, until=until)


def what_lacks(result: RunResult, criteria: Criteria) -> str:
    """What the gate needs and Coval does not have yet, in words; empty if nothing. Pure."""
    running = [each for each in result.simulations if each.status not in TERMINAL]
    absent = max(0, max(result.expected, 1) - len(result.simulations)) + len(running)
    if absent:
        return plural(absent, "simulation")
    completed = [each.id for each in result.simulations if each.completed]
    named = criteria.references
    wanted = [metric for reference in named for metric in result.called(reference)]
    wanted += [metric for metric in result.metrics if criteria.needs_targets and metric.target]
    missing = [reference for reference in named if not result.called(reference)]
    if missing:
        return f"the metric {one_line(missing[0], 80)}"
    values = {
        metric.id: sum(each not in metric.values for each in completed) for metric in wanted if not metric.summary
    }
    return f"{plural(sum(values.values()), 'value')} of metrics" if sum(values.values()) else ""


def background(
    client: Client, result: RunResult, offenders: Sequence[str], *, test_set_id: str, until: float
) -> Background:
    """Ask for the names of all test cases, and what judges say of the first few of `offenders`; it only informs.

    What the key may not read, and all that follows a call without an answer, is left out.
    """
    explained = offenders[:EXPLAINED]
    simulations = {each.id: each for each in result.simulations}
    first = [simulations[each] for each in explained if each in simulations]
    labels: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    with suppress(CovalError):
        wanted = {each.test_case_id for each in result.simulations if each.test_case_id}
        labels = _labels(client, wanted, test_set_id, until)
    with suppress(CovalError):
        for case_id in dict.fromkeys(each.test_case_id for each in first):
            if case_id and case_id not in labels:
                labels[case_id] = _label(client.get_test_case(case_id, until=until))
    with suppress(CovalError):
        for simulation in first:
            if simulation.completed:
                texts[simulation.id] = _texts(client, simulation, until)
    return Background(labels=labels, texts=texts)


def _ended_otherwise(run: Run) -> bool:
    return run.is_over and run.status != COMPLETED


def _known(run: Run, simulations: tuple[Simulation, ...]) -> int:
    """How many simulations the run has at the least, by all that Coval says of it.

    Whether `output_ids` are simulation ids is not documented; where one of them is, all are.
    """
    listed = {each.id for each in simulations}
    named = {each for metric in run.metrics for each in metric.values}
    outputs = set(run.output_ids)
    return max(run.simulations, len(listed | named | (outputs if outputs & (listed | named) else set())))


def _all_ended(simulations: tuple[Simulation, ...], run: Run) -> bool:
    enough = len(simulations) >= max(run.simulations, 1)
    return enough and all(each.status in TERMINAL for each in simulations)


def _complaint(run: Run, simulations: tuple[Simulation, ...]) -> str:
    """What Coval reports of the run that is not said by its simulations.

    EXECUTION_FAILURE is what Coval reports where a single simulation failed: there it says nothing new.
    """
    restated = run.error_status.upper() == "EXECUTION_FAILURE" and not all(each.completed for each in simulations)
    told = ("" if run.is_clean or restated else run.error_status, run.error)
    return one_line(": ".join(each for each in told if each))


def _with_targets(
    client: Client, metrics: tuple[Metric, ...], known: dict[str, Target | None], until: float
) -> tuple[Metric, ...]:
    """The metrics with the targets that their definitions state; each definition is asked for once."""
    for metric in metrics:
        if metric.id not in known:
            known[metric.id] = read_target(client.get_metric(metric.id, until=until))
    return tuple(replace(metric, target=known[metric.id]) for metric in metrics)


def _labels(client: Client, wanted: set[str], test_set_id: str, until: float) -> dict[str, str]:
    """The labels of the test cases `wanted`, as far as the first pages of their test set have them."""
    labels: dict[str, str] = {}
    if not test_set_id or not wanted:
        return labels
    for case in islice(client.list_test_cases(test_set_id, until=until), MOST_LABELS):
        case_id = str(case.get("id"))
        if case_id in wanted:
            labels[case_id] = _label(case)
        if len(labels) == len(wanted):
            break
    return labels


def _label(case: Mapping[str, Any]) -> str:
    return one_line(without_numbers(case.get("description") or case.get("input_str") or ""), 100)


def _texts(client: Client, simulation: Simulation, until: float) -> dict[str, str]:
    outputs = client.list_metric_outputs(simulation.id, until=until)
    # Newest last: the older form of the API lists superseded outputs as well, and their ids sort by time.
    outputs = tuple(sorted(outputs, key=lambda each: str(each.get("metric_output_id"))))
    told = {
        str(each.get("metric_id")): one_line(without_numbers(each.get("explanation") or ""), 300) for each in outputs
    }
    return {metric_id: text for metric_id, text in told.items() if text}
