"""Shows in mode history the newest runs of each leg side by side. It only reads: three requests a run."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final
from urllib.parse import urlsplit

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError
from coval_gate.base.schedule import Procedure, all_or_first_error, beside, together
from coval_gate.base.text import day_text, one_line, plural
from coval_gate.base.times import LOOKING_UP, NAMING
from coval_gate.ci.host import COMMIT, REPOSITORY
from coval_gate.coval.model import COMPLETED, Metric, Run
from coval_gate.coval.resources import METRIC, RUN_RESOURCES
from coval_gate.features.comparisons.comparable import changes_in_turn
from coval_gate.features.comparisons.find import LOADS_AT_ONCE, load_run, shortfall, standing_runs
from coval_gate.features.given.newest import list_newest, source_phrase
from coval_gate.features.known_failures.step import give_known
from coval_gate.features.nights.compose import LegPast, history_document
from coval_gate.features.nights.document import HistoryRun
from coval_gate.features.nights.formats import log_lines
from coval_gate.gate.judgement import Judgement, errored
from coval_gate.gate.measure import BaselineRun
from coval_gate.gate.verdict import HISTORY_ONLY, OnlyRead
from coval_gate.history.search import has_tag, with_list
from coval_gate.history.tags import ACCEPTED_TAG, SHA, branch_tag, is_marked, provenance_of
from coval_gate.inputs.fields import IDENTIFIER, USUALLY_SHOWN_RUNS, RunSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.provenance import SHORT_COMMIT
from coval_gate.step.report import CALLS_AT_ONCE, fetch_labels
from coval_gate.step.step import LegRun, Step, StepRun, moment_text
from coval_gate.step.watch import bar

EXCUSED: Final = 30 * 86_400.0  # s for which a known failure that it proposes is excused


async def show_history(session: StepRun) -> Judgement:
    """Show what was read, even if a leg could not be read at all. Raises GateError if Coval lists no run."""
    step, legs, source = session.step, session.step.legs, session.inputs.run_id.newest
    source = (source or RunSource("branch", ""))._replace(last=(source and source.last) or USUALLY_SHOWN_RUNS)
    await give_known(session)
    named = dict.fromkeys(pair for leg in legs for pair in leg.differing.items())
    get, until = session.client.get, session.within(NAMING).deadline
    calls = [get(RUN_RESOURCES[name], id_, until=until, once=True) for name, id_ in named]
    await together(calls, session.clock, at_once=CALLS_AT_ONCE)  # what fails stays unknown
    pasts, errors = list[LegPast](), list[CovalError]()
    for leg in legs:
        own = session.of(leg).within(LOOKING_UP)  # an outage must not use up all of max_wait_time
        past = LegPast(leg.name, step.title_of(leg), own.criteria)
        try:
            pasts.append(await _read_leg(own, source, past))
        except CovalError as error:
            errors.append(error)
            pasts.append(past._replace(trouble=step.host.redact(one_line(error.what))))
    most, phrase = max(len(past.runs) for past in pasts), source_phrase(source)
    if not (most or errors):
        raise GateError(titles.RUN_NOT_FOUND, f"Coval lists no run {phrase}.", advice="Check run_id.")
    title = one_line(f"The newest {plural(most, 'run')} {phrase}")
    made, last_day = (moment_text(step.clock.time() + seconds) for seconds in (0.0, EXCUSED))
    compose = partial(history_document, pasts, title, made, day_text(last_day), step.inputs.dashboard_url)
    step.history, step.legs = await beside(compose), []  # reports show it in place of the legs
    session.log(*log_lines(step.history))
    return errored(errors[0]) if errors else Judgement(None, HISTORY_ONLY, OnlyRead(f"{title}."))


async def _read_leg(session: LegRun, source: RunSource, past: LegPast) -> LegPast:
    """Raises CovalError if the list cannot be read, or none of its runs."""
    step, inputs, clock = session.step, session.inputs, session.clock
    found = await list_newest(session, source, step.context)
    listed = found.runs[: source.last]
    if found.hidden or not (found.is_whole or len(listed) == source.last):
        session.warn("Coval does not show of all runs what they are, so the history may lack some.")
    if not listed:
        return past._replace(trouble=f"Coval lists no run {source_phrase(source)}.")
    loaded = await _load(session, listed[::-1])
    read = [one for one in loaded if isinstance(one, BaselineRun)]
    if not read and (errors := [one for one in loaded if isinstance(one, CovalError)]):
        raise errors[0]
    lacking = {one.run.run_id for one in read if one.failed or shortfall(one, past.criteria)}
    names, labels = [one.metric for one in past.criteria.thresholds if one.metric], dict[str, str]()
    read = await _with_definitions(session, read, names)
    changes = await changes_in_turn(session, read, names)
    with suppress(CovalError):  # what fails is not shown
        cases = {simulation.test_case_id for one in read for simulation in one.result.simulations}
        await fetch_labels(session, cases - {""}, labels, ids_of(inputs)["test_set_id"])
    by_id = {one.run.run_id: one for one in read}
    changed = dict(zip(by_id, changes, strict=True))
    now = session.client.server_time(clock.now()) or clock.time()
    standing = _standing(session, [run for run in listed if run.run_id in by_id], lacking, now)
    runs = []
    for run, one in zip(listed[::-1], loaded, strict=True):
        why = one.what if isinstance(one, CovalError) else one if isinstance(one, str) else ""
        unread, change = step.host.redact(one_line(why)), changed.get(run.run_id, ())
        runs.append(_facts(step, run, unread, change, run.run_id in standing))
    labels = {case: step.host.redact(label) for case, label in labels.items()}
    return past._replace(runs=runs, read=by_id, labels=labels, has_pages=bool(urlsplit(inputs.dashboard_url).path))


def _standing(session: LegRun, runs: Sequence[Run], lacking: Collection[str], now: float) -> list[str]:
    """Return the ids of those of the runs, the newest first, with which a run launched now would be compared.

    `lacking`: runs without enough data for that.
    """
    source, context = session.inputs.baseline, session.step.context
    if source is None:
        return []
    if source.kind not in ("tag", "branch"):
        return [run.run_id for run in runs if run.run_id == source.name and run.run_id not in lacking]
    tag = branch_tag(context, source.name) if source.kind == "branch" else source.name
    runs = [run for run in runs if tag and has_tag(run, tag)]
    candidates = standing_runs(runs, source, now, session.inputs.baseline_max_age.seconds)
    return [run.run_id for run in candidates if run.run_id not in lacking][: source.last]


def _load(session: LegRun, listed: Sequence[Run]) -> Procedure[list[BaselineRun | str | CovalError]]:
    """Return each run, or why it was not read."""
    began, ended, total = session.clock.now(), count(1), len(listed)

    async def load(run: Run) -> BaselineRun | str:
        try:
            if run.status != COMPLETED:
                why = ": ".join(filter(None, (run.status, run.error)))
                return f"The run {'ended as' if run.is_over else 'is'} {why}"
            whole = await session.client.get_run(run.run_id, until=session.deadline)
            return await load_run(session, with_list(whole, run))
        finally:
            done = next(ended)
            line = f"{bar(done, total)}  {done}/{plural(total, 'run')} read"
            session.show_progress(session.clock.now() - began, line, is_news=False, is_over=done == total)

    return together(map(load, listed), session.clock, at_once=LOADS_AT_ONCE)


async def _with_definitions(session: LegRun, read: Sequence[BaselineRun], names: Sequence[str]) -> list[BaselineRun]:
    """Return the runs with the targets, units and values that their metrics have today; of `names`, if none counts.

    Raises CovalError where targets count.
    """
    by_target = session.criteria.needs_targets
    metrics = [metric for one in read for name in names for metric in one.result.find_metrics(name)]
    metrics = [metric for one in read for metric in one.result.metrics] if by_target else metrics
    ids = dict.fromkeys(metric.id for metric in metrics if metric.is_identified)
    calls = (session.client.get(METRIC, id_, until=session.deadline) for id_ in ids)
    found = await together(calls, session.clock, at_once=CALLS_AT_ONCE)
    shown = {
        one.id: one for one in (all_or_first_error(found) if by_target else found) if not isinstance(one, CovalError)
    }

    def defined(metric: Metric) -> Metric:
        own = shown.get(metric.id)
        target = own.target if own and by_target else None
        return metric._replace(unit=own.unit, defined=own.texts, target=target) if own else metric

    return [one._replace(result=one.result._replace(metrics=tuple(map(defined, one.result.metrics)))) for one in read]


def _facts(step: Step, run: Run, unread: str, changes: Sequence[str], is_baseline: bool) -> HistoryRun:
    metadata, context = provenance_of(run, step.context.repository), step.context
    sha, is_ours = str(metadata.get(COMMIT)), metadata.get(REPOSITORY) == context.repository
    commit = sha if SHA.fullmatch(sha) else ""
    return HistoryRun(
        id=run.run_id,
        url=step.run_url(run.run_id) if IDENTIFIER.fullmatch(run.run_id) else "",
        day=day_text(moment_text(run.created or 0.0)),
        commit=commit[:SHORT_COMMIT],
        commit_url=context._replace(sha=commit, sha_is_known=is_ours).commit_url,
        unread=unread,
        is_baseline=is_baseline,
        accepted=is_marked(run, ACCEPTED_TAG),
        changes=list(changes),
    )
