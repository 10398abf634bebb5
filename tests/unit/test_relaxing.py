"""One threshold may turn another rule off only if it decides, names a number and points the right way."""

import operator as compare
from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

import pytest

from baselines import NO_BASELINE, also, baseline_of, run_of
from coval_gate.base.errors import InputError
from coval_gate.ci.host import Context
from coval_gate.coval.model import RunResult, Target
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.measure import Baseline
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from support import environ_of, read_inputs

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": compare.lt, "<=": compare.le, ">": compare.gt, ">=": compare.ge, "==": compare.eq, "!=": compare.ne,
}  # fmt: skip
RELATIVE: Final = ("baseline", "baseline * 9", "baseline + {}", "base")
YES: Final = Target(operator="in", values=("YES",))
CASES: Final = [f"case{place}" for place in range(10)]


def run_with(run_id: str, *, missing: int = 0, off_target: int = 0) -> RunResult:
    """Return a run with a latency, some values of which are missing, and a target, which some conversations miss."""
    latency = {case: [None if place < missing else 1.0] for place, case in enumerate(CASES)}
    resolved = {case: ["NO" if place < off_target else "YES"] for place, case in enumerate(CASES)}
    latency_run = run_of(run_id, latency, name="Latency", metric_id="l")
    return also(latency_run, run_of(run_id, resolved, target=YES))


def criteria_of(lines: str, *, targets: bool = False, accept: bool = False) -> Criteria:
    return Criteria(
        max_failed=Allowance(0), thresholds=parse_thresholds(lines), use_metric_targets=targets, accept=accept
    )


def lines_of(aggregate: str, numbers: tuple[str, ...], change: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each threshold on an aggregate, with its operator, its bound and whether it is advisory."""
    for sign, bound, mark in product(OPERATORS, (*numbers, *RELATIVE), ("", "? ")):
        bound = bound.format(change)
        yield f"{mark}{aggregate} {sign} {bound}", sign, bound, bool(mark)


def circumstances(bound: str, earlier: RunResult) -> Iterator[tuple[Baseline | None, bool]]:
    """Yield each baseline that a threshold may have, and whether a person accepted the run."""
    baselines = (None, NO_BASELINE, baseline_of(earlier)) if bound.startswith("base") else (None,)
    yield from product(baselines, (False, True))


@pytest.mark.parametrize("metric", ["Latency", '"LATENCY "', "l", "Resolved"])
def test_only_a_number_that_limits_missing_values_of_the_metric_replaces_the_limit(metric: str) -> None:
    now, earlier = run_with("now", missing=5), run_with("old", missing=5)
    missing, wrong = 5 if metric != "Resolved" else 0, []
    for line, sign, bound, advisory in lines_of(f"{metric}: missing", ("4", "5", "6"), "5"):
        sets = bound.isdigit() and sign in ("<", "<=", "==") and not advisory and metric != "Resolved"
        expected = sets and OPERATORS[sign](missing, float(bound))
        for baseline, accept in circumstances(bound, earlier):
            judgement = judge(now, criteria_of(f"Latency: avg < 9\n{line}", accept=accept), baseline=baseline)
            if judgement.passes_gate is not expected:
                wrong.append((line, baseline and baseline.runs, accept, judgement.verdict))
    assert not wrong


def test_only_a_share_that_is_asked_for_replaces_that_every_simulation_meets_its_targets() -> None:
    now, earlier = run_with("now", off_target=1), run_with("old", off_target=1)
    wrong = []
    for line, sign, bound, advisory in lines_of("pass_rate", ("0%", "33%", "90%", "95%", "100%"), "5pp"):
        is_number, share = bound.endswith("%"), float(bound.rstrip("%")) / 100 if bound.endswith("%") else 0.0
        sets = is_number and sign in (">", ">=") and not advisory and (sign, share) != (">=", 0.0)
        expected = sets and OPERATORS[sign](0.9, share)
        for baseline, accept in circumstances(bound, earlier):
            judgement = judge(now, criteria_of(line, targets=True, accept=accept), baseline=baseline)
            if judgement.passes_gate is not expected:
                wrong.append((line, baseline and baseline.runs, accept, judgement.verdict))
        is_error = not (sets or advisory or (sign, bound) == ("==", "100%"))
        if refused(line) is not is_error or refused(f"{line}\npass_rate >= 80%"):
            wrong.append((line, None, False, None))
    assert not wrong


def refused(lines: str) -> bool:
    """Return whether thresholds are refused beside targets before the launch."""
    try:
        read_inputs(environ_of(thresholds=lines, use_metric_targets="true", baseline="tag:t"), Context())
    except InputError as error:
        return any("cannot be combined with use_metric_targets" in problem for problem in error.problems)
    return False
