"""Finds the reference of drift (the run with a tag, and the runs that followed it) and the runs since.

All have the same agent, persona, test set and branch. Runs of pull requests and repetitions are of no branch. A re-run
of a workflow is another try at the same night, so only the first run of a workflow run counts. A run that the gate
failed belongs to no reference, but it counts afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError, NotFound, Rejected
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait, together
from coval_gate.coval.runs import RunFilter
from coval_gate.model.baseline import LATER_RUNS, REFERENCE_RUNS, BaselineRun, Drift
from coval_gate.model.run import Completed
from coval_gate.model.statuses import COMPLETED
from coval_gate.runs.baseline import load_run, subject_of, whole_subject
from coval_gate.runs.comparable import Subject, distinguish
from coval_gate.runs.find import MOST_LISTED, PAUSES, created_at, fetched, fetched_whole
from coval_gate.runs.tags import FAILED, branch_tag_of, is_marked, origins, pull_request_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.model.run import Outcome, Run
    from coval_gate.runs.legs import Session, Trial

AT_ONCE: Final = 8  # runs that are read side by side
LOOKS_AT_FEW: Final = 2  # searches: a list may lack some of the few runs that a reference has so far


def find_drift(session: Session, tag: str, subject: Subject, branch: str) -> Procedure[Drift]:
    """Find the runs that show whether the agent drifts. `branch`: the tag of the subject's branch.

    Never raises CovalError: if Coval does not say by the deadline, the drift says so.
    """
    best = Drift(tag=tag)
    for number, pause in enumerate((*PAUSES, None), start=1):
        try:
            subject = yield from whole_subject(session, subject)
            drift = yield from _DriftSearch(session, tag, subject, branch).drift()
        except CovalError as error:
            drift = Drift(tag=tag, unreadable=error.what)
            is_final = isinstance(error, Rejected)
        else:
            is_final = drift.reference_runs >= REFERENCE_RUNS or (not drift.unreadable and number >= LOOKS_AT_FEW)
        best = drift if drift.unreadable or best.unreadable or drift.reference_runs >= best.reference_runs else best
        if is_final or pause is None or session.clock.now() + pause >= session.deadline:
            break
        yield Wait(pause)
    if best.reference:
        runs = (*best.reference, *best.later)
        runs = yield from distinguish(session, runs, subject)
        count = len(best.reference)
        best = best._replace(reference=runs[:count], later=runs[count:])
    return best


def drift_of(session: Session, trial: Trial, outcome: Outcome, context: Context) -> Procedure[Drift | None]:
    """Find what shows the drift of a trial's run; None without the input `drift`, or if the run did not complete.

    A repetition does not count: the step's first run stands for the night.
    """
    inputs, run = session.inputs, trial.run
    if not (inputs.drift and run and isinstance(outcome, Completed)) or inputs.accept or trial.repetition:
        return None
    subject, until = subject_of(session, trial, run, outcome.result, context)
    branch = branch_tag_of(run) or (trial.tags.branch if trial.tags else "")
    return (yield from find_drift(session._replace(deadline=until), inputs.drift.name, subject, branch))


class _Followed(NamedTuple):
    """The run with the tag, and the runs that followed it, the oldest first."""

    holder: Run
    followers: tuple[Run, ...]

    @property
    def candidates(self) -> tuple[Run, ...]:
        """The runs that the reference may have."""
        return (self.holder, *(run for run in self.followers if not is_marked(run, FAILED)))


class _DriftSearch:
    """One search. A method raises CovalError if Coval does not say."""

    def __init__(self, session: Session, tag: str, subject: Subject, branch: str) -> None:
        self._session = session
        self._tag = tag
        self._subject = subject
        self._branch = branch

    def drift(self) -> Procedure[Drift]:
        """Return what Coval's lists and runs show."""
        subject = self._subject
        if unknown := self._unknown():
            return Drift(tag=self._tag, unreadable=unknown)
        if self._is_tagged(subject.run):
            return Drift(tag=self._tag, reference_runs=1, holder=subject.run.run_id)
        listed = yield from self._listed()
        holders = [run for run in listed if self._is_tagged(run)]
        if not holders:
            return Drift(tag=self._tag)
        fitting = [run for run in holders if self._fits(run)]
        if not fitting:
            text = f"Run {holders[0].run_id} has the tag, but belongs to another branch. Use a tag for each branch."
            return Drift(tag=self._tag, unreadable=text)
        holder = max(fitting, key=_order)
        followers = sorted((run for run in listed if self._fits(run) and _order(run) > _order(holder)), key=_order)
        followed = _Followed(holder, tuple(_first_tries(followers)))
        count = min(REFERENCE_RUNS, len(followed.candidates))
        if count < REFERENCE_RUNS:
            return Drift(tag=self._tag, reference_runs=count, holder=holder.run_id)
        return (yield from self._loaded(followed))

    def _unknown(self) -> str:
        """Return what the search needs and the subject lacks, as a sentence; empty if nothing is lacking."""
        if not self._branch:
            return f"Run {self._subject.run.run_id} does not show its branch."
        if created_at(self._subject.run) is None or not all(self._subject.ids.values()):
            return f"Coval does not show when run {self._subject.run.run_id} was created, or what it evaluates."
        return ""

    def _listed(self) -> Procedure[list[Run]]:
        """Return the runs of the branch since the one with the tag, and others. Raises Rejected if Coval refuses."""
        session, same = self._session, RunFilter(**self._subject.ids)
        filters = [same._replace(tag=tag) for tag in (self._branch, self._tag, "")]
        listed: dict[str, Run] = {}
        refused: list[Rejected] = []
        for run_filter in filters:
            try:
                runs = yield from session.client.list_runs(run_filter, until=session.deadline, go_on=self._lacks_holder)
            except Rejected as error:
                refused.append(error)
                continue
            listed = {run.run_id: run for run in runs} | listed
            hiding = [run for run in listed.values() if not run.tags][: REFERENCE_RUNS + LATER_RUNS]
            whole = yield from fetched(session, hiding)
            listed |= {run.run_id: run for run in whole}
            if any(self._is_tagged(run) and self._fits(run) for run in listed.values()) and run_filter == filters[0]:
                break
        if len(refused) == len(filters):
            raise refused[0]
        return list(listed.values())

    def _lacks_holder(self, runs: Sequence[Run]) -> bool:
        """Return whether to read more of a list, which comes newest first."""
        return bool(runs) and len(runs) < MOST_LISTED and not any(map(self._is_tagged, runs))

    def _is_tagged(self, run: Run) -> bool:
        return self._tag in map(str.lower, run.tags) and pull_request_of(run) is None

    def _fits(self, run: Run) -> bool:
        """Return whether a run of the same branch and ids, as far as it shows them, completed before the subject."""
        alike = all(getattr(run, name) in ("", value) for name, value in self._subject.ids.items())
        of_branch = self._branch in map(str.lower, tags_of(run)) and pull_request_of(run) is None
        is_earlier = created_at(run) is not None and _order(run) < _order(self._subject.run)
        return alike and of_branch and is_earlier and run.status == COMPLETED

    def _loaded(self, followed: _Followed) -> Procedure[Drift]:
        """Read the runs of the reference, and the newest ones after it, without runs that lack data."""
        candidates = list(followed.candidates)
        reference: list[BaselineRun] = []
        while candidates and len(reference) < REFERENCE_RUNS:
            lacking = REFERENCE_RUNS - len(reference)
            batch, candidates = candidates[:lacking], candidates[lacking:]
            reference += yield from self._read(batch)
        holder = followed.holder.run_id
        if len(reference) < REFERENCE_RUNS:
            return Drift(tag=self._tag, reference_runs=len(reference), holder=holder)
        last = _order(reference[-1].run)
        later = [run for run in followed.followers if _order(run) > last][-(LATER_RUNS - 1) :]
        read = yield from self._read(later)
        return Drift(
            tag=self._tag,
            reference_runs=REFERENCE_RUNS,
            holder=holder,
            reference=tuple(reference),
            later=tuple(read),
            left_out=len(later) - len(read),
        )

    def _read(self, listed: Iterable[Run]) -> Procedure[list[BaselineRun]]:
        """Return the runs that have complete data, in their order."""
        results = yield from together(map(self._whole, listed), self._session.clock, at_once=AT_ONCE)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, NotFound):
                raise result
        return [result for result in results if isinstance(result, BaselineRun)]

    def _whole(self, listed: Run) -> Procedure[BaselineRun | str]:
        return (yield from load_run(self._session, (yield from fetched_whole(self._session, listed))))


def _first_tries(runs: Iterable[Run]) -> list[Run]:
    """Return the first run of each step of a workflow run, in the order of the runs."""
    kept: dict[object, Run] = {}
    for run in runs:
        origin = next(origins(tags_of(run)), None)
        kept.setdefault((origin.workflow_run, origin.digest) if origin else run.run_id, run)
    return list(kept.values())


def _order(run: Run) -> tuple[float, str]:
    return created_at(run) or 0.0, run.run_id
