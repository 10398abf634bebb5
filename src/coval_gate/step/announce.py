"""Shows that the step launched its first run: in the log, and on the commit's pages."""

from __future__ import annotations

from coval_gate.base.schedule import Procedure
from coval_gate.base.times import announcing
from coval_gate.gate.judgement import LAUNCH
from coval_gate.step.launch import tell_launch
from coval_gate.step.report import report_of
from coval_gate.step.size import tell_size
from coval_gate.step.step import LegRun, Step
from coval_gate.step.trial import Trial


def show_launch(session: LegRun, trial: Trial) -> Procedure[None]:
    """Find out how large the run is, too, unless that is known: the log has the plan before what was launched."""
    step = session.step
    if step.is_counted_first:
        yield from announce(step)
        return

    try:
        yield from tell_size(session, announce(step))
    finally:
        tell_launch(session, trial)


def announce(step: Step) -> Procedure[None]:
    """Show on the commit's pages that the run is in progress."""
    until = announcing(step.clock.now(), step.deadline)
    return step.publisher.pages.announce(report_of(step, LAUNCH), until=until)
