"""One threshold may turn another rule off only if it decides, names a number and points the right way."""

import pytest

from baselines import NO_BASELINE, also, baseline_of, run_of
from coval_gate.base.errors import InputError
from coval_gate.ci.host import Context
from coval_gate.coval.model import RunResult, Target
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from support import environ_of, read_inputs

RELATIVE = ("baseline", "baseline * 9", "base")


def run_with(run_id: str, *, missing: int = 0, off_target: int = 0) -> RunResult:
    """Return a run with a latency, some values of which are missing, and a target, which some conversations miss."""
    cases = [f"case{place}" for place in range(10)]
    latency = {case: [None if place < missing else 1.0] for place, case in enumerate(cases)}
    resolved = {case: ["NO" if place < off_target else "YES"] for place, case in enumerate(cases)}
    latency_run = run_of(run_id, latency, name="Latency", metric_id="l")
    return also(latency_run, run_of(run_id, resolved, target=Target(operator="in", values=("YES",))))


def passes(lines: str, *, targets: bool = False, **of_run: int) -> bool:
    """Return whether a run passes, whatever its baseline is, and whether or not a person accepted it."""
    verdicts = set()
    for baseline in (None, NO_BASELINE, baseline_of(run_with("old", **of_run))):
        for accept in (False, True):
            criteria = Criteria(
                max_failed=Allowance(0), thresholds=parse_thresholds(lines), use_metric_targets=targets, accept=accept
            )
            verdicts.add(judge(run_with("now", **of_run), criteria, baseline=baseline).passes_gate)
    (same,) = verdicts
    return same


@pytest.mark.parametrize(
    ("line", "sets"),
    [
        *((f"{metric}: missing {bound}", True)
          for metric in ("Latency", '"LATENCY "', "l") for bound in ("<= 5", "< 6", "== 5")),
        *((f"Latency: missing {bound}", False)
          for bound in ("<= 4", "< 5", "== 4", ">= 5", ">= 0", "> 4", "!= 4", *(f"<= {name}" for name in RELATIVE),
                        *(f">= {name}" for name in RELATIVE), "<= baseline + 5")),
        ("? Latency: missing <= 5", False),
        ("Resolved: missing <= 5", False),
    ],
)  # fmt: skip
def test_only_a_number_that_limits_missing_values_of_the_metric_replaces_the_limit(line: str, *, sets: bool) -> None:
    assert passes(f"Latency: avg < 9\n{line}", missing=5) is sets


@pytest.mark.parametrize(
    ("line", "sets", "is_refused"),
    [
        *((f"pass_rate {bound}", True, False) for bound in (">= 33%", ">= 90%", "> 0%", "> 33%")),
        *((f"pass_rate {bound}", False, False) for bound in (">= 95%", "> 90%", ">= 100%", "== 100%")),
        *((f"pass_rate {bound}", False, True)
          for bound in (">= 0%", "<= 95%", "< 95%", "== 90%", "!= 33%", *(f">= {name}" for name in RELATIVE),
                        "<= baseline", ">= baseline - 5pp", ">= baseline + 5pp")),
        ("? pass_rate >= 33%", False, False),
    ],
)  # fmt: skip
def test_only_an_explicit_share_replaces_that_every_simulation_meets_its_targets(
    line: str, *, sets: bool, is_refused: bool
) -> None:
    assert passes(line, targets=True, off_target=1) is sets
    for lines, expected in ((line, is_refused), (f"{line}\npass_rate >= 80%", False)):
        try:
            read_inputs(environ_of(thresholds=lines, use_metric_targets="true", baseline="tag:t"), Context())
            problems: tuple[str, ...] = ()
        except InputError as error:
            problems = error.problems
        assert any("cannot be combined with use_metric_targets" in problem for problem in problems) is expected
