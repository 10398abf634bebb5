"""Turns what is known of a step into its report, and fetches what only informs. Nothing here changes the verdict.

It fetches test cases in words, the judges' explanations, transcripts, the units of metrics, and the names of agents,
personas and test sets. It fetches each once, and only what no earlier response showed. Where a call fails, reports show
less.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, Unavailable
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.text import plural
from coval_gate.base.times import DETAILS, NAMING, UNITS, announcing
from coval_gate.ci.host import tolerant
from coval_gate.coval.client import Session
from coval_gate.coval.model import Details, Run, RunProgress, RunResult, Simulation, Turn
from coval_gate.coval.resources import METRIC, RUN_RESOURCES, TEST_CASE, TestCase, cases_of
from coval_gate.gate.judgement import (
    LAUNCHED_RUN,
    UNFINISHED_RUN,
    Judgement,
    LegsSummary,
    judgement_with_words,
    named_cases,
    redacted,
)
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of
from coval_gate.report.document.base import SingleRunFacts
from coval_gate.report.document.model import BASE_AGENT, UNFOUND, LegReport, Report
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.step import Step

EXPLAINED: Final = 20  # simulations of which more is fetched, at the most
CALLS_AT_ONCE: Final = 5  # calls
MOST_LABELS: Final = 1000  # test cases that are listed for their names
MOST_UNITS: Final = 20  # metrics of which units are looked up
NAMES_FETCHED: Final = 24  # agents, personas and test sets of which names are looked up; the first ones


def report_of(step: Step, judgement: Judgement) -> Report:
    """`judgement` is the step's."""
    several, decisive = len(step.legs) > 1, next((leg for leg in step.judged if leg.outcome is judgement), None)
    shown = [leg for leg in step.legs if several or any(trial.run_id for trial in leg.trials)]
    own = [leg.outcome for leg in shown]
    if not several and not decisive and judgement.ended_step:  # the step went wrong after the judgement of its only leg
        own = [one if one and one.verdict is judgement.verdict else None for one in own]
    # A secret in a text can be recognised only before a format escapes it.
    judgement, *leg_judgements = (redacted(one or judgement, step.host.redact) for one in (judgement, *own))
    legs = tuple(
        _leg_report(step, leg, leg_judgement, is_own=one is not None)
        for leg, one, leg_judgement in zip(shown, own, leg_judgements, strict=True)
    )
    if several:
        run_ids = tuple(leg.first.run_id for leg in step.all_legs if leg.trials)
        by_all = decisive is not None and decisive is step.together
        failing = sum(not leg.judgement.passes_gate for leg in legs) - (not by_all)
        others = max(0, failing) if decisive else 0
        name, title = (decisive.name, step.title_of(decisive)) if decisive else ("", "")
        baselines = [leg.judgement.baseline for leg in legs if by_all and leg.judgement.baseline]
        acceptable = any(baseline.acceptable for baseline in baselines)
        known = tuple(case for leg in legs for case in leg.judgement.known)
        summary = LegsSummary(len(legs), name, run_ids, others, acceptable, title)
        judgement = judgement._replace(legs_summary=summary, known=known)
    together = None
    if (leg := step.together) and leg.judgement:
        together = LegReport(judgement=leg.judgement, name=leg.name, findings=leg.findings or UNFOUND)
    return Report(
        judgement=judgement,
        legs=legs,
        together=together,
        context=step.context,
        inputs=step.inputs,
        wrong=step.wrong,
        history=step.history,
        selected=step.selected,
        planned_simulations=step.planned_simulations,
        attempt=step.attempt,
        began=step.began_at,
        seconds=step.clock.now() - step.began,
    )


def _leg_report(step: Step, leg: Leg, judgement: Judgement, *, is_own: bool) -> LegReport:
    """Return the report of a leg, which may have no run if the step has several, or of a base.

    `is_own`: the judgement is the leg's, and not the step's in place of it.
    """
    trials = [trial for trial in leg.trials if trial.run_id]
    first = trials[0] if trials else Trial()
    names = {key: step.shown.name_of(*named) for key, named in _named(leg, first).items()}
    return LegReport(
        judgement=judgement,
        findings=leg.findings if is_own and leg.findings and not leg.error else UNFOUND,
        dashboard_url=step.inputs.dashboard_url,
        name=leg.name,
        title=step.title_of(leg),
        ids=ids_of(leg.inputs),
        run=_polled(leg, trials),
        result=leg.result,
        details=leg.details or Details(),
        runs=tuple(
            SingleRunFacts(
                id=trial.run_id,
                url=step.run_url(trial.run_id),
                status=trial.run.status if trial.run else "",
                verdict=None if trial.is_slice else (trial.judgement or judgement).verdict,  # a slice decides nothing
                kept_from=step.kept_from(trial),
            )
            for trial in trials
        ),
        standing=leg.standing,
        base=_leg_report(step, leg.base, UNFINISHED_RUN, is_own=False) if leg.base else None,
        inputs=leg.inputs if leg.is_listed and leg.inputs.mode != "wait" else None,
        attached=first.attached,
        agent_type_is_known=bool(first.agent_type),
        names={key: step.host.redact(name) for key, name in names.items() if name},
    )


def _polled(leg: Leg, trials: Sequence[Trial]) -> Run | None:
    """Return the first run with its counts of simulations; with slices, those of all."""
    polled = [(trial.run, leg.size_of(trial.number)) for trial in trials if trial.run]
    counts = [run.progress.in_simulations(planned) for run, planned in polled if run.progress]
    if not counts or trials[0].run is None:
        return trials[0].run if trials else None
    progress = counts[0]
    for more in counts[1:] if leg.slices else ():
        failed = None if progress.failed is None or more.failed is None else progress.failed + more.failed
        progress = RunProgress(progress.total + more.total, progress.completed + more.completed, failed)
    return trials[0].run._replace(progress=progress)


def _named(leg: Leg, trial: Trial) -> dict[str, tuple[str, str]]:
    """Return what the report of a run names, by kind and id. An id that the run does not show is the leg's."""
    named = {kind: (kind, (trial.run and trial.run.ids[kind]) or id_) for kind, id_ in ids_of(leg.inputs).items()}
    if leg.base:
        named[BASE_AGENT] = "agent_id", ids_of(leg.base.inputs)["agent_id"]
    return named


async def announce(step: Step) -> None:
    if pages := step.publisher.pages(step.inputs):
        until = announcing(step.clock.now(), step.deadline)
        await pages.announce(report_of(step, LAUNCHED_RUN), until=until)


async def fetch_details(
    session: Session, result: RunResult, failing: Sequence[str], *, known: frozenset[str], test_set_id: str
) -> Details:
    """Fetch the names of all test cases, `known` ones (ids) too, and more about the first `failing` simulations (ids).

    Leave out what the key may not read, and everything after a call without a response.
    """
    session = _briefly(session, DETAILS)
    simulations = {simulation.id: simulation for simulation in result.simulations}
    first = [simulations[simulation_id] for simulation_id in failing[:EXPLAINED] if simulation_id in simulations]
    with_transcripts = session.inputs.include_transcripts == "failures"
    words = _words(session, result, first, known, test_set_id)
    transcripts = _transcripts(session, first if with_transcripts else [])
    # Side by side: neither delays the other.
    worded, transcribed = all_or_first_error(await together((words, transcripts), session.clock))
    return worded._replace(transcripts=transcribed.transcripts)


def _briefly(session: Session, seconds: float) -> Session:
    """Limit it to so many seconds; to a moment if the deadline has passed."""
    return session.until(session.times.informing(session.clock.now(), seconds))


async def _words(
    session: Session, result: RunResult, first: Sequence[Simulation], known: frozenset[str], test_set_id: str
) -> Details:
    """Fetch the names of test cases, and the judges' comments on the `first` simulations."""
    labels: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    with suppress(CovalError):
        case_ids = {case_id for simulation in result.simulations if (case_id := simulation.test_case_id)} | known
        await fetch_labels(session, case_ids, labels, test_set_id)
    with suppress(CovalError):
        for case_id in dict.fromkeys(simulation.test_case_id for simulation in first):
            if case_id and case_id not in labels:
                labels[case_id] = (await session.client.get(TEST_CASE, case_id, until=session.deadline)).label
    with suppress(CovalError):
        for simulation in first:
            if simulation.completed:
                outputs = await session.client.list_metric_outputs(simulation.id, until=session.deadline)
                texts[simulation.id] = {
                    output.metric_id: output.explanation for output in outputs if output.explanation
                }
    return Details(labels=labels, texts=texts)


async def _transcripts(session: Session, spoken: Sequence[Simulation]) -> Details:
    calls = (session.client.get_transcript(simulation.id, until=session.deadline) for simulation in spoken)
    fetched = await together(calls, session.clock, at_once=CALLS_AT_ONCE)
    transcripts: dict[str, tuple[Turn, ...]] = {}
    for simulation, turns in zip(spoken, fetched, strict=True):
        if turns and not isinstance(turns, CovalError):
            transcripts[simulation.id] = turns
    return Details(transcripts=transcripts)


async def fetch_labels(session: Session, case_ids: set[str], labels: dict[str, str], test_set_id: str) -> None:
    """Fill in `labels` from the first pages of the test set. Legs with the same test set list it once."""
    shown = session.client.shown.labels
    labels |= {case_id: shown[case_id] for case_id in case_ids if case_id in shown}
    if not test_set_id or len(labels) == len(case_ids):
        return

    def go_on(listed: Sequence[TestCase]) -> bool:
        case = listed[-1]
        if case.id in case_ids:
            labels[case.id] = case.label
        return len(labels) < len(case_ids) and len(listed) < MOST_LABELS

    await session.client.list(cases_of(test_set_id), until=session.deadline, go_on=go_on)


async def with_words(session: Session, result: RunResult, judgement: Judgement) -> tuple[RunResult, Judgement]:
    """Return both with the units of metrics, as far as Coval shows them soon: first of those that were checked.

    Name the test cases that checks name, too.
    """
    client, until = session.client, session.times.informing(session.clock.now(), UNITS)
    known, checked = client.shown.units, {check.metric for check in judgement.checks}
    unknown = [
        metric.id for metric in result.metrics if metric.is_identified and metric.id not in known and metric.numbers
    ]
    unknown.sort(key=lambda metric_id: metric_id not in checked)
    calls = [client.get(METRIC, metric_id, until=until, once=True) for metric_id in unknown[:MOST_UNITS]]
    cases = {case: None for check in judgement.checks for case in named_cases(check) if case not in client.shown.labels}
    naming = [client.get(TEST_CASE, case, until=until, once=True) for case in [*cases][:MOST_UNITS]]
    answers = await together([*calls, *naming], session.clock, at_once=CALLS_AT_ONCE)  # what fails stays unknown
    if late := sum(isinstance(answer, Unavailable) for answer in answers[: len(calls)]):
        session.log(f"Coval did not show {plural(late, 'metric')} in time, so reports may lack the units of values.")
    known = client.shown.units
    units = {metric.id: known[metric.id] for metric in result.metrics if known.get(metric.id)}
    metrics = tuple(metric._replace(unit=units.get(metric.id) or metric.unit) for metric in result.metrics)
    return result._replace(metrics=metrics), judgement_with_words(judgement, units, client.shown.labels)


async def find_names(step: Step, judgement: Judgement) -> None:
    """Look up the names that the report needs, and no response has shown. A signal meanwhile changes no verdict."""
    if judgement.verdict is None or step.inputs.mode == "cancel" or not any(trial.run_id for trial in step.trials):
        return
    try:
        with tolerant(step.host, "Names could not be looked up"):
            session = _briefly(step.session(), NAMING)
            get, shown, until = session.client.get, session.client.shown, session.deadline
            wanted = [
                named for leg in step.legs for named in _named(leg, leg.first if leg.trials else Trial()).values()
            ]
            # The agents of all legs first: they matter most, and only so many are looked up.
            by_kind = sorted(wanted, key=lambda named: LAUNCH_IDS.index(named[0]))
            unknown = [named for named in dict.fromkeys(by_kind) if named[1] and shown.name_of(*named) is None]
            calls = [get(RUN_RESOURCES[name], id_, until=until, once=True) for name, id_ in unknown[:NAMES_FETCHED]]
            await together(calls, session.clock, at_once=CALLS_AT_ONCE)  # what fails stays unknown
    except Interrupted:
        step.hurry()
