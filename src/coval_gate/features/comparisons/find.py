"""Finds the baseline of a run: the earlier runs that its thresholds compare it with.

A baseline is what a person accepted, or what stands on a branch. A tag stands still: all runs that have it count, of
any age. A branch moves: its newest runs count. Neither counts a run that a comparison failed, that lacks data, or that
tests a pull request; nor one that is older than a run that a person accepted. A run that cannot be read does not fail
the step: then there is no baseline, and the reason is shown.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from coval_gate.base.errors import CovalError, InputError, NotFound, Rejected
from coval_gate.base.schedule import Wait, together
from coval_gate.base.text import folded, in_words, plural, within_letters
from coval_gate.base.times import COLLECTING, LOOKING_UP
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, Run, RunResult
from coval_gate.features.comparisons.comparable import Subject, distinguish
from coval_gate.features.known_failures.judge import leave_out
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import gaps
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundKind, NotFoundReason
from coval_gate.gate.population import Judged, population
from coval_gate.gate.variants import variants_of
from coval_gate.history.search import Sought, search, with_list
from coval_gate.history.tags import (
    ACCEPTED_TAG,
    FAILED_TAG,
    PART_USES,
    branch_tag,
    branch_tag_of,
    is_marked,
    may_be_baseline,
    origins,
    part_of,
    pull_request_of,
    run_id_of,
    steps_of,
    tags_of,
    user_tags,
)
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.inputs import InvalidInput

LOADS_AT_ONCE: Final = 10  # runs
UNKNOWN_LAUNCH: Final = Criteria(max_failed=Allowance(0))  # of a run that another step launched
WATCHING: Final = 15.0  # s between two looks at a named run that is not over
VERSION_MARK: Final = re.compile(r"\d+|(?<![^\W\d_])[^\W\d_](?![^\W\d_])")  # what tags such as v1 and side-b differ by
SHORT_TAG: Final = 5  # letters of a tag in which two wrong ones make another word
SPARE: Final = 20  # runs that are tried in place of incomplete ones


async def baseline_of(
    session: Session, source: BaselineSource, subject: Subject, *, over_since: float | None
) -> Baseline:
    """Find the baseline of a run. `over_since`: when a poll first showed that the run is over.

    A run that completed just before the deadline gets COLLECTING. Without a response by then, there is no baseline.
    """
    run = subject.run
    if source.kind == "base":
        return Baseline(source=source)
    now = session.clock.now()
    until = max(min(session.deadline, now + LOOKING_UP), (now if over_since is None else over_since) + COLLECTING)
    if source.kind == "run":
        until = await _end_of_named(session, source.name, until=until)
    session = session.until(until)
    try:
        if source.kind == "run":
            runs = await _load_named(session, source, run)
        else:
            runs = await _load_newest(session, source, subject)
    except CovalError as error:
        return Baseline(source=source, missing=_unreadable(error))
    except _NoBaseline as reason:
        return Baseline(source=source, missing=reason.missing)
    runs = await distinguish(session, runs, subject)
    acceptable = run.run_id if source.kind != "run" and branch_tag_of(run) else ""
    return Baseline(source=source, runs=runs, fewer_than_asked=source.last - len(runs), acceptable=acceptable)


class _NoBaseline(Exception):
    def __init__(self, missing: NotFoundReason) -> None:
        super().__init__(missing.kind)
        self.missing = missing


async def _end_of_named(session: Session, run_id: str, *, until: float) -> float:
    """Return until when the search may last. A poll that fails ends the waiting: the search shows why."""
    client, clock, deadline = session.client, session.clock, session.deadline
    patience, is_logged = until - clock.now(), False
    while clock.now() < deadline:
        try:
            run = await client.get_run(run_id, until=until)
        except CovalError:
            break
        if run.is_over:
            break
        if not is_logged:
            session.log(f"Waiting for the baseline: run {run_id} is {run.status}.")
            is_logged = True
        await Wait(max(0.0, min(WATCHING, deadline - clock.now())))
        until = max(until, min(deadline, clock.now() + patience))
    return until


async def _load_named(session: Session, source: BaselineSource, judged: Run) -> tuple[BaselineRun, ...]:
    """Use the run whatever its age, agent, persona and test set. Raises CovalError, _NoBaseline."""
    run_id = source.name
    if run_id == judged.run_id:
        raise _NoBaseline(NotFoundReason(kind="itself", run_id=run_id))
    try:
        run = await session.client.get_run(run_id, until=session.deadline)
        if run.status != COMPLETED:
            kind: NotFoundKind = "not_completed" if run.is_over else "not_over"
            raise _NoBaseline(NotFoundReason(kind=kind, run_id=run_id, status=run.status))
        if part := part_of(run):
            text = f"Run {run_id} is {PART_USES[part]}."
            raise _NoBaseline(NotFoundReason(kind="unreadable", run_id=run_id, text=text))
        loaded = await load_run(session, run)
    except NotFound:
        raise _NoBaseline(NotFoundReason(kind="gone", run_id=run_id)) from None
    if isinstance(loaded, str):
        raise _NoBaseline(NotFoundReason(kind="unreadable", run_id=run_id, text=loaded))
    return (loaded,)


async def _load_newest(session: Session, source: BaselineSource, subject: Subject) -> tuple[BaselineRun, ...]:
    """Return the runs with a tag or of a branch that count. Raises CovalError, InputError, _NoBaseline."""
    created = subject.run.created
    tag = branch_tag(subject.context, source.name) if source.kind == "branch" else source.name
    if not tag:
        text = "The repository of the branch is not known, so name the baseline by a tag or a run."
        raise _NoBaseline(NotFoundReason(kind="unreadable", text=text))
    unknown = [name for name, value in subject.ids.items() if not value]
    if unknown or created is None:
        what = in_words([*unknown, *(["create_time"] if created is None else [])], "or")
        text = f"Coval shows no {what} of this run, so name the baseline by run:<id>."
        raise _NoBaseline(NotFoundReason(kind="unreadable", text=text))
    rules = _Rules(source, subject, created, session.inputs.baseline_max_age.seconds)
    sought = Sought(
        subject.ids,
        tag,
        COMPLETED,
        since=0.0,
        fits=rules.may_count,
        enough=lambda runs: len(rules.candidates(runs)) >= source.last,
    )
    found = await search(session, sought)
    candidates = rules.candidates(found.runs)[: source.last + SPARE]
    loaded: list[BaselineRun] = []
    failures: list[CovalError | str] = []
    while candidates and len(loaded) < source.last:
        lacking = source.last - len(loaded)
        batch, candidates = candidates[:lacking], candidates[lacking:]
        calls = [load_listed(session, run, subject.criteria) for run in batch]
        for result in await together(calls, session.clock):
            match result:
                case BaselineRun() if not result.failed:
                    loaded.append(result)
                case CovalError() | str():
                    failures.append(result)
    if not (loaded or found.is_whole):
        text = "Coval lists more runs than the step reads, and none that it read counts. Name the baseline by run:<id>."
        raise _NoBaseline(NotFoundReason(kind="unreadable", text=text))
    if not (found.runs or found.hidden) and source.kind == "tag" and session.inputs.mode == "wait":
        check_spelling(tag, found.seen)  # another mode did before its launch
    if not loaded:
        raise _NoBaseline(rules.reason(found.runs, failures))
    return tuple(loaded)


class _Rules(NamedTuple):
    """`created`: when the judged run was created, on Coval's clock, as all times here."""

    source: BaselineSource
    subject: Subject
    created: float
    max_age: float

    def may_count(self, run: Run) -> bool:
        """Return whether a run with the tag may count, whatever its marks are."""
        created = run.created
        if run.run_id == self.subject.run.run_id or created is None:
            return False
        if self.source.kind == "tag":
            return True
        # Otherwise, the same regression could pass in two steps of a workflow run.
        own = {run_id_of(self.subject.context), *(origin.workflow_run for origin in origins(tags_of(self.subject.run)))}
        return created < self.created and not own & {origin.workflow_run for origin in origins(tags_of(run))}

    def candidates(self, runs: Sequence[Run]) -> list[Run]:
        return standing_runs(runs, self.source, self.created, self.max_age)

    def reason(self, runs: Sequence[Run], failures: Sequence[CovalError | str]) -> NotFoundReason:
        """`failures`: what went wrong with the runs that count."""
        for failure in failures:
            if isinstance(failure, str):
                return NotFoundReason(kind="unreadable", text=failure)
            if not isinstance(failure, NotFound):
                return _unreadable(failure)
        for run in filter(may_be_baseline, runs):
            if _is_old(run, runs, self.source, self.created, self.max_age):
                return NotFoundReason(kind="too_old", run_id=run.run_id, age=self.created - (run.created or 0.0))
            if failures:
                return NotFoundReason(kind="gone", run_id=run.run_id)
        for run in runs:
            kind: NotFoundKind = "pull_request" if pull_request_of(run) is not None else "failed"
            return NotFoundReason(kind=kind, run_id=run.run_id)
        return NotFoundReason(kind="none")


def standing_runs(runs: Sequence[Run], source: BaselineSource, at: float, max_age: float) -> list[Run]:
    """Return those of a source that count for a run that was created `at` that time, the newest first."""
    return [run for run in baseline_candidates(runs) if not _is_old(run, runs, source, at, max_age)]


def _is_old(run: Run, runs: Sequence[Run], source: BaselineSource, at: float, max_age: float) -> bool:
    """While comparisons fail the runs of a branch, its baseline does not age."""
    if source.kind == "tag":
        return False
    newest = max(((other.created or 0.0) for other in runs if may_be_baseline(other)), default=0.0)
    failed = [
        (other.created or 0.0) for other in runs if is_marked(other, FAILED_TAG) and (other.created or 0.0) > newest
    ]
    return min(failed, default=at) - (run.created or 0.0) > max_age


def baseline_candidates(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that may be a baseline, whatever their age. `runs` come newest first."""
    since = max(((run.created or 0.0) for run in runs if is_marked(run, ACCEPTED_TAG)), default=0.0)
    # Two steps may judge one agent by different criteria: where a comparison failed it, no run of the workflow counts,
    # except one that a person accepted.
    newest = {step: run for run in reversed(runs) for step in steps_of(run)}
    red = {workflow_run for (workflow_run, _), run in newest.items() if is_marked(run, FAILED_TAG)}
    return [
        run
        for run in runs
        if may_be_baseline(run)
        and (run.created or 0.0) >= since
        and (is_marked(run, ACCEPTED_TAG) or not any(workflow_run in red for workflow_run, _ in steps_of(run)))
    ]


async def load_listed(session: Session, listed: Run, criteria: Criteria) -> BaselineRun | str:
    """Return a sentence if the run lacks more than the criteria tolerate. Raises CovalError."""
    run = await session.client.get_run(listed.run_id, until=session.deadline)
    loaded = await load_run(session, with_list(run, listed))
    return loaded if isinstance(loaded, str) else shortfall(loaded, criteria) or loaded


def shortfall(loaded: BaselineRun, criteria: Criteria) -> str:
    """Return a sentence if the run lacks more than the criteria tolerate; empty if it does not.

    No step judged a run that was only launched, or that completed after its step had timed out, so it has no mark.
    """
    result = leave_out(loaded.result, criteria.known)
    simulations = result.simulations
    failed = sum(not simulation.completed for simulation in simulations)
    if failed > criteria.max_failed.of(len(simulations)):
        return f"{failed:,} of {plural(len(simulations), 'simulation')} of run {result.run_id} did not complete."
    judged = Judged(result, variants_of(result, criteria.mutations), criteria)
    gap = next(gaps(judged), None)
    if gap and gap.measure:
        return f"In run {result.run_id}, {gap.criterion.missed(gap, gap.measure)}."
    return ""


async def load_run(session: Session, run: Run) -> BaselineRun | str:
    """Return a sentence if the result is incomplete. Raises CovalError."""
    simulations = await session.client.list_simulations(run.run_id, until=session.deadline)
    listed, announced = {simulation.id for simulation in simulations}, set(run.output_ids or ())
    if not simulations:
        return f"Coval lists no simulation of run {run.run_id}."
    total = max(len(announced | listed), population(run, simulations, UNKNOWN_LAUNCH).expected)
    if len(listed) < total:
        return f"Coval lists {len(listed)} of the {total} simulations of run {run.run_id}."
    if not all(simulation.ended for simulation in simulations):
        return f"Simulations of run {run.run_id} have not ended."
    if not run.metrics:
        return f"Coval lists no metric of run {run.run_id}."
    result = RunResult(run_id=run.run_id, expected=len(simulations), simulations=simulations, metrics=run.metrics)
    return BaselineRun(run=run, result=result, failed=is_marked(run, FAILED_TAG))


def _unreadable(error: CovalError) -> NotFoundReason:
    advice = error.advice.splitlines()[:1] if isinstance(error, Rejected) else ["Re-run the job to look again."]
    return NotFoundReason(kind="unreadable", text=" ".join([error.what, *advice]))


def check_spelling(tag: str, runs: Iterable[Run]) -> None:
    """Raise InputError if a baseline's tag, which none of the runs has, seems to be a misspelt one of theirs.

    The step would give its run the tag, and from then on the mistake would look like a baseline.
    """
    name = folded(tag)
    most = 2 if len(name) > SHORT_TAG else 1
    similar = next(
        (
            other
            for other in user_tags(runs)
            if VERSION_MARK.findall(other) == VERSION_MARK.findall(name) and within_letters(name, folded(other), most)
        ),
        "",
    )
    if similar and similar != tag.lower():
        what = f"names the tag {tag}, which no earlier run of this agent, persona and test set has"
        keep = f"If {tag} is right, add it to a run in Coval first, or start a run by hand with accept: true."
        raise InputError([InvalidInput("baseline", f"{what}; did you mean {similar}?\n{keep}")])
