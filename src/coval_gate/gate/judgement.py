"""Judgements: the verdict on a run or a step, its cause, and the checks behind it. Pure and total."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.base.errors import GateError
from coval_gate.coval.model import CANCELLED, COMPLETED, ERROR
from coval_gate.gate.checks import Check
from coval_gate.gate.measure import Baseline, Totals
from coval_gate.gate.variants import Variant
from coval_gate.gate.verdict import (
    COMPLETED_WITH_FAILURES,
    GRAVITY,
    LAUNCHED_ONLY,
    LEG_GRAVITY,
    TIMEOUT,
    Aborted,
    Cancellation,
    Cause,
    Completed,
    Errored,
    Launched,
    NotCompleted,
    StepInterrupted,
    TimedOut,
    Together,
    Unanswered,
    Unfinished,
    Verdict,
)

if TYPE_CHECKING:
    from coval_gate.features.known_failures.judge import KnownCase
    from coval_gate.features.spending.sequential import Look


class LegsSummary(NamedTuple):
    """`decisive`: the leg whose judgement decides, or all together; empty where something else does, such as a signal.

    `run_ids`: the first runs of all legs and their bases. `others`: how many legs fail the step beside that one.
    `acceptable`: a person may accept these runs. `title`: what people read in place of the decisive leg's name.
    """

    total: int
    decisive: str
    run_ids: tuple[str, ...] = ()
    others: int = 0
    acceptable: bool = False
    title: str = ""


class Judgement(NamedTuple):
    """The result of judging a run or a whole step; `verdict` is None if nothing was to be judged.

    `cancellation`: what became of the run that the step stopped waiting for. `base`: the base agent's run.
    `inconclusive_passes`, `timeout_passes`: such a verdict passes the gate. `legs_summary`: of a step with several
    legs. `failed_together`: the comparison of all legs failed, in which this leg took part. `known`: what is left out.
    """

    verdict: Verdict | None
    status: str
    cause: Cause
    checks: tuple[Check, ...] = ()
    totals: Totals | None = None
    variants: tuple[Variant, ...] = ()
    cancellation: Cancellation | None = None
    inconclusive_passes: bool = False
    timeout_passes: bool = False
    baseline: Baseline | None = None
    base: Baseline | None = None
    repetition: "Repetition | None" = None
    legs_summary: LegsSummary | None = None
    slices: "Slices | None" = None
    failed_together: bool = False
    known: "tuple[KnownCase, ...]" = ()

    @property
    def passes_gate(self) -> bool:
        return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED) or self.is_tolerated

    @property
    def is_tolerated(self) -> bool:
        """Whether the step succeeds although its verdict is inconclusive, or it timed out before any check failed."""
        if self.verdict is Verdict.TIMED_OUT:
            return self.timeout_passes and self.misses_nothing_yet
        return self.verdict is Verdict.INCONCLUSIVE and self.inconclusive_passes

    @property
    def excused(self) -> frozenset[str]:
        """The ids of the test cases that are known failures."""
        return frozenset(case.failure.test_case for case in self.known)

    @property
    def misses_nothing_yet(self) -> bool:
        """Whether more time may decide each check that was not passed, and what there is misses none as counted."""
        return all(map(_may_be_late, self.missed))

    @property
    def ended_step(self) -> bool:
        return not isinstance(self.cause, Completed | NotCompleted | TimedOut | Aborted | Unanswered | Together)

    @property
    def is_unanswered(self) -> bool:
        return isinstance(self.cause, Unanswered) or any(map(_is_set_up_error, self.checks))

    @property
    def passed_flaky(self) -> bool:
        return self.verdict is Verdict.PASSED and self.repetition is not None

    @property
    def passed_unjudged(self) -> bool:
        """Whether the run passed although no criterion of the user decides: its simulations completed, that is all."""
        decided = any(check.criterion.user_defined and check.decides for check in self.checks)
        return self.verdict is Verdict.PASSED and not decided

    @property
    def is_barred(self) -> bool:
        """Whether it is no baseline: it lacks data, or a comparison failed it. Absolute thresholds do not count."""
        return (
            self.failed_together
            or isinstance(self.cause, Unanswered)
            or any(
                check.verdict is Verdict.ERROR
                or (check.verdict is Verdict.FAILED and (check.reference or not check.criterion.by_values))
                for check in self.missed
            )
        )

    @property
    def missed(self) -> tuple[Check, ...]:
        """The checks that decide and did not pass, the worst first."""
        missed = (check for check in self.checks if check.decides and not check.passed)
        return tuple(sorted(missed, key=lambda check: check.rank))


def _is_set_up_error(check: Check) -> bool:
    return check.verdict is Verdict.ERROR and check.criterion.kind == "simulations_answered"


def _may_be_late(check: Check) -> bool:
    if check.verdict is Verdict.ERROR:
        return check.problem is None or check.problem.may_come
    doubt = check.verdict is Verdict.INCONCLUSIVE
    return doubt and (check.criterion.doubt_passes if check.measure is None else check.holds_as_counted)


class SingleRun(NamedTuple):
    """`run_id` is empty if no run was launched."""

    run_id: str
    judgement: Judgement


class CaseStability(NamedTuple):
    """How many conversations of a test case failed with a variant, in all runs."""

    test_case_id: str
    variant: str
    failed: int
    total: int

    @property
    def is_flaky(self) -> bool:
        return self.failed < self.total


class Repetition(NamedTuple):
    """`runs`: those that count, the first one first. `unusable`: a repetition without data to judge.

    `cases`: those that failed in any of these runs; `failing`: the ids of the conversations to blame.
    """

    runs: tuple[SingleRun, ...]
    unusable: SingleRun | None = None
    cases: tuple[CaseStability, ...] = ()
    failing: frozenset[str] = frozenset()


class Slices(NamedTuple):
    """The slices of a leg up to a `look`. `is_clear`: every answer is known, or out of reach."""

    look: "Look"
    is_clear: bool = False


UNFINISHED_RUN: Final = Judgement(verdict=Verdict.ERROR, status=ERROR, cause=Unfinished())
LAUNCHED_RUN: Final = Judgement(verdict=None, status=LAUNCHED_ONLY, cause=Launched())
INTERRUPTED_STEP: Final = Judgement(verdict=Verdict.CANCELLED, status=CANCELLED, cause=StepInterrupted())


def with_checks(judgement: Judgement, checks: Sequence[Check]) -> Judgement:
    """Decide by the gravest check. An error from late data is a time-out; one of the set-up stays an error."""
    if not isinstance(judgement.cause, Completed | Together):
        return judgement
    deciding = [check for check in checks if check.decides]
    verdict = min((check.verdict for check in deciding), key=GRAVITY.index, default=Verdict.PASSED)
    doubtful = [check for check in deciding if check.verdict is Verdict.INCONCLUSIVE]
    passes = bool(doubtful) and all(check.criterion.doubt_passes for check in doubtful)
    # A job did not answer the simulations: more time would not help.
    late = isinstance(judgement.cause, Completed) and judgement.cause.late
    if verdict is Verdict.ERROR and late and not any(map(_is_set_up_error, deciding)):
        verdict = Verdict.TIMED_OUT
    statuses = {Verdict.ERROR: ERROR, Verdict.PASSED: COMPLETED, Verdict.TIMED_OUT: TIMEOUT}
    if passes:
        statuses[Verdict.INCONCLUSIVE] = COMPLETED
    status = statuses.get(verdict, COMPLETED_WITH_FAILURES)
    return judgement._replace(verdict=verdict, status=status, checks=tuple(checks), inconclusive_passes=passes)


def errored(error: GateError) -> Judgement:
    cause = Errored(title=error.title, what=error.what, advice=error.advice, link=error.link)
    return Judgement(verdict=Verdict.ERROR, status=ERROR, cause=cause)


def with_end_of_repetition(judgement: Judgement, ended: Cancellation) -> Judgement:
    repetition = judgement.repetition
    if repetition and (second := repetition.unusable):
        alone = SingleRun(second.run_id or ended.run_id, second.judgement._replace(cancellation=ended))
        return judgement._replace(repetition=repetition._replace(unusable=alone))
    return judgement


def gravest(judgements: Sequence[Judgement]) -> Judgement:
    return min(judgements, key=gravity)


def gravity(judgement: Judgement) -> tuple[bool, int]:
    """Sort the gravest first: those that fail the step."""
    verdict = LEG_GRAVITY.index(judgement.verdict) if judgement.verdict in LEG_GRAVITY else len(LEG_GRAVITY)
    return judgement.passes_gate, verdict


def redacted(judgement: Judgement, redact: Callable[[str], str]) -> Judgement:
    cause, cancellation, repetition = judgement.cause, judgement.cancellation, judgement.repetition
    if isinstance(cause, Errored):
        cause = Errored(*map(redact, cause))
    if isinstance(cause, NotCompleted):
        run = cause.run
        cause = NotCompleted(run._replace(error=redact(run.error), error_status=redact(run.error_status)))
    if isinstance(cause, Aborted):
        cause = cause._replace(error=redact(cause.error))
    if cancellation:
        cancellation = cancellation._replace(reason=redact(cancellation.reason))
    if repetition and (unusable := repetition.unusable):
        repetition = repetition._replace(unusable=unusable._replace(judgement=redacted(unusable.judgement, redact)))
    return judgement._replace(cause=cause, cancellation=cancellation, repetition=repetition)


def named_cases(check: Check) -> tuple[str, ...]:
    """Return the ids of the test cases that a check names."""
    return tuple(case for measure in (check.measure, check.first) if measure for case in measure.low_cases[:1])


def judgement_with_words(judgement: Judgement, units: Mapping[str, str], labels: Mapping[str, str]) -> Judgement:
    """`units`: of metrics, by id. `labels`: of test cases."""

    def in_words(check: Check) -> Check:
        names = {case: labels[case] for case in named_cases(check) if labels.get(case)}
        return replace(check, metric_unit=units.get(check.metric, ""), case_names=names)

    return judgement._replace(checks=tuple(map(in_words, judgement.checks)))
