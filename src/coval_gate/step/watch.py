"""Follows a run to its result: watches it until it is over or a limit on time passes, and has its data collected.

A run that has gone on for long will probably go on for long, so a pause between two polls is a tenth of the run's age.
Once conversations have ended, their pace shows when the last one will: the pause is at most a sixth of the time until
then, and grows again if the run is overdue.

Runs that are polled side by side pause sqrt(n) times as long. The first pauses are short, and many runs have theirs at
the same time. So each of more than FEW runs has had at most one poll for every EACH * (n - FEW) seconds of its age, and
one at the start: n runs together have at most n + (60 / EACH) * n / (n - FEW) in the first minute, which is 60 for 20
runs. What a run saves while its pauses are long, it may spend at its end. Runs that are over do not count.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound, Unavailable
from coval_gate.base.schedule import Wait
from coval_gate.base.text import duration, quoted
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, DELETED, Run
from coval_gate.gate.verdict import Aborted, Limit, NotCompleted, Outcome, TimedOut
from coval_gate.history.tags import ATTACHED, UNANSWERED, is_marked, numbers_of
from coval_gate.inputs.inputs import ids_of
from coval_gate.step.collect import collect, most_common_error, see
from coval_gate.step.leg import Trial
from coval_gate.step.own_build import find_attached, refuse_unanswered
from coval_gate.step.step import LegRun

HEARTBEAT: Final = 60.0  # s without a line in the log
BAR_WIDTH: Final = 20  # characters
NOT_FOUND_PAUSE: Final = 5.0  # s between two polls of a run that Coval does not know
UNKNOWN_PATIENCE: Final = 15.0  # s since the step began; Coval may answer 404 so long about a run that was never shown
NOT_FOUND_PATIENCE: Final = 60.0  # s; Coval may answer 404 for a while about a run it has, above all after its launch
QUICK: Final = 2.0  # s; most responses take less
LEAD: Final = 1.5  # times the last response, if that was slow, for the last poll before a limit
SHORTEST_PAUSE: Final = 1.0  # s; a mean delay of half a second is not noticeable
LONGEST_PAUSE: Final = 30.0  # s; a common fixed interval: the delay is never longer than with one
AGE_PARTS, REST_PARTS = 10.0, 6.0  # parts of the run's age and of the time until its expected end; one is a pause
FEW: Final = 5  # runs side by side that may be polled as often as they need
EACH: Final = 2.0  # s from one poll of a run to the next, on average, for each run beyond these


async def follow_trial(session: LegRun, trial: Trial) -> Outcome:
    """Watch the trial's run to its end, and collect its result. Raises GateError."""
    await refuse_unanswered(session, trial)
    left = max(0.0, session.deadline - session.clock.now()) if trial.number else session.inputs.max_wait_time
    with session.group(f"Waiting for the run, {duration(left)} at most"):
        try:
            outcome = None
            if trial.resumed:
                from coval_gate.features.reruns.takeover import unless_cancelled

                outcome = await unless_cancelled(session, trial, _follow(session, trial))
            outcome = outcome or await _follow(session, trial)
        except NotFound as error:
            if not error.by_coval or trial.run is not None:
                raise
            if not trial.is_given:
                what = f"Coval launched run {trial.run_id}, but has not shown it since ({error.status} to each call)."
                advice = "The run may go on in Coval. Look there, and cancel it before you re-run the job."
                raise NotFound(error.status, titles.RUN_NOT_FOUND, what, advice=advice) from None
            trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_given_up = isinstance(outcome, Aborted)
    if trial.is_given and trial.run:
        session.step.attempts |= numbers_of([trial.run], session.step.context)
        unseen = [name for name, id_ in ids_of(session.leg.inputs).items() if id_ and not trial.run.ids[name]]
        if unseen:
            which = f"run {trial.run_id}, so these inputs cannot be checked: {', '.join(unseen)}"
            session.warn(f"Coval does not show every id of {which}.")
    await find_attached(session, trial)
    return outcome


async def _follow(session: LegRun, trial: Trial) -> Outcome:
    ended = await watch(session, trial)
    if isinstance(ended, TimedOut | NotCompleted):
        return ended
    if isinstance(ended, Aborted):
        return ended._replace(error=await most_common_error(session, trial.run_id))
    return await collect(session, trial, ended)


async def watch(session: LegRun, trial: Trial) -> Run | NotCompleted | TimedOut | Aborted:
    """Return the run if it completed. Raises CovalError as `Client.get_run`, and what `see` raises.

    The last poll is when a limit passes, or earlier by the time that Coval takes to respond.
    """
    client, clock, inputs = session.client, session.clock, session.inputs
    progress = ProgressLog(session)
    began, passes_at = clock.now(), session.deadline
    history: list[Observation] = []
    run: Run | None = None
    was_last = False  # the poll was sent as late as Coval usually allows
    while True:
        polled = await _poll(session, trial.run_id, limit=passes_at, last=run)
        run = see(session, trial, polled)
        now = clock.now()
        done, total = (run.progress.done, run.progress.total) if run.progress else (None, None)
        history.append(Observation(now, not run.is_queued, done, total))
        progress.add(run, expected_end(history))
        if run.is_over:
            return _ended(run)
        is_left = inputs.mode == "wait" and is_marked(run, UNANSWERED) and not is_marked(run, ATTACHED)
        failed, most = (run.progress.failed or 0) if run.progress else 0, inputs.abort_after_failures
        is_hopeless = run.progress and most is not None and failed >= most and not run.progress.completed
        if is_left or is_hopeless:
            return Aborted(run=run, failed=failed)
        limit, passes_at = _next_limit(session, run, began)
        is_late = was_last and now + client.lead >= passes_at  # a response as slow as the last one comes too late
        if is_late and now + QUICK <= passes_at:
            with suppress(CovalError):  # a response may come before the limit after all
                run = see(session, trial, await client.get_run(trial.run_id, until=passes_at))
            if run.is_over:
                return _ended(run)
        if is_late or now >= passes_at:
            return TimedOut(run=run, limit=limit)
        last_poll = max(passes_at - LEAD * client.lead, now)
        left = [leg.is_base for leg in session.step.all_legs if not leg.is_done]
        bases, most_polled = sum(left), session.step.inputs.max_parallel_runs or len(left)
        runs = max(1, min(len(left) - bases, most_polled) + min(bases, most_polled))  # those polled side by side
        longest = LONGEST_PAUSE * math.sqrt(runs) if inputs.check_interval is None else inputs.check_interval
        pause = next_pause(history, longest=longest, runs=runs)
        was_last = now + pause + client.lead >= last_poll  # its response leaves no time for another poll
        await Wait(last_poll - now if was_last else pause)


def _ended(run: Run) -> Run | NotCompleted:
    return run if run.status == COMPLETED else NotCompleted(run=run)


def _next_limit(session: LegRun, run: Run, began: float) -> tuple[Limit, float]:
    """Return the limit that passes next, on all of the waiting or on the queue, and when it passes."""
    most = session.inputs.max_queue_time
    if run.is_queued and most is not None and began + most < session.deadline:
        return Limit("max_queue_time", most), began + most
    return session.overall_limit, session.deadline


async def _poll(session: Session, run_id: str, *, limit: float, last: Run | None) -> Run:
    """Poll once. A 404 must last before it means that the run was deleted or, at the first poll, does not exist.

    In mode wait, another step launched the run, so its id is more likely wrong than too new. If the deadline leaves no
    time for that, return the run as it was.
    """
    clock, deadline = session.clock, session.deadline
    since: float | None = None  # the first 404: before it, the poll may have met an outage
    while True:
        try:
            if clock.now() < limit < deadline:  # cut a request that hangs off when the limit passes
                with suppress(Unavailable):  # logged, and retried
                    return await session.client.get_run(run_id, until=limit)
            return await session.client.get_run(run_id, until=deadline)
        except NotFound as error:
            now = clock.now()
            is_first, since = since is None, now if since is None else since
            lasting = since + NOT_FOUND_PATIENCE
            if last is None and error.by_coval and session.inputs.mode == "wait":
                lasting = max(unknown_until(session), since + NOT_FOUND_PAUSE)
            given_up = min(lasting, deadline)
            if last is None and now >= given_up:
                raise
            if last and now >= lasting:
                return last._replace(status=DELETED)
            if last and now >= deadline:
                return last
            if is_first:
                what = "no longer knows this run" if last else "does not know this run yet"
                session.log(f"Coval {what}; the step keeps asking for {duration(given_up - now)}.")
            await Wait(min(NOT_FOUND_PAUSE, given_up - now))


def unknown_until(session: Session) -> float:
    """Return until when a run that another step launched may be unknown to Coval before its id must be wrong."""
    return session.times.deadline - session.inputs.max_wait_time + UNKNOWN_PATIENCE


class Observation(NamedTuple):
    at: float  # seconds on the caller's monotonic clock
    running: bool  # False while the run is queued
    done: int | None = None  # conversations completed or failed; None if the API reports no progress
    total: int | None = None


def next_pause(history: Sequence[Observation], *, longest: float = LONGEST_PAUSE, runs: int = 1) -> float:
    """Return seconds. `history`: all polls, oldest first, not empty. `runs`: how many are polled side by side."""
    now = history[-1].at
    age = max(0.0, now - history[0].at)
    pause = age / AGE_PARTS
    if (end := _last_end(history)) is not None:
        pause = min(pause, abs(end - now) / REST_PARTS)
    due = len(history) * EACH * max(0, runs - FEW) - age
    return min(max(pause * math.sqrt(runs), due, SHORTEST_PAUSE), longest)


def expected_end(history: Sequence[Observation]) -> float | None:
    """Not before the last poll. None until the first conversation has ended, and once none is left."""
    end, last = _last_end(history), history[-1]
    return None if end is None or last.done == last.total else max(end, last.at)


def _last_end(history: Sequence[Observation]) -> float | None:
    """Return when the last conversation ended, or will end at the pace so far; None while nothing shows a pace."""
    counted = [poll for poll in history if poll.running and poll.done is not None and poll.total]
    if not counted:
        return None
    first, last = counted[0], counted[-1]
    since = next(poll.at for poll in counted if poll.done == last.done)
    begun, ended, total = first.done or 0, last.done or 0, last.total or 0
    if ended >= total:
        return since
    return first.at + (since - first.at) * (total - begun) / (ended - begun) if ended > begun else None


class ProgressLog:
    """Writes a line on news, and once a minute."""

    def __init__(self, session: LegRun) -> None:
        self._session = session
        self._began = session.clock.now()
        self._written = float("-inf")
        self._last = ""

    def add(self, run: Run, expected_end: float | None) -> None:
        """`expected_end` is on the clock."""
        now = self._session.clock.now()
        warned = self._session.step.unknown_statuses
        if not run.has_known_status and run.status not in warned:
            warned.add(run.status)
            self._session.warn(
                f"Coval reports the status {quoted(run.status)}, which is not documented; the step keeps waiting."
            )
        seen = progress_line(run, None)
        is_news = seen != self._last or now - self._written >= HEARTBEAT
        left = None if expected_end is None or run.is_over else expected_end - now
        line = progress_line(run, left)
        self._session.show_progress(now - self._began, line, is_news=is_news, is_over=run.is_over)
        if is_news:
            self._last, self._written = seen, now


def progress_line(run: Run, left: float | None) -> str:
    """`left`: seconds that the run probably still takes."""
    parts = [f"{run.status:<11}"]
    if run.progress and run.progress.total:
        parts.append(bar(run.progress.done, run.progress.total))
        failed = "" if run.progress.failed is None else f", {run.progress.failed} failed"
        parts.append(f"{run.progress.done}/{run.progress.total} done{failed}")
    if left is not None:
        parts.append(f"about {duration(left)} left" if left >= 1 else "about to end")
    return "  ".join(parts).rstrip()


def bar(done: int, total: int) -> str:
    filled = min(BAR_WIDTH, done * BAR_WIDTH // total)
    return "█" * filled + "░" * (BAR_WIDTH - filled)
