"""The pure parts of a step: its legs, what it owes a run, when a time-out passes, counts, and the draw of slices."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.base.errors import LaunchUncertain, Rejected, RunnerError
from coval_gate.coval.model import LaunchRequest, Metric, Run, RunProgress, RunResult, Simulation
from coval_gate.features.spending.step import dealt
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.verdict import Completed, Limit, Outcome, TimedOut
from coval_gate.history.search import Found
from coval_gate.history.tags import Tags
from coval_gate.inputs.inputs import LegInputs
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.step.cancel import FOREIGN, _is_final
from coval_gate.step.evaluate import _timeout_passes
from coval_gate.step.leg import MAY_OWE, Base, Duty, Leg, Phase, Trial, legs_of, read_state, titles_of, write_state
from coval_gate.step.report import _polled
from coval_gate.step.watch import progress_line
from support import inputs_of

LIMIT = Limit("max_wait_time", 60.0)
GOING = Run("r1", "IN PROGRESS", progress=RunProgress(10, 6, 0))


# Trials: their phase and duties


def saved_trial(**given: Any) -> tuple[Trial, list[str]]:
    """Return a trial, and the list of what it saves."""
    saved: list[str] = []
    trial = Trial(tags=Tags("key"), save=lambda: saved.append(write_state(trial)), **given)
    return trial, saved


def test_duties_follow_the_phases_of_a_run_and_each_change_is_saved() -> None:
    trial, saved = saved_trial()
    assert (trial.phase, trial.is_active, trial.is_given, trial.repeats) == (Phase.PLANNED, False, False, False)
    assert [Trial(number=1, is_slice=is_slice).repeats for is_slice in (False, True)] == [True, False]
    with pytest.raises(ValueError, match="planned owes no duty to mark"):
        trial.owe(Duty.MARK)
    trial.guard(cancel=True)
    assert (trial.phase, sorted(trial.duties), trial.is_active) == (Phase.LAUNCHED, [Duty.CANCEL], True)
    trial.identify("r1", at=5.0)
    trial.see(GOING, at=6.0)
    assert (trial.phase, trial.known_since, trial.is_over) == (Phase.FOLLOWED, 5.0, False)
    for _ in range(2):
        trial.owe(Duty.MARK)
    assert (sorted(trial.duties), len(saved)) == ([Duty.CANCEL, Duty.MARK], 2)
    trial.forget()  # another run replaces it, of which a launch owes no mark
    assert (trial.run_id, trial.run, trial.phase, sorted(trial.duties)) == ("", None, Phase.LAUNCHED, [Duty.CANCEL])
    trial.see(GOING, at=7.0)
    trial.owe(Duty.MARK)
    trial.guard(cancel=False)
    assert (trial.phase, sorted(trial.duties)) == (Phase.FOLLOWED, [Duty.MARK])
    trial.release()
    assert (trial.phase, sorted(trial.duties), trial.is_active) == (Phase.OVER, [Duty.MARK], False)
    for _ in range(2):
        trial.settle(Duty.MARK)
    assert (sorted(trial.duties), len(saved), saved[-1]) == ([], 6, "[]")


def test_polls_show_since_when_a_run_is_over_and_the_most_that_failed() -> None:
    trial, over = Trial(), GOING._replace(status="COMPLETED", progress=None)
    for at, run in enumerate((GOING, GOING._replace(progress=RunProgress(10, 6, 2)), GOING, over, over)):
        trial.see(run, at=float(at))
    assert (trial.over_since, trial.most_failed, trial.is_over) == (3.0, RunProgress(10, 6, 2), True)
    trial.see(GOING, at=9.0)
    assert (trial.over_since, trial.is_over) == (None, False)


def test_what_cannot_be_saved_stops_a_guard_and_nothing_that_ends() -> None:
    def refuse() -> None:
        raise RunnerError("Title", "The disk is full.")

    trial = Trial(save=refuse)
    with pytest.raises(RunnerError):
        trial.guard(cancel=True)
    trial.settle(Duty.CANCEL)
    trial.release()
    assert (trial.phase, sorted(trial.duties)) == (Phase.OVER, [])


def test_state_is_read_as_written_or_not_at_all() -> None:
    trial, saved = saved_trial(leg="a · b", request=LaunchRequest("a1", "p1", "t1"))
    trial.identify("r1", at=5.0)
    trial.guard(cancel=True)
    (again,) = read_state(saved[-1], now=9.0)
    shown = ("leg", "run_id", "ids", "phase", "duties", "tags")
    assert [getattr(again, name) for name in shown] == [getattr(trial, name) for name in shown]
    assert (again.known_since, trial.sent_tags, again.tags.key) == (9.0, ("key",), "key")
    for text in ("", "[", "5", "[5]", "[{}]", saved[-1].replace('"r1"', "7"), saved[-1].replace("launched", "lost")):
        assert read_state(text, now=0.0) == ()
    assert MAY_OWE[Phase.PLANNED] == frozenset()


# Legs


@pytest.mark.parametrize(
    ("planned", "slices", "sizes"),
    [(None, (), [None, None]), (12, (), [12, 12]), (None, (("a",), ("b",)), [None] * 2), (30, ("ab", "c"), [20, 10])],
)
def test_size_of_a_trial_is_the_leg_s_or_its_slice_s(
    planned: int | None, slices: tuple[tuple[str, ...], ...], sizes: list[int | None]
) -> None:
    leg = Leg(inputs_of())
    leg.planned, leg.slices = planned, slices
    assert [leg.size_of(number) for number in (0, 1)] == sizes


def test_legs_are_all_combinations_and_those_that_differ_in_their_agent_share_a_base() -> None:
    inputs = inputs_of(agent_id="a1, a2", persona_id="p1", test_set_id="t1, t2", base_agent_id="a0")
    legs = legs_of(
        [LegInputs("", 1, inputs, {}), LegInputs("own", 2, inputs._replace(agent_id=("a9",), test_set_id=("t2",)), {})]
    )
    assert [leg.name for leg in legs] == ["a1 · t1", "a1 · t2", "a2 · t1", "a2 · t2", "own"]
    assert [leg.key for leg in legs[:2]] == ["a1 · p1 · t1", "a1 · p1 · t2"]
    assert [leg.is_listed for leg in legs[3:]] == [False, True]
    bases = [leg.base for leg in legs]
    assert bases[0] is bases[2] is not bases[1] is bases[3] is bases[4]
    assert [base.name for base in bases if base] == ["base · t1", "base · t2"] * 2 + ["base · t2"]
    assert [base.key for base in bases[:2] if base] == ["base · a0 · p1 · t1", "base · a0 · p1 · t2"]
    assert legs_of([LegInputs("", 1, inputs_of(agent_id="a1"), {})]) == []
    assert len(legs_of([LegInputs("", 1, inputs_of(mode="wait", run_id="r1"), {})])) == 1


@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (("Ann", "Bob"), ["Ann", "Bob"]),
        (("Ann", ""), ["Ann", "a2"]),
        (("Ann", "Ann"), ["Ann (a1)", "Ann (a2)"]),
    ],
)
def test_title_of_a_leg_has_names_where_they_distinguish_it(names: tuple[str, str], titles: list[str]) -> None:
    legs = legs_of([LegInputs("", 1, inputs_of(agent_id="a1, a2", persona_id="p1", test_set_id="t1"), {})])
    known = {("agent_id", f"a{place}"): name for place, name in enumerate(names, 1)}
    assert [*titles_of(legs, known).values()] == titles


# Time-outs and counts


def late(*statuses: str, **changes: Any) -> Completed:
    """Return a completed run that lacks data at the limit."""
    simulations = tuple(Simulation(f"s{place}", status, f"t{place}") for place, status in enumerate(statuses))
    return Completed(RunResult("r1", simulations, expected=len(statuses), **changes), late=LIMIT)


def timeout_passes(
    outcome: Outcome,
    *,
    on_timeout: str = "pass",
    allowed: str = "20%",
    attached: bool | None = None,
    base: Base | None = None,
    earlier: RunProgress | None = None,
    run: Run | None = None,
    slices: Sequence[int] = (),
) -> bool:
    """Return whether the time-out of a leg passes, of whose simulations so many may fail.

    `earlier`: what a poll before showed; `slices`: how many of ten failed in each earlier slice.
    """
    inputs = inputs_of(on_timeout=on_timeout, max_failed_simulations=allowed)
    criteria = Criteria(max_failed=inputs.max_failed_simulations, thresholds=parse_thresholds("Latency: avg < 2"))
    leg, trial, before = Leg(inputs, base=base), Trial(), [Trial(is_slice=True) for _ in slices]
    for each, failed in zip(before, slices, strict=True):
        each.judgement = judge_outcome(late(*["FAILED"] * failed, *["COMPLETED"] * (10 - failed)), criteria)
    leg.take([*before, trial])
    trial.attached = attached
    if earlier:
        trial.see(GOING._replace(progress=earlier), at=1.0)
    trial.see(run or (outcome.run if isinstance(outcome, TimedOut) else ENDED), at=2.0)
    return _timeout_passes(leg, trial, outcome, judge_outcome(outcome, criteria))


def base_with(*outcomes: Outcome, attached: bool | None = None) -> Base:
    base = Base(inputs_of(), "", "", "", {})
    base.take([Trial()])
    base.first.attached, base.outcomes = attached, [*outcomes]
    return base


ENDED, STUCK = GOING._replace(status="COMPLETED", progress=None), TimedOut(GOING, LIMIT)
SLOW = Metric("m1", "Latency", {f"s{place}": 3.0 for place in range(9)})
WHOLE = late(*["COMPLETED"] * 9, "FAILED", metrics=(SLOW,))


def stuck(**shown: Any) -> TimedOut:
    """Return a time-out whose last poll showed this."""
    return TimedOut(GOING._replace(**shown), LIMIT)


@pytest.mark.parametrize(
    ("outcome", "given", "passes"),
    [
        (STUCK, {}, True),
        (STUCK, {"on_timeout": "fail"}, False),
        (STUCK, {"attached": False}, False),
        (STUCK, {"base": base_with()}, False),
        (STUCK, {"base": base_with(STUCK)}, False),
        (STUCK, {"base": base_with(WHOLE)}, True),
        (STUCK, {"base": base_with(WHOLE, attached=False)}, False),
        (STUCK, {"earlier": RunProgress(10, 0, 2)}, True),
        (STUCK, {"earlier": RunProgress(10, 0, 3)}, False),
        *((STUCK, {"slices": failed}, passes) for failed, passes in (((0,), True), ((4,), True), ((5,), False))),
        (STUCK, {"slices": (3, 4)}, False),
        (stuck(progress=RunProgress(10, 6, None)), {}, False),
        (stuck(status="IN QUEUE", progress=None), {}, True),
        (stuck(error="Busy."), {}, False),
        (stuck(error_status="ODD"), {}, False),
        (stuck(progress=RunProgress(3, 0, 3)), {"allowed": "100%"}, False),
        (WHOLE, {}, True),
        (WHOLE._replace(result=WHOLE.result._replace(reported_error="Busy.")), {"run": GOING}, False),
        (late(*["COMPLETED"] * 9, "FAILED"), {}, False),  # which it shows is unknown without the metric
        (late(*["COMPLETED"] * 9, "FAILED"), {"run": GOING}, True),
        (late(*["COMPLETED"] * 7, *["FAILED"] * 3), {"run": GOING}, False),
    ],
)
def test_time_out_passes_only_if_no_more_failures_than_may_be_were_ever_shown(
    outcome: Outcome, given: dict[str, Any], *, passes: bool
) -> None:
    assert timeout_passes(outcome, **given) is passes


def test_counts_of_test_cases_become_counts_of_simulations() -> None:
    assert RunProgress(10, 6, 2).in_simulations(30) == RunProgress(30, 18, 6)
    assert RunProgress(10, 6, None).in_simulations(30) == RunProgress(30, 18, None)
    for planned in (None, 10, 25):
        assert RunProgress(10, 6, 2).in_simulations(planned) == RunProgress(10, 6, 2)


def test_report_counts_all_slices_and_of_repetitions_the_first_run() -> None:
    leg, trials = Leg(inputs_of()), [Trial(number=number) for number in range(2)]
    assert _polled(leg, trials) is _polled(leg, []) is None
    for trial, failed in zip(trials, (1, 2), strict=True):
        trial.see(GOING._replace(progress=RunProgress(10, 6, failed)), at=1.0)
    polled = {slices: _polled(leg_with(slices), trials) for slices in ((), ("a" * 10, "b" * 10))}
    assert [run and run.progress for run in polled.values()] == [RunProgress(10, 6, 1), RunProgress(20, 12, 3)]
    trials[1].see(GOING._replace(progress=RunProgress(10, 6, None)), at=2.0)
    unknown = _polled(leg_with(("a", "b")), trials)
    assert unknown
    assert unknown.progress == RunProgress(20, 12, None)


def leg_with(slices: Any) -> Leg:
    leg = Leg(inputs_of())
    leg.slices = slices
    return leg


@pytest.mark.parametrize(
    ("run", "left", "line"),
    [
        (Run("r1", "PENDING"), None, "PENDING"),
        (GOING, 61.0, "IN PROGRESS  ████████████░░░░░░░░  6/10 done, 0 failed  about 1 min 01 s left"),
        (GOING, 0.9, "IN PROGRESS  ████████████░░░░░░░░  6/10 done, 0 failed  about to end"),
        (GOING._replace(progress=RunProgress(10, 6, None)), None, "IN PROGRESS  ████████████░░░░░░░░  6/10 done"),
    ],
)  # fmt: skip
def test_progress_reads_as_a_line(run: Run, left: float | None, line: str) -> None:
    assert progress_line(run, left) == line


REFUSED, OF_PROXY = Rejected(403, "Title", "No."), Rejected(403, "Title", "No.", by_coval=False)


@pytest.mark.parametrize(
    ("outcome", "waited", "is_final"),
    [
        (Found(), math.inf, False),
        (LaunchUncertain("Title", "No."), 0.0, True),
        (LaunchUncertain("Title", "No.", rejection=REFUSED), 0.0, True),
        (LaunchUncertain("Title", "No.", rejection=OF_PROXY), FOREIGN - 0.5, False),
        (LaunchUncertain("Title", "No.", rejection=OF_PROXY), FOREIGN, True),
    ],
)
def test_search_for_a_launch_fails_for_good(outcome: Found | LaunchUncertain, waited: float, *, is_final: bool) -> None:
    assert _is_final(outcome, waited) is is_final


# The draw of slices


def cases_of(number: int) -> list[str]:
    return [f"case{place:04}" for place in range(number)]


@given(st.integers(10, 600), st.integers(10, 501), st.text())
def test_slices_contain_every_drawn_case_once_and_end_at_the_looks(number: int, cap: int, seed: str) -> None:
    slices = dealt(cases_of(number), cap, seed)
    drawn = [case for cases in slices for case in cases]
    count = min(number, cap)
    assert len(drawn) == len(set(drawn)) == count
    ends = [sum(map(len, slices[: place + 1])) for place in range(len(slices))]
    assert ends == [round(count * place / 5) for place in range(1, 6)]


@pytest.mark.parametrize(("number", "cap"), [(100, 501), (200, 100), (37, 501), (500, 23), (50, 50)])
@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_each_slice_draws_from_all_parts_of_the_set(number: int, cap: int, seed: str) -> None:
    order = cases_of(number)
    slices = dealt(order, cap, seed)
    for cases in slices:
        places = [order.index(case) / number for case in cases]
        widest = max(later - earlier for earlier, later in zip([0.0, *places], [*places, 1.0], strict=True))
        assert widest <= 2.0 / len(cases), "no part of the set is left out"
        assert places == sorted(places)


def test_seed_decides_alone() -> None:
    order = cases_of(100)
    draws = {seed: dealt(order, 501, seed) for seed in ("one", "other")}
    assert draws["one"] == dealt(order, 501, "one")
    assert draws["one"] != draws["other"]
