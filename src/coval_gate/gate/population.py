"""The rules about the simulations of a run: all are listed and ended, enough completed, none was left out. Pure.

A rule is one class: what it requires, how it is measured, and how it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import plural
from coval_gate.coval.model import BASE
from coval_gate.gate import clauses
from coval_gate.gate.checks import Check, check_on
from coval_gate.gate.kinds import Criterion
from coval_gate.gate.measure import Measure, Requirement
from coval_gate.gate.problems import ERROR_REPORTED, NOT_ANSWERED, NOT_SETTLED, VariantsMissing
from coval_gate.gate.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coval_gate.coval.model import RunResult
    from coval_gate.gate.criteria import Criteria
    from coval_gate.gate.variants import Sample, Variant
    from coval_gate.inputs.fields import Allowance


class Judged(NamedTuple):
    """A run that completed. `attached`: whether a job answered it; None if that is no job's to do."""

    result: RunResult
    variants: Sequence[Variant]
    criteria: Criteria
    attached: bool | None = None


class Rule(Criterion):
    __slots__ = ()

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        """Yield how a run misses the rule; nothing where it is met, unless reports show it there, too."""
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class AllAnswered(Rule):
    """A job answered every simulation of a run whose agent is a process of the user's."""

    kind: ClassVar = "simulations_answered"
    sentence: ClassVar = "coval-gate attach answered every simulation"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        if run.attached is False:  # the run shows nothing of the agent
            yield Check(criterion=cls(), verdict=Verdict.ERROR, problem=NOT_ANSWERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsPresent(Rule):
    """The agent itself and each of the `mutations` that the run was launched with have simulations."""

    kind: ClassVar = "variants_present"
    mutations: int

    @property
    def text(self) -> str:
        return f"Coval lists simulations of the agent and {plural(self.mutations, 'mutation')}"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        launched, names = run.criteria.mutations, {variant.name for variant in run.variants}
        if run.result.simulations and launched and (len(names) < 1 + launched or BASE not in names):
            missing = VariantsMissing(launched=launched, mutations=len(names - {BASE}), agent=BASE in names)
            yield Check(criterion=cls(mutations=launched), verdict=Verdict.ERROR, problem=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllListed(Rule):
    """Coval lists every simulation of the run, and at least one. The total of the measure is how many there must be."""

    kind: ClassVar = "simulations_listed"
    sentence: ClassVar = "Coval lists every simulation of the run"
    counted: ClassVar = "listed"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        listed, expected = len(run.result.simulations), run.result.expected
        if listed < max(1, expected):
            measure = Measure(value=listed, unit="simulations", count=listed, missing=expected - listed)
            yield Check(criterion=cls(), verdict=Verdict.ERROR, measure=measure)

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", max(1, measure.total))

    def measured(self, check: Check, measure: Measure) -> str:
        return Criterion.measured(self, check, measure) if measure.value else "none listed"

    def missed(self, check: Check, measure: Measure) -> str:
        if not measure.total:
            return (
                "The run has no simulations, so nothing was evaluated; check that its test set has active test cases, "
                "and that sub_sample_size or test_case_ids selects some of them"
            )
        listed = f"{measure.value:,.0f} of {plural(measure.total, 'simulation')}"
        return f"Coval lists {listed} of the run; the rest are unaccounted for"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettled(Rule):
    """Coval has no further simulations and metrics of the run, or listed the same for a while."""

    kind: ClassVar = "data_settled"
    sentence: ClassVar = "Coval's lists of simulations and metrics are complete"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        if not run.result.settled:
            yield Check(criterion=cls(), verdict=Verdict.ERROR, problem=NOT_SETTLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllEnded(Rule):
    kind: ClassVar = "simulations_ended"
    sentence: ClassVar = "every simulation ended"
    counted: ClassVar = "ended"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        if running := tuple(simulation.id for simulation in run.result.simulations if not simulation.ended):
            ended = len(run.result.simulations) - len(running)
            measure = Measure(value=ended, unit="simulations", count=ended, missing=len(running))
            yield Check(criterion=cls(), verdict=Verdict.ERROR, measure=measure, simulations=running)

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", measure.total)

    def missed(self, check: Check, measure: Measure) -> str:
        running = f"{measure.missing:,} of {plural(measure.total, 'simulation')}"
        return f"The run completed, but {running} had not ended when metrics_grace_time was over"


@dataclass(frozen=True, slots=True, kw_only=True)
class FewFailed(Rule):
    """No more simulations failed than `max_failed_simulations` allows."""

    kind: ClassVar = "max_failed_simulations"
    counted: ClassVar = "failed"
    informs: ClassVar = "max_failed_simulations lets every simulation fail"
    allowance: Allowance

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        for variant in run.variants:
            criterion = cls(allowance=run.criteria.max_failed)
            measure = Measure(value=variant.failed, unit="simulations", count=variant.total)
            if variant.failed > criterion.allowance.of(variant.total):
                failed = tuple(criterion.missing_it(variant, None, measure))
                yield check_on(variant, criterion, Verdict.FAILED, measure=measure, simulations=failed)
            else:
                yield check_on(variant, criterion, Verdict.PASSED, measure=measure)

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
        where = f"{clauses.whom(check)}{clauses.runs_text(check)}"
        return f"{failed} did not complete{where}; max_failed_simulations allows {self.allowance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCompleted(Rule):
    """At least one simulation completed, however many `max_failed_simulations` allows to fail."""

    kind: ClassVar = "any_completed"
    sentence: ClassVar = "at least one simulation completed"
    counted: ClassVar = "completed"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        if not any(variant.completed for variant in run.variants):
            measure = Measure(value=0, unit="simulations", count=len(run.result.simulations))
            yield Check(criterion=cls(), verdict=Verdict.FAILED, measure=measure)

    def requirement(self, measure: Measure) -> Requirement:
        return Requirement(">=", 1)

    def missed(self, check: Check, measure: Measure) -> str:
        return f"No simulation completed{clauses.runs_text(check)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoErrorReported(Rule):
    kind: ClassVar = "no_error_reported"
    of_run: ClassVar = True
    sentence: ClassVar = "Coval reports no error for the run"

    @classmethod
    def checks(cls, run: Judged) -> Iterator[Check]:
        if error := run.result.reported_error:
            yield Check(criterion=cls(), verdict=Verdict.FAILED, problem=ERROR_REPORTED.of(words=error.rstrip(".")))


@dataclass(frozen=True, slots=True, kw_only=True)
class SameCases(Rule):
    """A repetition has the same test cases as the first run, so their conversations can be pooled."""

    kind: ClassVar = "same_test_cases"
    sentence: ClassVar = "the test cases are the same as in the first run"


# What is missing makes the rules after it moot.
RULES: Final = (
    (VariantsPresent,),
    (AllListed,),
    (DataSettled, AllEnded),
    (FewFailed, AnyCompleted, NoErrorReported),
)


def population_checks(run: Judged) -> tuple[Check, ...]:
    for rules in RULES:
        if checks := tuple(check for rule in rules for check in rule.checks(run)):
            return checks
    return ()
