"""A list that lacks simulations never looks complete nor passes."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Metric, Run, RunProgress, RunResult, Simulation, Target
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.population import Population, population
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds


def simulations(cases: int, iterations: int = 1, variants: int = 1, *, named: bool = True) -> list[Simulation]:
    return [
        Simulation(
            id=f"s{variant}-{case}-{iteration}",
            status="COMPLETED",
            test_case_id=f"c{case}" if named else "",
            mutation=f"m{variant}" if variant else "",
        )
        for variant, case, iteration in product(range(variants), range(cases), range(iterations))
    ]


def criteria(thresholds: str = "", *, iterations: int | None = 1, **given: Any) -> Criteria:
    return Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), iterations=iterations, **given)


def run(progress: int | None = None, **changes: Any) -> Run:
    counted = None if progress is None else RunProgress(total=progress, completed=progress)
    return Run(run_id="r1", status="COMPLETED", progress=counted, **changes)


UNLISTED = (Metric(id="m", name="m", values={"x": 1.0}),)
# A test case that occurs twice is one simulation more.
AGAIN = Simulation(id="again", status="COMPLETED", test_case_id="c3")
TWICE, TWICE_OF_TWO = [*simulations(10), AGAIN], [*simulations(10, 2), AGAIN]
NAMED = tuple(simulation.id for simulation in TWICE)
UNKNOWN = criteria(iterations=None)


@pytest.mark.parametrize(
    ("shown", "listed", "launched", "expected"),
    [
        (run(10), simulations(10), criteria(), Population(10, certain=True)),
        (run(None), simulations(10), criteria(), Population(10, certain=False)),
        (run(4), simulations(4, 3), criteria(iterations=3), Population(12, certain=True)),
        (run(12), simulations(4, 3), criteria(iterations=3), Population(12, certain=False)),
        (run(None), simulations(4), criteria(iterations=3), Population(12, certain=False)),
        (run(None), simulations(4), criteria(cases=5), Population(5, certain=True)),
        (run(4), simulations(4), criteria(mutations=1), Population(8, certain=False)),
        (run(4), simulations(4, 1, 2)[:5], criteria(mutations=1), Population(8, certain=True)),
        (run(None), simulations(4, 1, 2)[:5], UNKNOWN, Population(8, certain=False)),
        (run(None), simulations(4, 2, named=False)[:5], criteria(iterations=2), Population(6, certain=False)),
        (run(None), [], criteria(), Population(1, certain=False)),
        (run(None, output_ids=("a", "b")), [], criteria(), Population(2, certain=True)),
        (run(3, metrics=UNLISTED), simulations(3), criteria(), Population(4, certain=True)),
        (run(11), TWICE, criteria(), Population(11, certain=True)),
        (run(10), TWICE, criteria(), Population(11, certain=True)),
        (run(10), TWICE_OF_TWO, criteria(iterations=2), Population(21, certain=True)),
        (run(21), TWICE_OF_TWO, criteria(iterations=2), Population(21, certain=False)),
        (run(10), TWICE_OF_TWO[1:], criteria(iterations=2), Population(21, certain=True)),
        (run(11), TWICE, UNKNOWN, Population(11, certain=False)),
        (run(10), TWICE, UNKNOWN, Population(20, certain=False)),  # a part of 20 may look like this
        (run(None), TWICE, UNKNOWN, Population(20, certain=False)),
        (run(None, output_ids=NAMED[1:]), TWICE[1:], UNKNOWN, Population(10, certain=True)),
    ],
)
def test_population(shown: Run, listed: list[Simulation], launched: Criteria, expected: Population) -> None:
    found = population(shown, listed, launched)
    assert (max(1, found.expected), found.certain) == expected


@given(data=st.data(), cases=st.integers(1, 5), iterations=st.integers(1, 3), variants=st.integers(1, 3))
def test_whole_list_is_complete_and_a_part_never_looks_so(
    data: st.DataObject, cases: int, iterations: int, variants: int
) -> None:
    everything = simulations(cases, iterations, variants, named=data.draw(st.booleans()))
    listed = data.draw(st.lists(st.sampled_from(everything), unique_by=lambda simulation: simulation.id))
    total = data.draw(st.sampled_from([None, cases, len(everything)]))
    known = criteria(iterations=iterations, mutations=variants - 1)
    assert population(run(total), everything, data.draw(st.sampled_from([known, UNKNOWN]))).expected == len(everything)
    output_ids = data.draw(st.sampled_from([(), tuple(simulation.id for simulation in everything)]))
    chosen = criteria(iterations=iterations, mutations=variants - 1, cases=data.draw(st.sampled_from([0, cases])))
    found = population(run(total, output_ids=output_ids), listed, data.draw(st.sampled_from([chosen, UNKNOWN])))
    assert (found.certain and len(listed) >= found.expected) <= (len(listed) == len(everything))


RATES = "\n".join(f"{name} >= 100%" for name in ("pass_rate", "completed_rate", "Resolved: rate(YES)"))


def result_of(expected: int, passed: int, *, failed: int = 0, valueless: int = 0, missed: int = 0) -> RunResult:
    """Return the result of a run that lists so many simulations of `expected`."""
    answers = ["X"] * failed + [""] * valueless + ["NO"] * missed + ["YES"] * passed
    listed = [
        simulation._replace(status="FAILED" if answer == "X" else "COMPLETED")
        for simulation, answer in zip(simulations(len(answers)), answers, strict=True)
    ]
    values = {one.id: answer for one, answer in zip(listed, answers, strict=True) if answer in ("YES", "NO")}
    metric = Metric(id="m1", name="Resolved", values=values, target=Target(operator="in", values=("YES",)))
    return RunResult(run_id="r1", expected=expected, simulations=tuple(listed), metrics=(metric,))


@pytest.mark.parametrize("confidence", [0.95, None])
def test_what_is_not_listed_never_passes(confidence: float | None) -> None:
    """All of the six that are listed passed."""
    lines = "pass_rate >= 90%\ncompleted_rate >= 90%\nfailed == 0\nResolved: rate(YES) >= 90%\nResolved: missing == 0"
    judgement = judge(result_of(10, 6), criteria(lines, confidence=confidence))
    assert [check.criterion for check in judgement.checks if check.criterion.user_defined and check.passed] == []
    assert judgement.verdict == "error"
    measures = [
        check.measure for check in judge(result_of(16, 6, failed=2, valueless=1, missed=3), criteria(RATES)).checks
    ]
    assert [(one.hits, one.total) for one in measures[-3:] if one] == [(6, 16), (10, 16), (6, 16)]


def test_each_variant_counts_its_own_simulations_that_are_not_listed() -> None:
    listed = (*simulations(4), *(one._replace(mutation="Fast", id="fast") for one in simulations(1)))
    result = RunResult(run_id="r1", expected=12, simulations=listed)
    checks = judge(result, criteria("completed_rate >= 100%", mutations=2)).checks
    measures = [check.measure for check in checks if check.criterion.user_defined]
    assert [(measure.hits, measure.total) for measure in measures if measure] == [(4, 4), (1, 4)]
