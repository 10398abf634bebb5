"""Finds the baseline of a run: the earlier runs that its thresholds compare it with.

A run that the gate failed is a baseline only if the input names it. No baseline is older than a run that a person
accepted. Every listed run is checked here: a list may lag, ignore a filter, or show neither tags nor metadata. A run
that cannot be read does not fail the step: then there is no baseline, and the reason says why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from coval_gate.base.errors import CovalError, NotFound, Rejected
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait, together
from coval_gate.base.text import in_words
from coval_gate.base.times import COLLECTING
from coval_gate.config.fields import Allowance
from coval_gate.coval.runs import RunFilter
from coval_gate.judge.checks import population
from coval_gate.judge.criteria import Criteria
from coval_gate.model.baseline import Baseline, BaselineRun, NotFoundReason
from coval_gate.model.results import RunResult
from coval_gate.model.run import Completed
from coval_gate.model.statuses import COMPLETED
from coval_gate.runs.comparable import Subject, distinguish
from coval_gate.runs.find import MOST_FETCHED, MOST_LISTED, PATIENCE, PAUSES, created_at, fetched, fetched_whole
from coval_gate.runs.tags import (
    ACCEPTED,
    FAILED,
    branch_tag,
    hides_tag,
    is_marked,
    origins,
    pull_request_of,
    run_id_of,
    tags_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.model.baseline import BaselineSource, NotFoundKind
    from coval_gate.model.run import Outcome, Run
    from coval_gate.runs.legs import Session, Trial

UNKNOWN_LAUNCH: Final = Criteria(max_failed=Allowance(0))  # of a run that another step launched
WATCHING: Final = 15.0  # s between two looks at a named run that is not over

Fit = Literal["fits", "failed", "pull_request", "unknown", "other"]


def load_run(session: Session, run: Run) -> Procedure[BaselineRun | str]:
    """Return a run with its result; a sentence if that is incomplete. Raises CovalError."""
    simulations = yield from session.client.list_simulations(run.run_id, until=session.deadline)
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
    return BaselineRun(run=run, result=result, failed=is_marked(run, FAILED))


def end_of_named(session: Session, run_id: str, *, until: float) -> Procedure[float]:
    """Wait for the end of a named run until the `deadline`, and return until when the search for it may last.

    A poll that fails ends the waiting: the search says why.
    """
    client, clock, deadline = session.client, session.clock, session.deadline
    patience, is_logged = until - clock.now(), False
    while clock.now() < deadline:
        try:
            run = yield from client.get_run(run_id, until=until)
        except CovalError:
            break
        if run.is_over:
            break
        if not is_logged:
            session.log(f"Waiting for the baseline: run {run_id} is {run.status}.")
            is_logged = True
        yield Wait(max(0.0, min(WATCHING, deadline - clock.now())))
        until = max(until, min(deadline, clock.now() + patience))
    return until


class BaselineRuns(NamedTuple):
    """The runs that a source stands for, newest first, or the reason why there is none.

    `refused`: Coval refused a call, and would refuse it again.
    """

    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    refused: bool = False


def find_baseline(session: Session, source: BaselineSource, subject: Subject, *, until: float) -> Procedure[Baseline]:
    """Find the runs that `source` stands for, and what distinguishes them from the subject.

    A tag or a branch stands for runs that were created at most `baseline_max_age` before the subject. Wait for a
    named run that is not over, until the deadline. Never raises CovalError: if Coval does not say `until` then, the
    baseline is missing.
    """
    if source.kind == "base":
        return Baseline(source=source)
    if source.kind == "run":
        until = yield from end_of_named(session, source.name, until=until)
    session = session._replace(deadline=until)
    pauses = list(PAUSES)
    while True:
        baseline = yield from _found(session, source, subject)
        pause = pauses.pop(0) if pauses else until
        if not _may_be_damaged(baseline, subject) or session.clock.now() + pause >= until:
            break
        if len(pauses) == len(PAUSES) - 1:
            session.log(f"Looking for the baseline again, for {sum(PAUSES):.0f} s at most: Coval may list it late.")
        yield Wait(pause)
    runs = baseline.runs
    if runs:
        runs = yield from distinguish(session, runs, subject)
    return Baseline(
        source=source,
        runs=runs,
        missing=baseline.missing,
        fewer_than_asked=source.last - len(runs) if runs else 0,
    )


def _found(session: Session, source: BaselineSource, subject: Subject) -> Procedure[BaselineRuns]:
    """Search once. An error is the reason why there is no baseline."""
    try:
        search = _BaselineSearch(session, source, (yield from whole_subject(session, subject)))
        return (yield from (search.named() if source.kind == "run" else search.newest()))
    except CovalError as error:
        return BaselineRuns(missing=_unreadable(error), refused=isinstance(error, Rejected))


def whole_subject(session: Session, subject: Subject) -> Procedure[Subject]:
    """Return the subject; read its run again if the last poll may have been damaged. Raises as `Client.get_run`."""
    if created_at(subject.run) is not None and all(subject.ids.values()):
        return subject
    run = yield from session.client.get_run(subject.run.run_id, until=session.deadline)
    return replace(subject, run=run)


def _may_be_damaged(baseline: BaselineRuns, subject: Subject) -> bool:
    """Return whether another search may find more: a single odd response must not leave a run without its baseline."""
    if baseline.missing:
        return baseline.missing.kind in ("none", "not_completed", "unreadable") and not baseline.refused
    for run in baseline.runs:
        cases = {simulation.test_case_id for simulation in run.result.simulations}
        metrics = [
            run.result.find_metrics(metric.id) or run.result.find_metrics(metric.name) for metric in subject.metrics
        ]
        if "" in cases or not all(same and (same[0].values or same[0].summary) for same in metrics):
            return True
    return False


class _BaselineSearch:
    """The search for one baseline. A method raises CovalError if Coval does not say."""

    def __init__(self, session: Session, source: BaselineSource, subject: Subject) -> None:
        self._session = session
        self._source = source
        self._subject = subject
        self._max_age = session.inputs.baseline_max_age.seconds
        self._created = created_at(subject.run)
        self._tag = branch_tag(subject.context, source.name) if source.kind == "branch" else source.name
        self._own_origins = set[str]() if self._is_promoted else self._origins()

    @property
    def _is_promoted(self) -> bool:
        """Whether this step does not launch runs with the tag of the source: then they get it later, by promotion."""
        return self._source.kind == "tag" and self._tag.lower() not in map(str.lower, tags_of(self._subject.run))

    def _origins(self) -> set[str]:
        """Return the workflow runs whose runs are no baseline: two steps of one could let the same regression pass.

        That does not hold for promoted runs, which have passed. If a step left them out, the tag would seem lost once
        an earlier attempt, or another step, has promoted its run.
        """
        own = {origin.workflow_run for origin in origins(tags_of(self._subject.run))}
        run_id = run_id_of(self._subject.context)
        return {*own, run_id} if run_id else own

    def named(self) -> Procedure[BaselineRuns]:
        """Return the run that the source names, of any age, agent, persona and test set."""
        run_id = self._source.name
        if run_id == self._subject.run.run_id:
            return BaselineRuns(missing=NotFoundReason(kind="itself", run_id=run_id))
        try:
            run = yield from self._session.client.get_run(run_id, until=self._session.deadline)
            if run.status != COMPLETED:
                kind: NotFoundKind = "not_completed" if run.is_over else "not_over"
                return BaselineRuns(missing=NotFoundReason(kind=kind, run_id=run_id, status=run.status))
            loaded = yield from load_run(self._session, run)
        except NotFound:
            return BaselineRuns(missing=NotFoundReason(kind="gone", run_id=run_id))
        if isinstance(loaded, str):
            return BaselineRuns(missing=NotFoundReason(kind="unreadable", run_id=run_id, text=loaded))
        return BaselineRuns((loaded,))

    def newest(self) -> Procedure[BaselineRuns]:
        """Return the newest runs with a tag or of a branch that fit."""
        if unknown := self._unknown():
            return BaselineRuns(missing=NotFoundReason(kind="unreadable", text=unknown))
        listed = yield from self._listed()
        candidates = self._fitting(listed)[: self._source.last + MOST_FETCHED]
        loaded: list[BaselineRun] = []
        failures: list[CovalError | str] = []
        while candidates and len(loaded) < self._source.last:
            lacking = self._source.last - len(loaded)
            batch, candidates = candidates[:lacking], candidates[lacking:]
            for result in (yield from together(map(self._checked, batch), self._session.clock)):
                match result:
                    case BaselineRun():
                        loaded.append(result)
                    case CovalError() | str():
                        failures.append(result)
                    case Exception():
                        raise result
        if loaded:
            return BaselineRuns(_since_accepted(loaded))
        return BaselineRuns(
            missing=self._reason(listed, failures), refused=any(isinstance(failure, Rejected) for failure in failures)
        )

    def _unknown(self) -> str:
        """Return what the search needs and the subject lacks, as a sentence; empty if nothing is lacking."""
        if not self._tag:
            return "The repository of the branch is not known, so name the baseline by a tag or a run."
        unknown = [name for name, value in self._subject.ids.items() if not value]
        if self._created is None:
            unknown.append("create_time")
        return (
            f"Coval shows no {in_words(unknown, 'or')} of this run, so name the baseline by run:<id>."
            if unknown
            else ""
        )

    def _listed(self) -> Procedure[list[Run]]:
        """Return the runs that may fit, and others. Raises Rejected if Coval refuses each way to ask."""
        session, same = self._session, RunFilter(**self._subject.ids, status=COMPLETED)
        tagged = same._replace(tag=self._tag)
        filters = [*([tagged] if tagged.can_be_sent else []), same]
        listed: dict[str, Run] = {}
        refused: list[Rejected] = []
        for run_filter in filters:
            try:
                runs = yield from session.client.list_runs(run_filter, until=session.deadline, go_on=self._lacks_more)
            except Rejected as error:
                refused.append(error)
                continue
            listed = {run.run_id: run for run in runs} | listed
            doubtful = self._sorted(listed.values(), "unknown")[:MOST_FETCHED]
            whole = yield from fetched(session, doubtful)
            listed |= {run.run_id: run for run in whole}
            listed = yield from self._with_marks(listed)
            if len(self._fitting(listed.values())) >= self._source.last:
                break
        if len(refused) == len(filters):
            raise refused[0]
        return list(listed.values())

    def _with_marks(self, listed: Mapping[str, Run]) -> Procedure[dict[str, Run]]:
        """Return the runs; candidates for the baseline show their marks, as far as Coval shows them at all.

        A list may show no tags. Then a row of failed runs must not hide the baseline behind it.
        """
        runs, read, last = dict(listed), set[str](), self._source.last
        while True:
            fitting = self._fitting(runs.values())
            if not any(run.run_id not in read and not run.tags for run in fitting[:last]):
                return runs
            unread = [run for run in fitting if run.run_id not in read and not run.tags]
            batch = unread[: min(MOST_FETCHED, last + len(read))]
            read |= {run.run_id for run in batch}
            whole = yield from fetched(self._session, batch)
            # One of the two places may show no metadata.
            runs |= {run.run_id: run._replace(metadata=run.metadata or runs[run.run_id].metadata) for run in whole}

    def _lacks_more(self, runs: Sequence[Run]) -> bool:
        """Return whether to read more of the list, which comes newest first."""
        is_old = bool(runs) and self._is_old(runs[-1], self._moment(runs))
        enough = len(self._fitting(runs)) >= self._source.last
        return bool(runs) and not (enough or is_old or len(runs) >= MOST_LISTED)

    def _fitting(self, runs: Iterable[Run]) -> list[Run]:
        """Return the runs that may be the baseline, newest first."""
        runs = list(runs)
        moment, fit = self._moment(runs), self._of_green_workflows(runs)
        accepted = [run for run in (*fit, *self._sorted(runs, "failed")) if is_marked(run, ACCEPTED)]
        begin = max((created_at(run) or 0.0 for run in accepted), default=0.0)
        return [run for run in fit if not self._is_old(run, moment) and (created_at(run) or 0.0) >= begin]

    def _of_green_workflows(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs that fit, newest first; if possible, only those of workflows in which no step failed its run.

        Steps of a workflow may evaluate the same agent by different thresholds. If one of them failed its run, the
        runs of the others are no baseline either.
        """
        fit = self._sorted(runs, "fits")
        newest = {step: run for run in reversed(self._sorted(runs, "failed", "fits")) for step in _steps(run)}
        red = {workflow_run for (workflow_run, _), run in newest.items() if is_marked(run, FAILED)}
        return [run for run in fit if not any(workflow_run in red for workflow_run, _ in _steps(run))] or fit

    def _sorted(self, runs: Iterable[Run], *fits: Fit) -> list[Run]:
        """Return the runs of these kinds, newest first."""
        chosen = {run.run_id: run for run in runs if self._fit(run) in fits}
        return sorted(chosen.values(), key=lambda run: created_at(run) or 0.0, reverse=True)

    def _fit(self, run: Run, *, whole: bool = False) -> Fit:
        """Return whether a run fits, as far as it shows; `unknown`: it does not show its tags.

        `whole`: the run was read alone, so what it does not show stays unknown, and it does not fit.
        """
        created, ids = created_at(run), self._subject.ids
        if run.run_id == self._subject.run.run_id or run.status != COMPLETED or not self._is_earlier(created):
            return "other"
        if any(getattr(run, name) not in (value, *(() if whole else ("",))) for name, value in ids.items()):
            return "other"
        tags = tags_of(run)
        if self._own_origins & {origin.workflow_run for origin in origins(tags)}:
            return "other"
        if self._tag.lower() not in map(str.lower, tags):
            return "unknown" if hides_tag(run, of_gate=self._source.kind == "branch") else "other"
        if pull_request_of(run) is not None:
            return "pull_request"
        return "failed" if is_marked(run, FAILED) else "fits"

    def _is_earlier(self, created: float | None) -> bool:
        return created is not None and self._created is not None and created < self._created

    def _is_old(self, run: Run, moment: float) -> bool:
        created = created_at(run)
        return created is not None and moment - created > self._max_age

    def _moment(self, runs: Sequence[Run]) -> float:
        """Return the time until which the age of a run counts: while the gate fails, no baseline gets older."""
        newest = max((created_at(run) or 0.0 for run in self._of_green_workflows(runs)), default=0.0)
        failed_at = (created_at(failed) or 0.0 for failed in self._sorted(runs, "failed"))
        return min((time for time in failed_at if time > newest), default=self._created or 0.0)

    def _age(self, run: Run) -> float:
        """Return how long before the subject a run was created. Both times are on Coval's clock."""
        created = created_at(run)
        return (self._created or created) - created if created is not None else 0.0

    def _checked(self, listed: Run) -> Procedure[BaselineRun | str | None]:
        """Read a listed run, and return it if it fits; else why it cannot be used, or None. Raises CovalError."""
        run = yield from fetched_whole(self._session, listed)
        if self._fit(run, whole=True) != "fits":
            return None
        return (yield from load_run(self._session, run))

    def _reason(self, listed: Sequence[Run], failures: Sequence[CovalError | str]) -> NotFoundReason:
        """Return why no run was found; `failures` are what went wrong with runs that fit."""
        for failure in failures:
            if isinstance(failure, str):
                return NotFoundReason(kind="unreadable", text=failure)
            if not isinstance(failure, NotFound):
                return _unreadable(failure)
        for run in self._of_green_workflows(listed):
            if self._is_old(run, self._moment(listed)):
                return NotFoundReason(kind="too_old", run_id=run.run_id, age=self._age(run))
            if failures:
                return NotFoundReason(kind="gone", run_id=run.run_id)
        for run in self._sorted(listed, "failed"):
            return NotFoundReason(kind="failed", run_id=run.run_id)
        for run in self._sorted(listed, "pull_request"):
            return NotFoundReason(kind="pull_request", run_id=run.run_id)
        return NotFoundReason(kind="none")


def _steps(run: Run) -> set[tuple[str, str]]:
    """Return the step that launched a run: its workflow run and its digest; nothing if the run does not show them."""
    return {(origin.workflow_run, origin.digest) for origin in origins(tags_of(run))}


def _since_accepted(runs: Sequence[BaselineRun]) -> tuple[BaselineRun, ...]:
    """Return the runs, newest first, down to the newest that a person accepted; a list may not have shown that."""
    accepted = next((place for place, baseline in enumerate(runs) if is_marked(baseline.run, ACCEPTED)), len(runs))
    return tuple(runs[: accepted + 1])


def _unreadable(error: CovalError) -> NotFoundReason:
    advice = error.advice.splitlines()[:1] if isinstance(error, Rejected) else ["Re-run the job to look again."]
    return NotFoundReason(kind="unreadable", text=" ".join([error.what, *advice]))


def baseline_of(session: Session, trial: Trial, outcome: Outcome, context: Context) -> Procedure[Baseline | None]:
    """Find the baseline of a trial's run; None if the run did not complete, or nothing is compared with a baseline.

    Search for as long as PATIENCE and the deadline allow. A run that completed just before the deadline gets
    COLLECTING, as for its own data.
    """
    inputs, source, run = session.inputs, session.inputs.baseline, trial.run
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    if not (compares and source and run and isinstance(outcome, Completed)):
        return None
    subject, until = subject_of(session, trial, run, outcome.result, context)
    return (yield from find_baseline(session, source, subject, until=until))


def subject_of(session: Session, trial: Trial, run: Run, result: RunResult, context: Context) -> tuple[Subject, float]:
    """Return what a trial's run is compared as, and until when the search for other runs may last."""
    now = session.clock.now()
    thresholds = session.inputs.thresholds
    subject = Subject(run=run, result=result, request=trial.request, context=context, thresholds=thresholds)
    over_since = now if trial.over_since is None else trial.over_since
    return subject, max(min(session.deadline, now + PATIENCE), over_since + COLLECTING)
