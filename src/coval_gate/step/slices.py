"""The way of a leg with `spend: until clear`: launch a slice, judge all so far, and go on until the answer is clear.

A slice is a trial, so it is launched once, cancelled, resumed and left to the post step like a first run. One that does
not complete decides, as a first run would. `step.draw` has drawn the slices.
"""

from functools import partial
from itertools import accumulate
from typing import Final

from coval_gate.base.errors import Rejected
from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.text import duration
from coval_gate.gate.judgement import UNFINISHED, Judgement, SingleRun, Slices, cut_off
from coval_gate.gate.sequential import Look
from coval_gate.gate.slices import judge_slices
from coval_gate.gate.verdict import Completed
from coval_gate.report.wording.slices import after_slice_text
from coval_gate.step.evaluate import ensure_trial, explain, judge_trial
from coval_gate.step.step import LegRun
from coval_gate.step.watch import overall_limit

CHANGED: Final = "If test cases were removed since the step drew its slices, re-run the job: it draws them anew."


def evaluate_slices(session: LegRun) -> Procedure[None]:
    """Follow and judge the first slice, which was launched, and launch the others in turn. Raises as `evaluate_leg`."""
    leg, runs, longest, judgement = session.leg, list[SingleRun](), 0.0, UNFINISHED
    cases = tuple(accumulate(map(len, leg.slices)))
    while True:
        try:
            trial = yield from ensure_trial(session, len(runs))
        except Rejected as error:
            if runs:
                error.advice = "\n".join(filter(None, (error.advice, CHANGED)))
            raise
        outcome, alone = yield from judge_trial(session, trial)
        runs.append(SingleRun(trial.run_id, alone))
        if not isinstance(outcome, Completed):
            passes = alone.timeout_passes and judgement.misses_nothing_yet
            alone = alone._replace(timeout_passes=passes)
            leg.judgement, leg.result = alone._replace(slices=Slices(Look(len(runs), cases))), None
            return
        judgement = yield from beside(partial(judge_slices, tuple(runs), session.criteria, cases))
        judgement = judgement._replace(timeout_passes=alone.timeout_passes)
        longest = max(longest, session.clock.now() - trial.known_since)
        if not _launches_more(session, judgement, longest):
            break
    yield from explain(session, cut_off(judgement, overall_limit(session)))


def _launches_more(session: LegRun, judgement: Judgement, longest: float) -> bool:
    """Return whether another slice is to run; say in the log why. `longest`: seconds that a slice took."""
    so_far = after_slice_text(judgement)
    if judgement.slices is None or judgement.slices.is_clear:
        session.log(so_far)
        return False
    left = session.deadline - session.clock.now()
    if left < longest:
        lacking = f"A slice took {duration(longest)}, but max_wait_time leaves {duration(max(0.0, left))}"
        session.log(f"{so_far} {lacking}, so this was the last.")
        return False
    session.log(f"{so_far} Next slice.")
    return True
