"""From a run that completed to its RunResult, in the fewest calls.

The final look at the run has all values already; the list of simulations is what they are held against. Either may lag
behind the run's status, so both are asked for again while something that the gate needs is missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.coval.definitions import read_target
from coval_gate.coval.statuses import COMPLETED, TERMINAL
from coval_gate.coval.values import without_numbers
from coval_gate.errors import CovalError, NotFound
from coval_gate.result import RunResult
from coval_gate.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from coval_gate.clock import Clock
    from coval_gate.coval.client import Client
    from coval_gate.coval.models import Run
    from coval_gate.result import Metric, Simulation, Target

CALL_TIME: Final = 30.0  # s for the calls that a run needs which ended just before the deadline
FIRST_PAUSE: Final = 2.0  # s between two looks at data that lag
LONGEST_PAUSE: Final = 15.0  # s
EXPLAIN_TIME: Final = 20.0  # s for asking more about simulations; it only informs
EXPLAINED: Final = 20  # simulations of which more is asked for, at the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a gate needs of a run: the metrics that it names, whether their targets matter, how many simulations."""

    references: tuple[str, ...] = ()
    targets: bool = False
    simulations: int = 1


class Collected(NamedTuple):
    """`lacking`: what was still missing in the end, in words; empty if nothing. `run`: as last seen."""

    result: RunResult
    run: Run
    lacking: str


def collect(
    client: Client,
    run: Run,
    needs: Needs,
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
        metrics = _with_targets(client, run.metrics, targets, until) if needs.targets else run.metrics
        result = RunResult(
            run_id=run.run_id,
            expected=max(needs.simulations, _known(run, simulations)),
            complaint=_complaint(run, simulations),
            simulations=simulations,
            metrics=metrics,
        )
        lacking = what_lacks(result, needs)
        if (not lacking and run.status == COMPLETED) or clock.now() >= give_up or _ended_otherwise(run):
            return Collected(result, run, lacking)
        if pause == FIRST_PAUSE:
            log(f"The run completed; waiting for {lacking}.")
        clock.sleep(min(pause, give_up - clock.now()))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        with suppress(NotFound):  # it was there a moment ago; should it be gone for good, its values will lack
            run = client.get_run(run.run_id, until=until)


def what_lacks(result: RunResult, needs: Needs) -> str:
    """What the gate needs and Coval does not have yet, in words; empty if nothing. Pure."""
    running = [each for each in result.simulations if each.status not in TERMINAL]
    absent = max(0, max(result.expected, 1) - len(result.simulations)) + len(running)
    if absent:
        return plural(absent, "simulation")
    completed = [each.id for each in result.simulations if each.completed]
    named = needs.references
    wanted = [metric for reference in named for metric in result.called(reference)]
    wanted += [metric for metric in result.metrics if needs.targets and metric.target]
    missing = [reference for reference in named if not result.called(reference)]
    if missing:
        return f"the metric {one_line(missing[0], 80)}"
    values = {
        metric.id: sum(each not in metric.values for each in completed) for metric in wanted if not metric.summary
    }
    return f"{plural(sum(values.values()), 'value')} of metrics" if sum(values.values()) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of a simulation that did not do well: its test case in words, and what its judges say."""

    simulation_id: str
    label: str = ""
    error: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)  # by metric id


def explain(client: Client, result: RunResult, simulation_ids: Iterable[str], *, until: float) -> list[Explanation]:
    """Ask for more about the first few of `simulation_ids`; it only informs.

    What the key may not read, and all that follows a call without an answer, is left out.
    """
    wanted = dict.fromkeys(simulation_ids)
    found = [each for each in result.simulations if each.id in wanted][:EXPLAINED]
    labels: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    with suppress(CovalError):
        for simulation in found:
            if simulation.completed:
                texts[simulation.id] = _texts(client, simulation, until)
    with suppress(CovalError):
        for case_id in dict.fromkeys(each.test_case_id for each in found if each.test_case_id):
            labels[case_id] = _label(client, case_id, until)
    return [
        Explanation(
            simulation_id=each.id,
            label=labels.get(each.test_case_id, ""),
            error=each.error,
            texts=texts.get(each.id, {}),
        )
        for each in found
    ]


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


def _label(client: Client, test_case_id: str, until: float) -> str:
    case = client.get_test_case(test_case_id, until=until)
    return one_line(without_numbers(case.get("description") or case.get("input_str") or ""), 100)


def _texts(client: Client, simulation: Simulation, until: float) -> dict[str, str]:
    outputs = client.list_metric_outputs(simulation.id, until=until)
    # Newest last: the older form of the API lists superseded outputs as well, and their ids sort by time.
    outputs = tuple(sorted(outputs, key=lambda each: str(each.get("metric_output_id"))))
    told = {
        str(each.get("metric_id")): one_line(without_numbers(each.get("explanation") or ""), 300) for each in outputs
    }
    return {metric_id: text for metric_id, text in told.items() if text}
