"""What the log says while a run is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.text import duration, one_line, plural, quoted, stopwatch

if TYPE_CHECKING:
    from coval_gate.model.run import Run
    from coval_gate.runs.session import Session

HEARTBEAT: Final = 60.0  # s without a line in the log
BAR_WIDTH: Final = 20  # characters


class ProgressLog:
    """Writes a line when something changed, and otherwise once a minute."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._began = session.clock.now()
        self._written = float("-inf")
        self._last = ""
        self._unknown_statuses: set[str] = set()

    def add(self, run: Run, expected_end: float | None) -> None:
        """Take what a poll showed; `expected_end` is on the clock."""
        now = self._session.clock.now()
        if not run.has_known_status and run.status not in self._unknown_statuses:
            self._unknown_statuses.add(run.status)
            self._session.warn(
                f"Coval reports the status {quoted(run.status)}, which is not documented; the step keeps waiting."
            )
        seen = progress_line(run, None)
        if seen != self._last or now - self._written >= HEARTBEAT:
            left = None if expected_end is None or run.is_over else expected_end - now
            self._session.log(f"{stopwatch(now - self._began):>7}  {progress_line(run, left)}")
            self._last, self._written = seen, now

    def not_found(self, *, for_seconds: float, is_new: bool) -> None:
        """Log that Coval does not know the run, and for how many seconds the step keeps polling it.

        `is_new`: Coval has not shown the run before.
        """
        what = "does not know this run yet" if is_new else "no longer knows this run"
        began = stopwatch(self._session.clock.now() - self._began)
        self._session.log(f"{began:>7}  Coval {what}; the step keeps asking for {duration(for_seconds)}.")


def progress_line(run: Run, left: float | None) -> str:
    """Return status, bar, counts and, if known, the seconds that the run probably still takes."""
    parts = [f"{run.status:<11}"]
    if run.progress and run.progress.total:
        filled = min(BAR_WIDTH, run.progress.done * BAR_WIDTH // run.progress.total)
        parts.append("█" * filled + "░" * (BAR_WIDTH - filled))
        parts.append(f"{run.progress.done}/{run.progress.total} done, {run.progress.failed} failed")
    if left is not None:
        parts.append(f"about {duration(left)} left" if left >= 1 else "about to end")
    return "  ".join(parts).rstrip()


class MissingData(NamedTuple):
    """What Coval does not have yet of a run that completed: simulations, the metric of a criterion, or values.

    `test_cases`: how many simulations do not show their test case, if the criteria need it. `is_open`: the
    run may have more simulations or metrics than it lists. `is_doubtful`: a response may be damaged.
    """

    simulations: int = 0
    metric: str = ""
    values: int = 0
    test_cases: int = 0
    is_open: bool = False
    is_doubtful: bool = False

    @property
    def is_of_metrics(self) -> bool:
        """Whether metrics or their values are missing."""
        return bool(self.metric or self.values)


def missing_text(missing: MissingData) -> str:
    """Return a sentence about the data that the step waits for."""
    if missing.simulations:
        what = plural(missing.simulations, "simulation")
    elif missing.metric:
        what = f"the metric {one_line(missing.metric, 80)}"
    elif missing.values:
        what = f"{plural(missing.values, 'value')} of metrics"
    elif missing.test_cases:
        what = f"the test cases of {plural(missing.test_cases, 'simulation')}"
    elif missing.is_open:
        what = "further simulations and metrics, because Coval does not say how many there are"
    else:
        what = "further responses, in case this one was damaged"
    return f"The run completed; waiting for {what}."


def waiting_title(max_wait_time: float) -> str:
    """Return the heading over the lines."""
    return f"Waiting for the run, {duration(max_wait_time)} at most"
