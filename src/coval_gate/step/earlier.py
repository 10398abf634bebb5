"""Finds the runs that earlier attempts and older workflow runs left unfinished, before a step launches its own.

A step that cannot look for them does not launch. A step that cannot tell who launched a run leaves it alone. If that
run could be from its own earlier attempt, the step does not launch another beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.times import CANCELLING
from coval_gate.coval.model import Run
from coval_gate.coval.session import Session
from coval_gate.history.search import Found, Sought, search
from coval_gate.history.tags import Tags, tags_of
from coval_gate.step.cancel import cancel_or_warn
from coval_gate.step.trial import Trial

LOOKUP_PATIENCE: Final = 300.0  # s during which the search is retried


class EarlierRuns(NamedTuple):
    """`tags` and `ids`: of the launch that follows. The session's deadline bounds the whole search."""

    session: Session
    tags: Tags
    ids: Mapping[str, str]

    def to_resume(self) -> Procedure[Run | None]:
        """Return the unfinished run of an earlier attempt at this step. Raises CovalError if that is unknown."""
        if not self.tags.has_earlier_attempt:
            return None
        unfinished = yield from self._unfinished(
            "Could not check for a run from an earlier attempt",
            way_out="To launch without this check, set resume to false.",
        )
        for run in unfinished.runs:
            if run.is_over or not self.tags.continues(tags_of(run)):
                continue
            if not run.is_ending:
                return run
            self.session.log(
                f"Run {run.run_id} of an earlier attempt is being cancelled, so the step does not take it over."
            )
        if unknown := _unknown(unfinished):
            raise CovalError(
                titles.NOT_LAUNCHED,
                f"Coval shows neither tags nor metadata, so the step cannot tell whether {unknown}, which is not over, "
                "is from an earlier attempt.",
                advice="Wait until it is over, or set resume to false to launch another run.",
            )
        return None

    def supersede(self, *, keep: str = "") -> Procedure[None]:
        """Cancel the unfinished runs that this one supersedes, except `keep`. Raises CovalError."""
        unfinished = yield from self._unfinished(
            "Could not look for older runs",
            way_out="To leave older runs alone, set supersede to false.",
        )
        superseded = (run for run in unfinished.runs if run.run_id != keep and self.tags.supersedes(tags_of(run)))
        yield from self._cancel(superseded, "superseded by this run")
        if unknown := _unknown(unfinished):
            self.session.warn(
                f"Coval shows neither tags nor metadata, so the step cannot tell whether this run supersedes {unknown}."
            )

    def end_repetitions(
        self, repetitions: Collection[Tags], *, taken: Collection[str], guarded: Callable[[str], Trial]
    ) -> Procedure[None]:
        """Cancel the unfinished runs of earlier attempts that have tags like `repetitions`, except `taken` (ids).

        `guarded` lets the post step cancel what fails here. If Coval does not list the runs, only warn.
        """
        if self.tags.origin is None:
            return
        try:
            listed = yield from self._listed(CANCELLING)
        except CovalError as error:
            self.session.warn(f"Could not check for repetitions that an earlier attempt left unfinished: {error.what}")
            return
        left = [
            guarded(run.run_id)
            for run in listed.runs
            if not (run.is_over or run.run_id in taken)
            and any(repetition.continues(tags_of(run)) for repetition in repetitions)
        ]
        yield from self._all([self._end(trial) for trial in left])

    def _end(self, trial: Trial) -> Procedure[None]:
        if (yield from self._cancel_one(trial.run_id, "a repetition of an earlier attempt, which nothing needs now")):
            trial.release()

    def _cancel(self, runs: Iterable[Run], why: str) -> Procedure[None]:
        """`why` ends the line in the log."""
        yield from self._all([self._cancel_one(run.run_id, why) for run in runs if not run.is_over])

    def _all(self, cancelling: Sequence[Procedure[object]]) -> Procedure[None]:
        all_or_first_error((yield from together(cancelling, self.session.clock, at_once=MOST_AT_ONCE)))

    def _cancel_one(self, run_id: str, why: str) -> Procedure[bool]:
        return cancel_or_warn(self._with_patience(CANCELLING), run_id, why)

    def _unfinished(self, trouble: str, *, way_out: str) -> Procedure[Found]:
        """Return the group's runs, and unfinished ones that may belong to it. Raises CovalError."""
        try:
            return (yield from self._listed(LOOKUP_PATIENCE))
        except CovalError as error:
            advice = "\n".join(text for text in (error.advice, way_out) if text)
            raise CovalError(titles.NOT_LAUNCHED, f"{trouble}: {error.what}", advice=advice) from None

    def _listed(self, patience: float) -> Procedure[Found]:
        """Raises CovalError if Coval does not list the runs for `patience` seconds."""
        if not self.tags.group:
            return Found()
        session = self._with_patience(patience)
        sought = Sought(self.ids, self.tags.group, may_be=lambda run: not run.is_over)
        return (yield from search(session, sought))

    def _with_patience(self, seconds: float) -> Session:
        return self.session.within(seconds)


def _unknown(unfinished: Found) -> str:
    return " or ".join(f"run {run.run_id}" for run in unfinished.hidden)
