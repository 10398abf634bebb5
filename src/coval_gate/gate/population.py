"""The rules about a run, its simulations and metrics: all are there and ended, enough completed. Pure.

A rule is one row: what breaks it, and how that reads. A run has a simulation for each variant, test case and iteration.
Coval does not state their number reliably: `output_ids` may be absent, and `progress` counts either test cases or
simulations. So the structure of the list counts as well: each variant must have every test case as often as any other.
A conversation beyond that is one more, and no further iteration of all test cases.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from coval_gate.base.text import plural, quoted
from coval_gate.coval.model import BASE, Run, RunResult, Simulation
from coval_gate.gate.checks import Check, Criterion, Problem, runs_text, whom
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.measure import Baseline, Measure, Requirement
from coval_gate.gate.problems import ERROR_REPORTED, NOT_ANSWERED, NOT_SETTLED, VARIANTS_MISSING
from coval_gate.gate.variants import Sample, Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance


class Judged(NamedTuple):
    """A run that completed. `attached`: as in `judge_outcome`."""

    result: RunResult
    variants: tuple[Variant, ...]
    criteria: Criteria
    attached: bool | None = None
    baseline: Baseline | None = None
    base: Baseline | None = None


class Tally(NamedTuple):
    """`value`: how many simulations meet the rule, of how many in `total`. `others`: the ids to blame if too few do."""

    value: int
    total: int
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Criterion):
    """`find` returns a problem, or how many simulations meet the rule. Without it, other code makes the check.

    `share`: of the simulations that must meet it, and at least one. `empty`: the sentence if there is no simulation.
    """

    kind: str
    sentence: str
    find: Callable[[Judged], Problem | Tally | None] | None = None
    verdict: Verdict = Verdict.ERROR
    counted: str = "{}"
    share: float = 1.0
    unmet: str = ""
    empty: str = ""
    about_run: bool = False
    user_defined: bool = False

    def checks(self, run: Judged) -> Iterator[Check]:
        found = self.find(run) if self.find else None
        if isinstance(found, Problem):
            yield Check(criterion=self, verdict=self.verdict, problem=found)
        elif found:
            missing = found.total - found.value
            measure = Measure(value=found.value, unit="simulations", count=found.value, missing=missing)
            if found.value < self.requirement(measure).bound:
                yield Check(criterion=self, verdict=self.verdict, measure=measure, simulations=found.others)

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", max(1, math.ceil(self.share * measure.total)))

    def measured(self, check: Check, measure: Measure) -> str:
        return Criterion.measured(self, check, measure) if measure.total else self.counted.format("none")

    def missed(self, check: Check, measure: Measure) -> str:
        total, facts = plural(measure.total, "simulation"), {"value": measure.value, "missing": measure.missing}
        unmet = self.unmet if measure.total else self.empty or self.unmet
        return unmet.format(total=total, **facts) + runs_text(check)


ALL_ANSWERED: Final = Rule(
    kind="simulations_answered",
    sentence="coval-gate attach answered every simulation",
    find=lambda run: NOT_ANSWERED if run.attached is False else None,  # the run shows nothing of the agent
)
METRICS_HAVE_TARGETS: Final = Rule(  # because a criterion depends on targets
    kind="metrics_have_targets", sentence="at least one metric has a target in Coval", user_defined=True
)
SAME_CASES: Final = Rule(  # so the conversations of a repetition can be pooled with the first run's
    kind="same_test_cases", sentence="the test cases are the same as in the first run"
)
ONLY_KNOWN: Final = Problem(
    kind="only_known_failures",
    short="only known failures",
    sentence="Every test case of the run is a known failure, so nothing was evaluated",
)


def _listed(result: RunResult) -> Problem | Tally:
    listed, total = len(result.simulations), max(len(result.simulations), result.expected)
    return Tally(listed, total) if total or not result.left_out else ONLY_KNOWN


ALL_LISTED: Final = Rule(
    kind="simulations_listed",
    sentence="Coval lists every simulation of the run",
    find=lambda run: _listed(run.result),
    counted="{} listed",
    unmet="Coval lists {value:,} of {total} of the run; the rest are unaccounted for",
    empty="The run has no simulations, so nothing was evaluated; check that its test set has active test cases, and "
    "that sub_sample_size or test_case_ids selects some of them",
)


def _missing_variants(run: Judged) -> Problem | None:
    launched, names = run.criteria.mutations, {variant.name for variant in run.variants}
    if not launched or (len(names) > launched and BASE in names) or not run.result.simulations:
        return None
    listed = plural(len(names - {BASE}), "mutation") + ("" if BASE in names else " and none of the agent itself")
    return VARIANTS_MISSING.of(launched=plural(launched, "mutation"), listed=listed)


VARIANTS_PRESENT: Final = Rule(
    kind="variants_present",
    sentence="Coval lists simulations of the agent and of every mutation",
    find=_missing_variants,
)
DATA_SETTLED: Final = Rule(  # or Coval listed the same for a while
    kind="data_settled",
    sentence="Coval's lists of simulations and metrics are complete",
    find=lambda run: None if run.result.settled else NOT_SETTLED,
)


def _ended(run: Judged) -> Tally:
    simulations = run.result.simulations
    running = tuple(simulation.id for simulation in simulations if not simulation.ended)
    return Tally(len(simulations) - len(running), len(simulations), running)


ALL_ENDED: Final = Rule(
    kind="simulations_ended",
    sentence="every simulation ended",
    find=_ended,
    counted="{} ended",
    unmet="The run completed, but {missing:,} of {total} had not ended when metrics_grace_time was over",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewFailed(Criterion):
    kind = "max_failed_simulations"
    about_each = True
    counted = "{} failed"
    informs = "max_failed_simulations allows every simulation to fail"
    allowance: Allowance

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        for variant in run.variants:
            criterion = cls(allowance=run.criteria.max_failed)
            measure = Measure(value=variant.failed, unit="simulations", count=variant.total)
            is_met = variant.failed <= criterion.allowance.of(variant.total)
            failed = () if is_met else tuple(criterion.missing_it(variant, None, measure))
            verdict = Verdict.PASSED if is_met else Verdict.FAILED  # one that passed is shown, too
            yield Check(criterion=criterion, verdict=verdict, measure=measure, simulations=failed).on(variant)

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement("<=", self.allowance.of(measure.total))

    def can_fail(self, measure: Measure) -> bool:
        return self.allowance.of(measure.total) < measure.total

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        return (simulation.id for simulation in variant.simulations if not simulation.completed)

    @property
    def text(self) -> str:
        allowance = self.allowance
        if not allowance.most:
            return "no simulation failed"
        if allowance.percent:
            return f"at most {allowance} of the simulations failed"
        return f"at most {plural(int(allowance.most), 'simulation')} failed"

    def missed(self, check: Check, measure: Measure) -> str:
        failed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
        where = f"{whom(check)}{runs_text(check)}"
        return f"{failed} did not complete{where}; max_failed_simulations allows {self.allowance}"


ANY_COMPLETED: Final = Rule(  # however many max_failed_simulations allows to fail
    kind="any_completed",
    sentence="at least one simulation completed",
    find=lambda run: Tally(sum(len(variant.completed) for variant in run.variants), len(run.result.simulations)),
    verdict=Verdict.FAILED,
    counted="{} completed",
    share=0.0,
    unmet="No simulation completed",
)


NO_ERROR_REPORTED: Final = Rule(
    kind="no_error_reported",
    sentence="Coval reports no error for the run",
    find=lambda run: ERROR_REPORTED.of(words=words.rstrip(".")) if (words := run.result.reported_error) else None,
    verdict=Verdict.FAILED,
    about_run=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPresent(Criterion):
    """The run has exactly one metric with the id or name `reference`."""

    kind = "metric_present"
    reference: str

    @property
    def text(self) -> str:
        return f"the run has the metric {quoted(self.reference)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricHasValues(Criterion):
    """At most `most` completed simulations lack a value of `metric`: the `allowance` minus failed simulations."""

    kind = "metric_has_values"
    counted = "missing on {}"
    metric: str
    allowance: Allowance
    most: int

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement("<=", self.most)

    @property
    def text(self) -> str:
        most = self.most
        where = f"all but {plural(most, 'completed simulation')}" if most else "every completed simulation"
        return f"{self.metric} has a value on {where}"

    def missed(self, check: Check, measure: Measure) -> str:
        lacking = f"{measure.value:,.0f} of {plural(measure.total, 'completed simulation')}{whom(check)}"
        return f"{self.metric} has no value on {lacking}; max_failed_simulations allows {self.allowance}"


# What is missing makes the rules after it moot.
RULES: Final = (
    (VARIANTS_PRESENT,),
    (ALL_LISTED,),
    (DATA_SETTLED, ALL_ENDED),
    (FewFailed, ANY_COMPLETED, NO_ERROR_REPORTED),
)


def population_checks(run: Judged) -> tuple[Check, ...]:
    for rules in RULES:
        if checks := tuple(check for rule in rules for check in rule.checks(run)):
            return checks
    return ()


class Population(NamedTuple):
    """`certain`: the run cannot have more simulations than `expected`."""

    expected: int
    certain: bool


def population(run: Run, simulations: Sequence[Simulation], criteria: Criteria) -> Population:
    variants = max(1 + criteria.mutations, len({simulation.mutation for simulation in simulations}))
    cases, extra = {simulation.test_case_id for simulation in simulations}, 0
    per_case = criteria.iterations
    if "" in cases:  # the list does not name all test cases
        per_case = per_case or 1
        most = max(Counter(simulation.mutation for simulation in simulations).values())
        per_variant = max(criteria.cases, math.ceil(most / per_case)) * per_case
    else:
        times = Counter(simulation.conversation for simulation in simulations)
        if not per_case:
            # If some test cases are listed more often than others, the list is incomplete, unless Coval's count is it.
            counted = len(run.output_ids) if run.output_ids else run.progress.total if run.progress else 0
            per_case = (min if counted == times.total() else max)(times.values(), default=1)
        extra = sum(max(0, number - per_case) for number in times.values())
        per_variant = max(criteria.cases, len(cases)) * per_case
    # Coval does not document whether `output_ids` are simulation ids; if one of them is, all are.
    ids = {simulation.id for simulation in simulations}
    ids.update(chain.from_iterable(metric.values for metric in run.metrics))
    outputs = set(run.output_ids or ())
    named = max(len(outputs), len(ids | outputs if outputs & ids else ids))
    counted = run.progress.total if run.progress else 0
    per_case *= variants
    # A count that is below the number listed, or does not divide evenly, is a count of test cases.
    counts_cases = counted < len(simulations) or (counted - extra) % per_case != 0
    implied = variants * per_variant + extra
    expected = max(named, implied, counted * per_case + extra if counts_cases else counted)
    if run.output_ids:
        return Population(expected, len(run.output_ids) == expected)
    is_known = criteria.cases > 0 or (counted > 0 and (per_case == 1 or counts_cases))
    return Population(expected, is_known and criteria.iterations is not None)  # None: the run was launched elsewhere
