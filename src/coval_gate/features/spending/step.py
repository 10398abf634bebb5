"""Legs with `spend: until clear`: draw slices, launch one, judge all so far, and go on until the answer is clear.

Each of the five slices has a part of the test cases, spread over the test set. The draw depends on the commit and the
test set only. So a re-run draws the same, and so do legs that share a base. A slice is a trial, so it is launched once,
cancelled, resumed and left to the post step like a first run. One that does not complete decides, as a first run would.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Final

from coval_gate.base.errors import CovalError, GateError, InputError, Rejected
from coval_gate.base.schedule import MOST_AT_ONCE, all_or_first_error, beside, together
from coval_gate.base.text import duration, plural
from coval_gate.base.times import LOOKING_UP
from coval_gate.ci.host import HEADS, Context
from coval_gate.coval.model import Run
from coval_gate.coval.resources import TEST_SET, cases_of
from coval_gate.features.spending.judge import judge_slices
from coval_gate.features.spending.sequential import MOST_SLICED, SLICES, Look, slices_of
from coval_gate.features.spending.words import after_slice_text
from coval_gate.gate.judgement import UNFINISHED_RUN, Judgement, SingleRun, Slices
from coval_gate.gate.verdict import TIMEOUT, Completed, Limit, Verdict
from coval_gate.history.tags import seed_for
from coval_gate.inputs.inputs import MOST_TEST_CASES, UNTIL_CLEAR, Inputs, InvalidInput, ids_of
from coval_gate.step.evaluate import judge_trial, show_leg
from coval_gate.step.launch import ensure_trial, request_of
from coval_gate.step.leg import Leg, Trial, for_each_case
from coval_gate.step.step import LegRun, StepRun
from coval_gate.step.watch import follow_trial

FEWEST: Final = 10  # test cases of a leg; slices of fewer than two show too little
CASES_PERMISSION: Final = "test-cases:read"
NO_RUN_FOR_BASELINE: Final = (
    f"spend: {UNTIL_CLEAR} gives the baseline no runs, because no run is compared with a slice. Leave spend "
    "empty for the runs of the branch, and spend until clear in pull requests."
)
OTHERWISE: Final = "or leave spend empty to launch them all at once."

CHANGED: Final = "If test cases were removed since the step drew its slices, re-run the job: it draws them anew."


async def evaluate_slices(session: LegRun) -> None:
    """Follow and judge the first slice, which was launched, and launch the others in turn. Raises as `evaluate_leg`."""
    leg, runs, longest, judgement = session.leg, list[SingleRun](), 0.0, UNFINISHED_RUN
    cases = tuple(accumulate(map(len, leg.slices)))
    while True:
        try:
            trial = await ensure_trial(session, len(runs))
        except Rejected as error:
            if runs:
                error.advice = "\n".join(filter(None, (error.advice, CHANGED)))
            raise
        outcome, alone = await judge_trial(session, trial)
        runs.append(SingleRun(trial.run_id, alone))
        if not isinstance(outcome, Completed):
            passes = alone.timeout_passes and judgement.misses_nothing_yet
            alone = alone._replace(timeout_passes=passes)
            leg.judgement, leg.result = alone._replace(slices=Slices(Look(len(runs), cases))), None
            return
        judgement = await beside(partial(judge_slices, tuple(runs), session.criteria, cases))
        judgement = judgement._replace(timeout_passes=alone.timeout_passes)
        longest = max(longest, session.clock.now() - trial.known_since)
        if not _launches_more(session, judgement, longest):
            break
    await show_leg(session, cut_off(judgement, session.overall_limit))


async def already_decide(session: LegRun, pairs: Sequence[tuple[Run, Run | None]]) -> bool:
    """Return whether the completed slices of earlier attempts, each with its base's, decide the leg.

    Copies of the leg and its base are judged: the step may still launch all anew. Raises Interrupted.
    """
    leg, runs = session.leg, list[SingleRun]()
    session.log(f"Judging {plural(len(pairs), 'slice')} of earlier attempts, to find out whether they decide.")
    base = replace(leg.base, trials=[], outcomes=[]) if leg.base else None
    copied = session.of(replace(leg, base=base, trials=[]))
    try:
        for number, (run, base_run) in enumerate(pairs):
            if base and base_run:
                beside_it = session.of(base)
                base.outcomes.append(await follow_trial(beside_it, _completed_trial(beside_it, number, base_run)))
            outcome, alone = await judge_trial(copied, _completed_trial(copied, number, run))
            if not isinstance(outcome, Completed):
                return False
            runs.append(SingleRun(run.run_id, alone))
    except GateError:
        return False
    cases = tuple(accumulate(map(len, leg.slices)))
    judgement = await beside(partial(judge_slices, tuple(runs), copied.criteria, cases))
    return judgement.slices is not None and judgement.slices.is_clear


def _completed_trial(session: LegRun, number: int, run: Run) -> Trial:
    request, tags = request_of(session, number)
    trial = Trial(session.leg.name, number, True, request, request.ids, tags)
    trial.identify(run.run_id, at=session.clock.now())
    trial.release()
    session.leg.trials.append(trial)
    return trial


def _launches_more(session: LegRun, judgement: Judgement, longest: float) -> bool:
    """Return whether another slice is to run; log why. `longest`: seconds that a slice took."""
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


def cut_off(judgement: Judgement, limit: Limit) -> Judgement:
    """Return the judgement of a leg whose next slice had no time: what is in doubt timed out."""
    is_open = judgement.slices is not None and not judgement.slices.is_clear
    if not is_open or judgement.verdict is not Verdict.INCONCLUSIVE or not isinstance(judgement.cause, Completed):
        return judgement
    return judgement._replace(verdict=Verdict.TIMED_OUT, status=TIMEOUT, cause=judgement.cause._replace(late=limit))


async def draw_slices(session: StepRun) -> None:
    """Give each leg with `spend: until clear` its slices. The planned sizes of the others count. Raises InputError."""
    step, context = session.step, session.step.context
    legs = [leg for leg in step.all_legs if leg.inputs.spend == UNTIL_CLEAR]
    ids = list(dict.fromkeys(_test_set_id(leg) for leg in legs if not leg.inputs.test_case_ids))
    read = await together(map(partial(_read_cases, session), ids), session.clock, at_once=MOST_AT_ONCE)
    listed = dict(zip(ids, all_or_first_error(read), strict=True))
    every = [leg.inputs.test_case_ids or listed[_test_set_id(leg)] for leg in legs]
    known = {entry.test_case for leg in legs for entry in leg.known}  # legs that share a base draw the same
    own = [tuple(case for case in cases if case not in known) for cases in every]
    sizes = [(for_each_case(leg.inputs), len(cases)) for leg, cases in zip(legs, own, strict=True)]
    most, others = step.inputs.max_simulations, sum(leg.planned or 0 for leg in step.all_legs if leg not in legs)
    cap = MOST_SLICED + 1 if most is None else _level(sizes, most - others)
    if any(_leaves_no_baseline(leg.inputs, context) for leg in legs):
        session.warn(NO_RUN_FOR_BASELINE)
    is_known = context.sha and context.sha_is_known
    seed = context.sha if is_known else seed_for(context, session.randomness.getrandbits(32))
    for leg, cases, (each, _) in zip(legs, own, sizes, strict=True):
        _check_sliceable(leg, len(cases), cap)
        leg.slices = dealt(cases, cap, f"{seed} {_test_set_id(leg)}")
        leg.planned = each * sum(map(len, leg.slices))


def _test_set_id(leg: Leg) -> str:
    return ids_of(leg.inputs)["test_set_id"]


def _leaves_no_baseline(inputs: Inputs, context: Context) -> bool:
    """Return whether the leg is compared with runs of its own branch, of which its slices are none."""
    source, branch = inputs.baseline, context.branch.removeprefix(HEADS)
    is_own = source is not None and (source.kind == "tag" or (source.kind == "branch" and source.name == branch))
    return is_own and bool(branch) and not context.for_pull_request


async def _read_cases(session: StepRun, test_set_id: str) -> tuple[str, ...]:
    """Return the ids of a test set's cases, in Coval's order. Raises InputError."""
    client, until = session.client, min(session.deadline, session.clock.now() + LOOKING_UP)
    try:
        cases = await client.list(cases_of(test_set_id), until=until)
    except CovalError as error:
        what = f"the test cases of test set {test_set_id} could not be listed. {error.what}"
        raise _refuse(
            f"{what} Give the API key the permission {CASES_PERMISSION}, set test_case_ids, {OTHERWISE}"
        ) from None
    with suppress(CovalError):
        if (await client.get(TEST_SET, test_set_id, until=until)).has_parameters:
            what = f"test set {test_set_id} has parameters, which may multiply the conversations of a test case"
            raise _refuse(f"{what}. Set test_case_ids, {OTHERWISE}")
    return tuple(case.id for case in cases)


def _refuse(why: str) -> InputError:
    return InputError([InvalidInput("spend", f"cannot be {UNTIL_CLEAR}: {why}")])


def _level(sizes: Sequence[tuple[int, int]], left: int) -> int:
    """Return how many test cases each leg may have at the most, so that all keep to the simulations `left`.

    `sizes`: of each leg, the simulations of a test case, and the number of test cases.
    """
    level = MOST_SLICED + 1
    while level and sum(each * min(cases, level) for each, cases in sizes) > left:
        level -= 1
    return level


def _check_sliceable(leg: Leg, cases: int, cap: int) -> None:
    """Raise InputError if the leg cannot be sliced. `cap`: the most test cases that `max_simulations` allows it."""
    which = "test_case_ids names" if leg.inputs.test_case_ids else f"test set {_test_set_id(leg)} has"
    if not cases:
        what = f"names {_test_set_id(leg)}, which has no test cases that the API key can see. Check the id."
        raise InputError([InvalidInput("test_set_id", what)])
    if min(cases, cap) > MOST_SLICED:
        most = (
            f"{SLICES} slices have at most {MOST_SLICED:,}, because Coval accepts {MOST_TEST_CASES} test_case_ids a run"
        )
        ways = f"Draw fewer with max_simulations, name them in test_case_ids, {OTHERWISE}"
        raise _refuse(f"{which} {cases:,} test cases, but {most}. {ways}")
    if cases < FEWEST:
        raise _refuse(f"{which} {plural(cases, 'test case')}, and {SLICES} slices need {FEWEST}. Leave spend empty.")
    if cap < FEWEST:
        what = f"leaves {plural(cap, 'test case')} to each leg, but spend: {UNTIL_CLEAR} needs {FEWEST}"
        raise InputError([InvalidInput("max_simulations", f"{what}. Nothing was launched: raise it, {OTHERWISE}")])


def dealt(cases: Sequence[str], cap: int, seed: str) -> tuple[tuple[str, ...], ...]:
    """Draw `cap` of the test cases, or all, evenly over their order, and deal them out to slices likewise."""
    count = min(len(cases), cap)
    drawn = [cases[int((place + _draw(seed)) * len(cases) / count)] for place in range(count)]
    ends = [0, *slices_of(count)]
    # Each slice has its test cases at equal distances; chance decides which slice comes first among five neighbours.
    turns = sorted(
        ((place + 0.5) / (end - begin), _draw(seed, number, place), number)
        for number, (begin, end) in enumerate(pairwise(ends))
        for place in range(end - begin)
    )
    slices: list[list[str]] = [[] for _ in ends[1:]]
    for case, (_, _, number) in zip(drawn, turns, strict=True):
        slices[number].append(case)
    return tuple(map(tuple, slices))


def _draw(*seed: object) -> float:
    """Return a number from 0 to below 1 that only the seed decides."""
    return int.from_bytes(hashlib.sha256(repr(seed).encode()).digest()[:6]) / 2**48
