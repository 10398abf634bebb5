"""Promotes a run: gives it a tag, and then takes the tag away from the runs that had it.

Before the launch, `promotion_problems` checks whether the step may. A run that is better than its baseline, beyond the
margin, is promoted only if an earlier one has a mark that it was so much better, too. Otherwise it gets that mark
itself.

Only one run of an agent, persona and test set is to have the tag. A step that is killed between the two changes leaves
two runs with the tag. The newer one counts then, and the next promotion takes the tag away from the older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound, Rejected
from coval_gate.base.schedule import MOST_AT_ONCE, Wait, together
from coval_gate.base.times import PROMOTING
from coval_gate.config.inputs import LAUNCH_IDS, Problem
from coval_gate.config.parsing import MOST_RUN_TAGS, read_metadata
from coval_gate.coval.runs import RunFilter
from coval_gate.judge.promotion import refusal, seems_first
from coval_gate.model.baseline import Promotion
from coval_gate.model.statuses import COMPLETED
from coval_gate.runs.find import MOST_FETCHED, MOST_LISTED, created_at, fetched
from coval_gate.runs.retag import hides_tags, lowered, mark, retag, with_room
from coval_gate.runs.tags import ACCEPTED, BETTER, FAILED, is_marked, pull_request_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.config.inputs import Inputs
    from coval_gate.model.baseline import Obstacle
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session, Trial

HOW_TO_ACCEPT: Final = """Let the workflow have that input, and pass it on:
    on:
      workflow_dispatch:
        inputs:
          accept:
            type: boolean
    ...
        accept: ${{ inputs.accept }}"""
PULL_REQUEST: Final = "pull_request"
OURS: Final = 3  # tags that the step itself may give to a run: its key, its group and its branch
# The ends of its parts, as shares of the time for a promotion: one that meets an outage leaves time for the next.
LOOK, TAG, LOOK_AGAIN, TAKE_AWAY = 0.4, 0.6, 0.8, 1.0
LIST_PAUSE: Final = 2.0  # s until a list that lacks the run is read again


def promotion_problems(inputs: Inputs, context: Context) -> list[Problem]:
    """Return the problems that rule out a promotion or an acceptance, before anything is launched."""
    if inputs.accept and not context.started_by_person:
        return [Problem("accept", f"must be false here: {_not_by_hand(context)}")]
    if not inputs.promote:
        return []
    own = tuple(map(str.lower, inputs.tags or read_metadata(inputs.metadata).tags))
    most = MOST_RUN_TAGS - OURS - 1
    if context.is_local:
        text = "must be empty in a local run: only the runs of a CI system are compared with later ones."
    elif context.of_pull_request:
        text = _not_in_pull_request(context, inputs.promote)
    elif inputs.promote in own:
        text = f"must not be one of tags: the run would have the tag {inputs.promote} before its verdict."
    elif len(own) > most:
        text = f"adds a tag, so there may be at most {most} other tags; got {len(own)}."
    else:
        return []
    return [Problem("promote", text)]


def _not_in_pull_request(context: Context, tag: str) -> str:
    """Return why the input must be empty in a pull request, and how to set it elsewhere."""
    if not _is_of_workflow(context):
        return (
            "must be empty in the job of a pull request or a merge queue: neither may move the baseline."
            "\nSet it only in jobs that test a branch."
        )
    condition = f"${{{{ github.event_name != '{context.event or PULL_REQUEST}' && '{tag}' || '' }}}}"
    return (
        "must be empty if a pull request or a merge queue started the workflow: neither may move the baseline."
        f"\nIf other events start the workflow too, write:\n    promote: {condition}"
    )


def _is_of_workflow(context: Context) -> bool:
    """Return whether the step is one of a workflow on GitHub."""
    return context.start_by_hand is None


def _not_by_hand(context: Context) -> str:
    """Return why the run cannot be accepted, and what to do instead."""
    if context.is_local:
        return "only the runs of a CI system are compared with later ones."
    of_workflow = _is_of_workflow(context)
    if context.of_pull_request and not of_workflow:
        return "only a run of a branch can be accepted."
    if context.start_by_hand == "":
        return (
            "only a person accepts a run, and this CI system does not tell whether one started the job.\n"
            f"Add the tag {ACCEPTED} to the run in Coval instead."
        )
    what = "the workflow by hand (workflow_dispatch)" if of_workflow else "the job by hand"
    started = f", but {context.event} started it" if context.event else ""
    return f"a person accepts a run by starting {what}{started}.\n{context.start_by_hand or HOW_TO_ACCEPT}"


def promote(session: Session, trial: Trial, tag: str) -> Procedure[Promotion]:
    """Give the trial's run the tag, and take it away from older runs of the same agent, persona and test set.

    Ends at the deadline, or after PROMOTING. An error becomes an obstacle.
    """
    began = session.clock.now()
    time = min(PROMOTING, session.deadline - began)
    promotion = Promotion(run_id=trial.run_id, tag=tag)
    if time <= 0:
        return promotion._replace(obstacle="late")
    promoter = _Promoter(session, trial, promotion, began=began, time=time)
    try:
        return (yield from promoter.promote())
    except _Refused as refused:
        return refused.promotion
    except CovalError as error:
        return promotion._replace(obstacle="failed", text=error.what, advice=error.advice)


class _Refused(Exception):
    """There is an obstacle that a retry does not remove."""

    def __init__(self, promotion: Promotion) -> None:
        super().__init__(promotion.obstacle)
        self.promotion = promotion


@dataclass(frozen=True, slots=True)
class _Promoter:
    """One promotion: what all of its parts need, and the result if all goes well."""

    session: Session
    trial: Trial
    promotion: Promotion
    began: float
    time: float

    def promote(self) -> Procedure[Promotion]:
        """Promote the run. Raises CovalError, _Refused."""
        run = yield from self.session.client.get_run(self.trial.run_id, until=self._end(LOOK))
        self._check(run)
        others = yield from self._others(run)
        before = tuple(filter(self._has_tag, others))
        self._refuse_if_newer(run, before)
        self._refuse_if_not_first(run, before)
        yield from self._refuse_if_unconfirmed(run, others)
        run = yield from self._change(run.run_id, self._with_tag, TAG)
        after = yield from self._holders_after(run)
        try:
            self._refuse_if_newer(run, after)  # another step has promoted a newer run meanwhile
        except _Refused:
            yield from self._change(run.run_id, self._without_tag, TAKE_AWAY)
            raise
        older = {holder.run_id: holder for holder in (*after, *before) if _is_newer(run, holder)}
        changes = (self._change(run_id, self._without_tag, TAKE_AWAY) for run_id in older)
        results = yield from together(changes, self.session.clock, at_once=MOST_AT_ONCE)
        return _with_results(self.promotion, dict(zip(older, results, strict=True)))

    def _end(self, share: float) -> float:
        return self.began + share * self.time

    def _until(self, share: float) -> Session:
        """Return the session for the part that ends after this share of the time."""
        return self.session._replace(deadline=self._end(share))

    def _refused(self, obstacle: Obstacle, other: str = "") -> _Refused:
        return _Refused(self.promotion._replace(obstacle=obstacle, other=other))

    def _check(self, run: Run) -> None:
        """Check that the run may be promoted, and that its tags can be kept. Raises CovalError, _Refused."""
        if self.trial.request is None:  # it was launched elsewhere
            number = pull_request_of(run)
            if number is not None:
                raise self._refused("pull_request", number)
            if not (run.tags or run.metadata):
                raise self._refused("unknown_origin")
            if not tags_of(run):  # its metadata do not repeat the tags that Coval may hide
                raise self._refused("hidden_tags")
        if is_marked(run, FAILED):  # it would be the only run with the tag, and no search would find it
            raise self._refused("marked")
        if hides_tags(run, self.trial.sent_tags):
            raise self._refused("hidden_tags")
        if created_at(run) is None or not all(getattr(run, name) for name in LAUNCH_IDS):
            raise CovalError(
                titles.RUN_NOT_RECOGNIZED,
                f"Coval does not show when run {run.run_id} was created, or with which agent, persona and test set.",
            )

    def _refuse_if_newer(self, run: Run, holders: Iterable[Run]) -> None:
        for holder in holders:
            if _is_newer(holder, run):
                raise self._refused("newer", holder.run_id)

    def _refuse_if_not_first(self, run: Run, holders: Iterable[Run]) -> None:
        """Refuse a run that no earlier one was found for, if there is one: Coval's list may have left it out.

        Such a run may be worse than the baseline, whose place it would take.
        """
        if not self._seems_first:
            return
        for holder in holders:
            if holder.status == COMPLETED and _is_newer(run, holder):
                raise self._refused("not_first", holder.run_id)

    def _refuse_if_unconfirmed(self, run: Run, others: Sequence[Run]) -> Procedure[None]:
        """Refuse a run that no other run confirms, and mark it: then it confirms the next one.

        An earlier run confirms it if no promotion came after that: runs that cannot be promoted do not count.
        """
        if not self._needs_confirmation or self._has_tag(run):
            return
        holders = tuple(filter(self._has_tag, others))
        for other in others:
            is_candidate = other.status == COMPLETED and is_marked(other, BETTER) and not is_marked(other, FAILED)
            if is_candidate and _is_newer(run, other) and all(_is_newer(other, holder) for holder in holders):
                return
        if not (yield from mark(self._until(TAG), run.run_id, BETTER, sent=self.trial.sent_tags)):
            raise self._refused("unknown_origin")
        raise self._refused("unconfirmed")

    @property
    def _needs_confirmation(self) -> bool:
        judgement = self.trial.judgement
        return judgement is not None and refusal(judgement) == "unconfirmed"

    @property
    def _seems_first(self) -> bool:
        return self.trial.judgement is not None and seems_first(self.trial.judgement)

    def _others(self, run: Run) -> Procedure[tuple[Run, ...]]:
        """Return other runs like this one. Raises CovalError, _Refused if Coval's lists lack the run: they lag.

        If no earlier run was found, or another one must confirm this one, search by the tag, too: that run may be
        far behind in the list.
        """
        tags = [BETTER] if self._needs_confirmation else []
        tags += [self.promotion.tag] if self._needs_confirmation or self._seems_first else []
        while True:
            listed, others = yield from self._listed(run, [*tags, ""], LOOK)
            if run.run_id in listed:
                return others
            if self.session.clock.now() + LIST_PAUSE >= self._end(LOOK):
                raise self._refused("unlisted")
            yield Wait(LIST_PAUSE)

    def _holders_after(self, run: Run) -> Procedure[tuple[Run, ...]]:
        """Return the other holders once the run has the tag; none if Coval does not list them, as it did before."""
        try:
            _, others = yield from self._listed(run, [self.promotion.tag, ""], LOOK_AGAIN)
        except CovalError:
            return ()
        return tuple(filter(self._has_tag, others))

    def _listed(
        self, run: Run, tags: Iterable[str], share: float
    ) -> Procedure[tuple[Mapping[str, Run], tuple[Run, ...]]]:
        """Return the listed runs, and the others like this one among them, without runs of pull requests.

        Raises CovalError. The tags are tried in turn until the list has the run itself: some servers do not know a
        filter for tags. An empty one stands for any tags.
        """
        session = self._until(share)
        refused: Rejected | None = None
        listed: dict[str, Run] = {}
        for tag in tags:
            run_filter = RunFilter.like(run)._replace(tag=tag)
            try:
                runs = yield from session.client.list_runs(
                    run_filter, until=session.deadline, go_on=partial(_lacks, run)
                )
            except Rejected as error:
                refused = error
                continue
            listed |= {run.run_id: run for run in runs}
            if not any(run.tags for run in runs):  # the list may not show them
                whole = yield from fetched(session, runs[:MOST_FETCHED])
                listed |= {run.run_id: run for run in whole}
            if run.run_id in listed:
                break
        if refused and not listed:
            raise refused
        return listed, tuple(other for other in listed.values() if _is_other(other, run))

    def _has_tag(self, run: Run) -> bool:
        return self.promotion.tag in lowered(run.tags)

    def _with_tag(self, run: Run) -> tuple[str, ...]:
        """Return the tags of the run with its new one, which a promoted run has in place of the mark."""
        self._check(run)
        if self._has_tag(run):
            return run.tags
        kept = with_room(tag for tag in run.tags if tag.lower() != BETTER)
        if len(kept) >= MOST_RUN_TAGS:
            raise self._refused("no_room")
        return (*kept, self.promotion.tag)

    def _without_tag(self, run: Run) -> tuple[str, ...]:
        return tuple(tag for tag in run.tags if tag.lower() != self.promotion.tag)

    def _change(self, run_id: str, change: Callable[[Run], tuple[str, ...]], share: float) -> Procedure[Run]:
        return retag(self._until(share), run_id, change)


def _with_results(promotion: Promotion, results: Mapping[str, Run | Exception]) -> Promotion:
    """Return the promotion with what became of the runs that had the tag, by their ids; deleted ones do not count."""
    problems = {run_id: result for run_id, result in results.items() if isinstance(result, Exception)}
    for problem in problems.values():
        if not isinstance(problem, CovalError):
            raise problem
    remaining = {run_id: error for run_id, error in problems.items() if not isinstance(error, NotFound)}
    return promotion._replace(
        previous=tuple(run_id for run_id in results if run_id not in problems),
        remaining=tuple(remaining),
        text=next((error.what for error in remaining.values() if isinstance(error, CovalError)), ""),
    )


def _lacks(run: Run, listed: Sequence[Run]) -> bool:
    """Return whether to read more of a list because it lacks the run so far."""
    is_there = any(other.run_id == run.run_id for other in listed)
    # It comes newest first.
    is_past = bool(listed) and _is_newer(run, listed[-1])
    return bool(listed) and not (is_there or is_past or len(listed) >= MOST_LISTED)


def _is_other(other: Run, run: Run) -> bool:
    """Return whether a run is another one of the same agent, persona and test set, and not of a pull request."""
    alike = RunFilter.like(other) == RunFilter.like(run)
    return alike and other.run_id != run.run_id and pull_request_of(other) is None


def _is_newer(run: Run, other: Run) -> bool:
    """Return whether a run was created after another one; False if Coval does not say."""
    mine, others = created_at(run), created_at(other)
    return mine is not None and others is not None and (mine, run.run_id) > (others, other.run_id)
