"""Simulated agents with known truth, and their runs as the gate gets them, to count the errors of its verdicts.

A case is easy or hard, and its conversations vary around that. `icc`, the intraclass correlation, is the share of the
variance due to the case: with 0, cases do not matter; with 1, an agent always behaves the same in a case. These
distributions are assumptions: rates are beta-binomial, latencies lognormal, scores rounded normal numbers from 1 to 5.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, product
from random import Random
from typing import Any, Final, NamedTuple

from coval_gate.coval.model import COMPLETED, Metric, Run, RunResult, Simulation, Value
from coval_gate.features.comparisons.changes import ValuePair
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria, ThresholdHolds
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Baseline, BaselineRun, Trend
from coval_gate.gate.statistics import Hits, Values
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds

Pairs = Sequence[HitPair] | Sequence[ValuePair]

SOURCE: Final = BaselineSource(kind="branch", name="main")
SCORES: Final = (1.0, 5.0)
SCORE_SPREAD: Final = 0.7  # standard deviation before rounding


class Size(NamedTuple):
    """The number of cases of a run, and of conversations of each case in a run of the baseline (`base`) and now.

    `runs`: how many runs the baseline pools.
    """

    cases: int
    base: int
    now: int
    runs: int = 1

    def __str__(self) -> str:
        return f"{self.cases} cases, {self.runs}x{self.base}/{self.now}"

    @property
    def before(self) -> int:
        """The conversations of each case in all runs of the baseline."""
        return self.base * self.runs


def rates(rng: Random, size: Size, truth: float, icc: float, *, now: float | None = None) -> list[HitPair]:
    """Return pairs of an agent with the rate `truth` before, and the rate `now` (the same if None)."""
    outcomes, cumulated = _outcomes(size.before, size.now, truth, truth if now is None else now, icc)
    return rng.choices(outcomes, cum_weights=cumulated, k=size.cases)


def latencies(rng: Random, size: Size, sigma: float, icc: float, *, slower: float = 1.0) -> list[ValuePair]:
    """Return pairs of lognormal latencies with a median of 1 s; now they are `slower` times as long."""
    pairs = []
    for _ in range(size.cases):
        case = rng.gauss(0.0, sigma * math.sqrt(icc))
        within = sigma * math.sqrt(1.0 - icc)
        now = [slower * math.exp(case + rng.gauss(0.0, within)) for _ in range(size.now)]
        pairs.append(ValuePair(now, [math.exp(case + rng.gauss(0.0, within)) for _ in range(size.before)]))
    return pairs


def scores(rng: Random, size: Size, centre: float, icc: float, *, worse: float = 0.0) -> list[ValuePair]:
    """Return pairs of scores around `centre`, now lower by `worse`."""
    pairs = []
    for _ in range(size.cases):
        case = rng.gauss(0.0, SCORE_SPREAD * math.sqrt(icc))
        within = SCORE_SPREAD * math.sqrt(1.0 - icc)
        now = [_score(centre - worse + case + rng.gauss(0.0, within)) for _ in range(size.now)]
        pairs.append(ValuePair(now, [_score(centre + case + rng.gauss(0.0, within)) for _ in range(size.before)]))
    return pairs


def mean_score(centre: float) -> float:
    """Return the mean of the scores of an agent around `centre`."""

    def below(limit: float) -> float:
        return math.erfc((centre - limit) / SCORE_SPREAD / math.sqrt(2.0)) / 2.0

    low, high = SCORES
    return low + sum(1.0 - below(step + 0.5) for step in range(int(low), int(high)))


def _score(value: float) -> float:
    low, high = SCORES
    return min(max(float(round(value)), low), high)


@lru_cache
def _outcomes(
    conversations_before: int, conversations: int, truth: float, now: float, icc: float
) -> tuple[list[HitPair], list[float]]:
    """Return all possible outcomes of a case, and their cumulative probabilities.

    A case that was hard before is hard now, too: its rate shrinks with the mean.
    """
    pairs, chances = [], []
    better = max(truth, now)
    for hits, before in product(range(conversations + 1), range(conversations_before + 1)):
        pairs.append(HitPair(Hits(hits, conversations), Hits(before, conversations_before)))
        misses, misses_before = conversations - hits, conversations_before - before
        ways = math.comb(conversations, hits) * math.comb(conversations_before, before)
        scale = (now / better) ** hits * (truth / better) ** before
        chance = 0.0
        # The better agent's rate c varies over cases. A miss at the rate f c has the probability (1 - c) + (1 - f) c.
        for own, own_before in product(range(misses + 1), range(misses_before + 1)):
            more = math.comb(misses, own) * (1 - now / better) ** own
            more *= math.comb(misses_before, own_before) * (1 - truth / better) ** own_before
            lost = own + own_before
            chance += more * _moment(better, icc, hits + before + lost, misses + misses_before - lost)
        chances.append(ways * scale * chance)
    return pairs, list(accumulate(chances))


def _moment(centre: float, icc: float, ups: int, downs: int) -> float:
    """Return the mean of c^ups (1 - c)^downs for a beta variable c with this mean and intraclass correlation."""
    if icc == 0.0:
        return centre**ups * (1.0 - centre) ** downs
    spread = (1.0 - icc) / icc
    a, b = centre * spread, (1.0 - centre) * spread
    return math.exp(_log_beta(a + ups, b + downs) - _log_beta(a, b))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


# Runs, and how the gate judges them


def decide(
    thresholds: str, metrics: Mapping[str, Pairs], confidence: float | None, earlier: int = 1, rng: Random | None = None
) -> Judgement:
    """Judge the later run of pairs by the `earlier` ones. `metrics`: pairs by name, all of the same cases."""
    now, baseline = runs(metrics, earlier, rng)
    return judge(now, criteria(thresholds, confidence), baseline=baseline)


def runs(
    metrics: Mapping[str, Pairs], earlier: int = 1, rng: Random | None = None, first: int = 0
) -> tuple[RunResult, Baseline]:
    """Return the later run of pairs, and the earlier ones as its baseline; `rng` deals the conversations to several."""
    before = {name: [dealt(pair.base, earlier, rng) for pair in pairs] for name, pairs in metrics.items()}
    return (
        run("now", {name: [pair.now for pair in pairs] for name, pairs in metrics.items()}, first),
        baseline_of(
            [
                run(f"base{place}", {name: [case[place] for case in cases] for name, cases in before.items()}, first)
                for place in range(earlier)
            ]
        ),
    )


def dealt(case: Hits | Values, runs: int, rng: Random | None) -> Sequence[Any]:
    """Distribute the conversations of a case over so many runs."""
    if runs == 1 or rng is None:
        return [case]
    if not isinstance(case, Hits):
        return [case[place::runs] for place in range(runs)]
    hits = rng.sample([1] * case.hits + [0] * (case.size - case.hits), case.size)
    return [Hits(sum(hits[place::runs]), case.size // runs) for place in range(runs)]


def baseline_of(earlier: Sequence[RunResult]) -> Baseline:
    """Return runs as a baseline."""
    runs = (BaselineRun(run=Run(run_id=result.run_id, status=COMPLETED), result=result) for result in earlier)
    return Baseline(source=SOURCE, runs=tuple(runs))


def hits_by_run(pairs: Sequence[HitPair], size: Size, rng: Random) -> list[list[int]]:
    """Return the hits of each test case in each run, the judged one last."""
    return [[*(run.hits for run in dealt(pair.base, size.runs, rng)), pair.now.hits] for pair in pairs]


def run(run_id: str, metrics: Mapping[str, Sequence[Hits] | Sequence[Values]], first: int = 0) -> RunResult:
    """Return a run in which the conversations of each case, from the `first`, have these values of the `metrics`."""
    drawn = {name: [_values(case) for case in cases] for name, cases in metrics.items()}
    simulations = _simulations(run_id, tuple(map(len, next(iter(drawn.values())))), first)
    measured = tuple(
        Metric(
            id=name,
            name=name,
            values={
                simulation.id: value
                for simulation, value in zip(simulations, (value for case in cases for value in case), strict=True)
            },
        )
        for name, cases in drawn.items()
    )
    return RunResult(run_id=run_id, expected=len(simulations), simulations=simulations, metrics=measured)


def is_red(judgement: Judgement) -> bool:
    """Return whether a threshold fails, under any policy for inconclusive verdicts and missing values."""
    return any(check.verdict is Verdict.FAILED for check in checks(judgement))


def is_called(judgement: Judgement, trend: Trend) -> bool:
    """Return whether a step reports this trend for any threshold."""
    return any(check.comparison is not None and check.comparison.trend == trend for check in checks(judgement))


def checks(judgement: Judgement) -> list[Check]:
    """Return the checks of thresholds."""
    return [check for check in judgement.checks if isinstance(check.criterion, ThresholdHolds)]


@lru_cache
def criteria(thresholds: str, confidence: float | None) -> Criteria:
    """Return the criteria of a step that has thresholds only."""
    return Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), confidence=confidence)


def _values(case: Hits | Values) -> Sequence[Value]:
    if isinstance(case, Hits):
        return ["YES"] * case.hits + ["NO"] * (case.size - case.hits)
    return case


@lru_cache
def _simulations(run_id: str, sizes: tuple[int, ...], first: int) -> tuple[Simulation, ...]:
    return tuple(
        Simulation(id=f"{run_id}.{case}.{number}", status=COMPLETED, test_case_id=case_id(case))
        for case, size in enumerate(sizes, first)
        for number in range(size)
    )


def case_id(place: int) -> str:
    """Return the id of the test case at this place, from 0."""
    return f"case{place:04}"
