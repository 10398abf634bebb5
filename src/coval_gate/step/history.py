"""Shows in mode history the newest runs of each leg side by side. It only reads: three requests a run."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError
from coval_gate.base.schedule import Procedure, all_or_first_error, beside, together
from coval_gate.base.text import day_text, one_line, plural, whole_number
from coval_gate.ci.host import COMMIT, REPOSITORY
from coval_gate.coval.model import COMPLETED, Metric, Run
from coval_gate.coval.resources import METRIC, RUN_RESOURCES
from coval_gate.gate.judgement import Judgement, errored
from coval_gate.gate.measure import BaselineRun
from coval_gate.gate.verdict import HISTORY_ONLY, OnlyRead
from coval_gate.history.baseline import load_run, standing_ids
from coval_gate.history.comparable import Changes, changes_in_turn
from coval_gate.history.search import list_newest, source_phrase, with_list
from coval_gate.history.tags import ACCEPTED_TAG, SHA, is_marked, origins, provenance_of, tags_of
from coval_gate.inputs.fields import IDENTIFIER, USUALLY_SHOWN_RUNS, RunSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.history import HistoryRun
from coval_gate.report.document.nights import LegPast, PastRun, history_document
from coval_gate.report.document.provenance import SHORT_COMMIT
from coval_gate.report.formats.history import log_lines
from coval_gate.step.replay import LOADS_AT_ONCE
from coval_gate.step.report import CALLS_AT_ONCE, fetch_labels
from coval_gate.step.step import LegRun, Step, StepRun, moment_text
from coval_gate.step.watch import bar

EXCUSED: Final = 30 * 86_400.0  # s for which a known failure that it proposes is excused


def show_history(session: StepRun) -> Procedure[Judgement]:
    """Show what was read, even if a leg could not be read at all. Raises GateError if Coval lists no run."""
    step, source = session.step, session.inputs.run_id.newest
    if source is None:
        raise ValueError("mode history has no source of runs")
    source = source._replace(last=source.last or USUALLY_SHOWN_RUNS)
    pasts, errors = list[LegPast](), list[CovalError]()
    differing = dict.fromkeys(pair for leg in step.legs for pair in leg.differing.items())
    naming = [session.client.get(RUN_RESOURCES[name], id_, until=session.deadline) for name, id_ in differing]
    yield from together(naming, session.clock, at_once=CALLS_AT_ONCE)  # what fails stays unknown
    for leg in step.legs:
        own = session.of(leg)
        try:
            past = yield from _read_leg(own, source)
        except CovalError as error:
            errors.append(error)
            past = LegPast(leg.name, step.title_of(leg), own.criteria, trouble=step.host.redact(one_line(error.what)))
        pasts.append(past)
    runs = max(len(past.runs) for past in pasts)
    title = one_line(f"The newest {plural(runs, 'run')} {source_phrase(source)}")
    if not (runs or errors):
        raise GateError(titles.RUN_NOT_FOUND, f"Coval lists no run {source_phrase(source)}.", advice="Check run_id.")
    made, until = (moment_text(step.clock.time() + seconds) for seconds in (0.0, EXCUSED))
    home = step.inputs.dashboard_url
    step.history = yield from beside(
        lambda: history_document(pasts, title=title, made=made, until=day_text(until), dashboard_url=home)
    )
    step.legs = []  # reports show the history in their place
    session.log(*log_lines(step.history))
    return errored(errors[0]) if errors else Judgement(None, HISTORY_ONLY, OnlyRead(f"{title}."))


def _read_leg(session: LegRun, source: RunSource) -> Procedure[LegPast]:
    """Raises CovalError if the list cannot be read, or none of its runs."""
    step, criteria = session.step, session.criteria
    found = yield from list_newest(session, source, step.context)
    listed = found.runs[: source.last][::-1]
    if found.hidden or not (found.is_whole or len(listed) == source.last):
        session.warn("Coval does not show of all runs what they are, so the history may lack some.")
    loaded = yield from _load(session, listed)
    errors = [one for one in loaded if isinstance(one, CovalError)]
    read = [one for one in loaded if isinstance(one, BaselineRun)]
    if errors and not read:
        raise errors[0]
    metrics = [one.metric for one in criteria.thresholds if one.metric]
    read = yield from _with_definitions(session, read, metrics)
    changes = yield from changes_in_turn(session, read, metrics)
    known = {one.run.run_id: (one, change) for one, change in zip(read, changes, strict=True)}
    labels, source_of_baseline, standing = dict[str, str](), session.inputs.baseline, tuple[str, ...]()
    cases = {simulation.test_case_id for one in read for simulation in one.result.simulations}
    with suppress(CovalError):  # what fails is not shown
        yield from fetch_labels(session, cases - {""}, labels, ids_of(session.inputs)["test_set_id"])
    with suppress(CovalError):
        if source_of_baseline:
            without = [run.run_id for run in listed if run.run_id not in known]
            standing = yield from standing_ids(session, source_of_baseline, step.context, criteria, without)
    runs = []
    for run, one in zip(listed, loaded, strict=True):
        own, change = known.get(run.run_id, (None, Changes()))
        why = one.what if isinstance(one, CovalError) else one if isinstance(one, str) else ""
        runs.append(PastRun(_facts(step, run, why, change, is_baseline=run.run_id in standing), own))
    return LegPast(
        name=session.leg.name,
        title=step.title_of(session.leg),
        criteria=criteria,
        runs=runs,
        labels={case: step.host.redact(label) for case, label in labels.items()},
        has_pages=bool(urlsplit(step.inputs.dashboard_url).path),
        trouble="" if listed else f"Coval lists no run {source_phrase(source)}.",
    )


def _load(session: LegRun, listed: Sequence[Run]) -> Procedure[list[BaselineRun | str | CovalError]]:
    """Return each run, or why it was not read."""
    began, ended = session.clock.now(), 0

    def load(run: Run) -> Procedure[BaselineRun | str]:
        nonlocal ended
        try:
            if run.status != COMPLETED:
                why = ": ".join(filter(None, (run.status, run.error)))
                return f"The run {'ended as' if run.is_over else 'is'} {why}"
            whole = yield from session.client.get_run(run.run_id, until=session.deadline)
            return (yield from load_run(session, with_list(whole, run)))
        finally:
            ended += 1
            line = f"{bar(ended, len(listed))}  {ended}/{plural(len(listed), 'run')} read"
            session.show_progress(session.clock.now() - began, line, is_news=False, is_over=ended == len(listed))

    return together(map(load, listed), session.clock, at_once=LOADS_AT_ONCE)


def _with_definitions(
    session: LegRun, read: Sequence[BaselineRun], names: Iterable[str]
) -> Procedure[list[BaselineRun]]:
    """Return the runs with the targets, units and values that their metrics have today. `names`: of those that matter.

    Raises CovalError where targets count.
    """
    needs_targets = session.criteria.needs_targets
    metrics = [metric for one in read for name in names for metric in one.result.find_metrics(name)]
    metrics += [metric for one in read for metric in one.result.metrics if needs_targets]
    ids = dict.fromkeys(metric.id for metric in metrics if metric.is_identified)
    calls = (session.client.get(METRIC, id_, until=session.deadline) for id_ in ids)
    found = yield from together(calls, session.clock, at_once=CALLS_AT_ONCE)
    shown = {
        one.id: one
        for one in (all_or_first_error(found) if needs_targets else found)
        if not isinstance(one, CovalError)
    }

    def defined(metric: Metric) -> Metric:
        own = shown.get(metric.id)
        target = own.target if own and needs_targets else None
        return metric._replace(unit=own.unit, defined=own.texts, target=target) if own else metric

    return [one._replace(result=one.result._replace(metrics=tuple(map(defined, one.result.metrics)))) for one in read]


def _facts(step: Step, run: Run, unread: str, changes: Changes, *, is_baseline: bool) -> HistoryRun:
    metadata, context = provenance_of(run, step.context.repository), step.context
    sha, is_ours = str(metadata.get(COMMIT)), metadata.get(REPOSITORY) == context.repository
    commit = sha if SHA.fullmatch(sha) else ""
    created = moment_text(run.created or 0.0)
    return HistoryRun(
        id=run.run_id,
        url=step.run_url(run.run_id) if IDENTIFIER.fullmatch(run.run_id) else "",
        created=created,
        day=day_text(created),
        commit=commit[:SHORT_COMMIT],
        commit_url=context._replace(sha=commit, sha_is_known=is_ours).commit_url,
        attempt=next((whole_number(origin.attempt) for origin in origins(tags_of(run))), None),
        status=run.status.lower(),
        unread=step.host.redact(one_line(unread)),
        is_baseline=is_baseline,
        accepted=is_marked(run, ACCEPTED_TAG),
        changed_test_set=changes.test_set,
        changed_persona=changes.persona,
        changed_metrics=[*changes.metrics],
    )
