"""Gives each leg its known failures, once Coval has shown the test cases, and logs which entries end.

What the API key may not read, only the run can show.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.schedule import MOST_AT_ONCE, together
from coval_gate.base.text import day_at, one_line, plural
from coval_gate.base.times import preparing
from coval_gate.ci.host import GATE_NAME
from coval_gate.coval.model import Run
from coval_gate.coval.resources import cases_of
from coval_gate.features.known_failures.entries import KNOWN_KEY, KnownFailure, excess_text
from coval_gate.gate.criteria import KnownCheck
from coval_gate.gate.judgement import Judgement
from coval_gate.inputs.inputs import UNTIL_CLEAR, Inputs, InvalidInput, ids_of
from coval_gate.step.leg import Leg
from coval_gate.step.step import LegRun, Step, StepRun

ENDS_SOON: Final = 7  # days before the end of an entry
Cases = Mapping[str, frozenset[str]]  # the test cases of a test set, by its id


async def give_known(session: StepRun) -> None:
    """Raise InputError if no test set has what an entry names, or a leg has too many."""
    step = session.step
    if not (known := step.read.known if step.read else ()):
        return
    sets = [ids_of(leg.inputs)["test_set_id"] for leg in step.all_legs]
    cases = await _read_cases(session, [*filter(None, sets)])
    # By Coval's clock, as far as it is known: ours may be wrong.
    shown = session.client.server_time(step.began)
    today = day_at(step.clock.time() if shown is None else shown)
    in_effect = [entry for entry in known if entry.until >= today]
    for leg in step.all_legs:
        own = cases.get(ids_of(leg.inputs)["test_set_id"])
        concerning = (entry for entry in in_effect if _is_about(step, leg, entry))
        leg.known = tuple(entry for entry in concerning if own is None or entry.test_case in own)
        leg.known_checks = () if leg.is_base else _left_to_run(leg.inputs, own is not None, step.selected is None)
    if problems := [*_problems(step, cases)]:
        raise InputError(problems)
    for entry in _evaluated(step):
        _announce_end(step, entry, (entry.until - today).days)


async def check_given(session: LegRun, run: Run) -> None:
    """Raise InputError if the test set of a run that was launched elsewhere lacks what an entry names.

    Where the inputs name the test set, `give_known` did that. An entry without a leg may be about another one.
    """
    step, leg, id_ = session.step, session.leg, run.test_set_id
    if step.inputs.mode != "wait" or leg.is_base or ids_of(leg.inputs)["test_set_id"] or not (id_ and leg.known):
        return
    cases = await _read_cases(session, [id_])
    alone = len(step.legs) == 1 and not step.selected
    lacking = [entry for entry in leg.known if (entry.leg or alone) and entry.test_case not in cases.get(id_, ())]
    if id_ in cases and lacking:
        raise InputError([_no_case(step, entry, [id_]) for entry in lacking])


async def _read_cases(session: StepRun, sets: Sequence[str]) -> Cases:
    ids = [*dict.fromkeys(sets)]
    until = preparing(session.clock.now(), session.deadline)
    calls = (session.client.list(cases_of(id_), until=until) for id_ in ids)
    found = await together(calls, session.clock, at_once=MOST_AT_ONCE)
    cases = dict[str, frozenset[str]]()
    for id_, listed in zip(ids, found, strict=True):
        if isinstance(listed, CovalError):
            session.log(f"Only its run can show whether test set {id_} has the {KNOWN_KEY}. {listed.what}")
        else:
            cases[id_] = frozenset(case.id for case in listed)
    return cases


def _evaluated(step: Step) -> list[KnownFailure]:
    """Return the entries of legs that the step evaluates, or of every leg."""
    known, names = step.read.known if step.read else (), [(leg.name, leg.beginning) for leg in step.legs]
    return [entry for entry in known if not step.selected or any(entry.is_about(*own) for own in names)]


def _is_about(step: Step, leg: Leg, entry: KnownFailure) -> bool:
    """An entry is about a base if it is about all legs that are compared with that."""
    tested = [other for other in step.legs if leg in (other, other.base)]
    return all(entry.is_about(other.name, other.beginning) for other in tested)


def _left_to_run(inputs: Inputs, is_read: bool, is_whole: bool) -> tuple[KnownCheck, ...]:
    """Return what a leg's run has to show; nothing that legs which are not selected may have."""
    draws = inputs.test_case_ids or inputs.sub_sample_size or inputs.spend == UNTIL_CLEAR or inputs.mode != "run"
    checks: dict[KnownCheck, bool] = {"twice": True, "metric": is_whole, "case": is_whole and not (is_read or draws)}
    return tuple(check for check, is_left in checks.items() if is_left)


def _problems(step: Step, cases: Cases) -> Iterator[InvalidInput]:
    for entry in step.read.known if step.read else ():
        sets = {ids_of(leg.inputs)["test_set_id"] for leg in step.legs if entry.is_about(leg.name, leg.beginning)}
        is_read = bool(sets) and sets <= cases.keys() and (entry.leg or not step.selected)
        if is_read and not any(entry.test_case in cases[id_] for id_ in sets):
            yield _no_case(step, entry, sorted(sets))
    for leg in step.legs:
        if leg.inputs.mode == "wait" or leg.inputs.sub_sample_size:
            continue  # only the run shows which test cases it has
        own = cases.get(ids_of(leg.inputs)["test_set_id"], frozenset())
        called = own.intersection(leg.inputs.test_case_ids or own)
        if own and (what := excess_text([entry.test_case for entry in leg.known], called)):
            where = f" in leg {one_line(step.title_of(leg))}" if leg.name else ""
            yield InvalidInput(step.file.path, f", line {leg.known[0].line}: {KNOWN_KEY}{where} {what}")


def _no_case(step: Step, entry: KnownFailure, sets: Sequence[str]) -> InvalidInput:
    what = f"{KNOWN_KEY}: {entry.test_case} is no test case of test set {' or '.join(sets)}."
    return InvalidInput(step.file.path, f", line {entry.line}: {what}")


def _announce_end(step: Step, entry: KnownFailure, days: int) -> None:
    if days < 0:
        step.warn(
            f"{KNOWN_KEY}: the entry of {entry.test_case} expired on {entry.until}, so the test case counts again. "
            f"Remove it from {step.file.path}, or have a later day reviewed."
        )
    elif days <= ENDS_SOON:
        left = f"ends in {plural(days, 'day')}, on {entry.until}" if days else "ends today"
        step.host.annotate("notice", GATE_NAME, f"{KNOWN_KEY}: the entry of {entry.test_case} {left}. {entry.reason}")


def announce_passing(step: Step, judgement: Judgement) -> None:
    """Log which entries can go. That is never red: an intermittent failure may come back."""
    for case in judgement.known:
        if case.passes:
            entry, times = case.failure, plural(len(case.simulations), "conversation")
            step.host.annotate(
                "notice",
                GATE_NAME,
                f"{KNOWN_KEY}: {entry.test_case} passed in {times} of this run, and in the baseline. "
                f"Its entry in line {entry.line} of {step.file.path} can go.",
            )


def known_lines(step: Step) -> list[str]:
    """Return the lines of a plan."""
    lines = []
    for entry in _evaluated(step):
        names = {"metric": one_line(entry.metric), "leg": one_line(entry.leg)}
        about = "".join(f", {word} {name}" for word, name in names.items() if name)
        lines.append(f"  until {entry.until}  {entry.test_case}{about}: {entry.reason}")
    return ["Known failures, which decide nothing:", *lines] if lines else []
