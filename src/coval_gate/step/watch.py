"""Watches a run until it is over or a limit on time passes, and logs how far it is.

A run that has gone on for long will probably go on for long, so a pause between two polls is a tenth of the run's age.
Once conversations have ended, their pace shows when the last one will: the pause is at most a sixth of the time until
then, and grows again if the run is overdue.

Runs that are polled side by side pause sqrt(n) times as long. The first pauses are short, and many runs have theirs at
the same time. So each of more than FEW runs has had at most one poll for every EACH * (n - FEW) seconds of its age, and
one at the start: n runs together have at most n + (60 / EACH) * n / (n - FEW) in the first minute, which is 60 for 20
runs. What a run saves while its pauses are long, it may spend at its end. Runs that are over do not count.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, InputError, NotFound, Unavailable
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import duration, in_words, quoted
from coval_gate.ci.host import IS_BASE, LEG, REPETITION, SLICE
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, DELETED, Run
from coval_gate.gate.judgement import UNFINISHED
from coval_gate.gate.verdict import Aborted, Limit, NotCompleted, TimedOut
from coval_gate.history.tags import ATTACHED, PARTS, UNANSWERED, is_marked, part_of, with_provenance
from coval_gate.inputs.inputs import InvalidInput, ids_of, noun
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.report import report_of
from coval_gate.step.step import LegRun

HEARTBEAT: Final = 60.0  # s without a line in the log
BAR_WIDTH: Final = 20  # characters
NOT_FOUND_PATIENCE: Final = 60.0  # s; Coval may answer 404 for a while about a run it has, above all after its launch
QUICK: Final = 2.0  # s; most responses take less
LEAD: Final = 1.5  # times the last response, if that was slow, for the last poll before a limit
SHORTEST_PAUSE: Final = 1.0  # s; a mean delay of half a second is not noticeable
LONGEST_PAUSE: Final = 30.0  # s; a common fixed interval: the delay is never longer than with one
OF_AGE, OF_REST = 10.0, 6.0  # parts of the run's age and of the time until its expected end; one is a pause
FEW: Final = 5  # runs side by side that may be polled as often as they need
EACH: Final = 2.0  # s from one poll of a run to the next, on average, for each run beyond these
NOT_FOUND_PAUSE: Final = 5.0  # s between two polls of a run that Coval does not know
UNKNOWN_PATIENCE: Final = 15.0  # s since the step began; Coval may answer 404 so long about a run that was never shown
MOST_NAMED: Final = 5  # legs in an error
AS_LAUNCHED: Final = "Use the inputs and the configuration file of the launch."


class ProgressLog:
    """Writes a line on news, and once a minute."""

    def __init__(self, session: LegRun, planned: int | None) -> None:
        self._session = session
        self._planned = planned
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
        if run.progress:
            run = run._replace(progress=run.progress.in_simulations(self._planned))
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
        filled = min(BAR_WIDTH, run.progress.done * BAR_WIDTH // run.progress.total)
        parts.append("█" * filled + "░" * (BAR_WIDTH - filled))
        failed = "" if run.progress.failed is None else f", {run.progress.failed} failed"
        parts.append(f"{run.progress.done}/{run.progress.total} done{failed}")
    if left is not None:
        parts.append(f"about {duration(left)} left" if left >= 1 else "about to end")
    return "  ".join(parts).rstrip()


def watch(session: LegRun, trial: Trial) -> Procedure[Run | NotCompleted | TimedOut | Aborted]:
    """Return the run if it completed. Raises CovalError as `Client.get_run`, and what `see` raises.

    The last poll is when a limit passes, or earlier by the time that Coval takes to respond.
    """
    client, clock, inputs = session.client, session.clock, session.inputs
    progress = ProgressLog(session, session.leg.size_of(trial.number))
    began, passes_at = clock.now(), session.deadline
    history: list[Observation] = []
    run: Run | None = None
    was_last = False  # the poll was sent as late as Coval usually allows
    while True:
        run = yield from _poll(session, trial.run_id, limit=passes_at, last=run)
        now = clock.now()
        done, total = (run.progress.done, run.progress.total) if run.progress else (None, None)
        history.append(Observation(now, not run.is_queued, done, total))
        see(session, trial, run)
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
                run = yield from client.get_run(trial.run_id, until=passes_at)
                see(session, trial, run)
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
        yield Wait(last_poll - now if was_last else pause)


def _ended(run: Run) -> Run | NotCompleted:
    return run if run.status == COMPLETED else NotCompleted(run=run)


def overall_limit(session: Session) -> Limit:
    return Limit("max_wait_time", session.inputs.max_wait_time)


def _next_limit(session: Session, run: Run, began: float) -> tuple[Limit, float]:
    """Return the limit that passes next, on all of the waiting or on the queue, and when it passes."""
    most = session.inputs.max_queue_time
    if run.is_queued and most is not None and began + most < session.deadline:
        return Limit("max_queue_time", most), began + most
    return overall_limit(session), session.deadline


def _poll(session: Session, run_id: str, *, limit: float, last: Run | None) -> Procedure[Run]:
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
                    return (yield from session.client.get_run(run_id, until=limit))
            return (yield from session.client.get_run(run_id, until=deadline))
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
            yield Wait(min(NOT_FOUND_PAUSE, given_up - now))


class Observation(NamedTuple):
    at: float  # seconds on the caller's monotonic clock
    running: bool  # False while the run is queued
    done: int | None = None  # conversations completed or failed; None if the API reports no progress
    total: int | None = None


def next_pause(history: Sequence[Observation], *, longest: float = LONGEST_PAUSE, runs: int = 1) -> float:
    """Return seconds. `history`: all polls, oldest first, not empty. `runs`: how many are polled side by side."""
    now = history[-1].at
    age = max(0.0, now - history[0].at)
    pause = age / OF_AGE
    if (end := _last_end(history)) is not None:
        pause = min(pause, abs(end - now) / OF_REST)
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


def unknown_until(session: Session) -> float:
    """Return until when a run that another step launched may be unknown to Coval before its id must be wrong."""
    return session.times.deadline - session.inputs.max_wait_time + UNKNOWN_PATIENCE


def see(session: LegRun, trial: Trial, run: Run) -> None:
    """Raises InputError if the inputs of mode wait name another run, and GateError if it is larger than planned."""
    step, leg = session.step, session.leg
    trial.see(run, at=session.clock.now())
    _check_size(leg, trial, run)
    if trial.is_given:
        if problems := problems_of(leg, trial, run):
            trial.release()  # no run that the user means
            raise InputError(problems)
        step.context = with_provenance(step.context, run)
        step.publisher.pages.owe(report_of(step, UNFINISHED))


def _check_size(leg: Leg, trial: Trial, run: Run) -> None:
    """Raise GateError if a run has more simulations than were planned, where the inputs limit them."""
    planned = leg.size_of(trial.number)
    if not leg.inputs.max_simulations or planned is None:
        return
    if run.progress is None or run.progress.total <= planned:
        return
    raise GateError(
        titles.TOO_MANY_SIMULATIONS,
        f"Run {run.run_id} has {run.progress.total:,} simulations, but {planned:,} were planned, and "
        "max_simulations limits them.",
        advice="The test set may have grown since it was counted. Raise max_simulations, or set test_case_ids.",
    )


def problems_of(leg: Leg, trial: Trial, run: Run) -> list[InvalidInput]:
    """Return how a run that was launched elsewhere differs from what the leg would launch, as far as Coval shows."""
    part = part_of(run)
    if part and part != (IS_BASE if leg.is_base else REPETITION if trial.number else ""):
        return [InvalidInput("run_id", part_text(run.run_id, part))]
    given = ids_of(leg.inputs)
    problems = [
        InvalidInput(
            name,
            f"is {quoted(given[name])}, but run {run.run_id} has {quoted(id_)}; wait for a run with this {noun(name)}, "
            f"or leave {name} empty.",
        )
        for name, id_ in run.ids.items()
        if id_ and given[name] not in ("", id_)
    ]
    recorded = recorded_leg(run)
    by_ids = not leg.name and {*filter(None, run.ids.values())} <= {*recorded.split(" · ")}
    if not problems and recorded not in ("", leg.key) and not by_ids:
        what = (
            f"names run {run.run_id}, which is of {legs_in_words([recorded])}. This step has no such leg. {AS_LAUNCHED}"
        )
        problems = [InvalidInput("run_id", what)]
    return problems


def part_text(run_id: str, part: str) -> str:
    """Return why no step judges a part as its run, as the end of a sentence."""
    todo = "Give all ids of that step's output run_ids, and its inputs."
    if part == SLICE:
        todo = (
            "No step can wait for slices: judge them in the step that launches them (mode: run), or leave spend empty."
        )
    return f"names run {run_id}, which is {PARTS[part]}. {todo}"


def recorded_leg(run: Run) -> str:
    """Return the key of the leg in a run's metadata; empty if they do not show it."""
    key = run.metadata.get(LEG)
    return key if isinstance(key, str) else ""


def legs_in_words(legs: Iterable[str]) -> str:
    return in_words([*map(quoted, legs)], most=MOST_NAMED)
