"""What we say of a run, as data: a verdict, what it rests on, and why there is this one. Pure and total."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from coval_gate.judge.verdict import COMPLETED_WITH_FAILURES, GRAVITY, LAUNCHED, OF_LEGS, SKIPPED, TIMEOUT, Verdict
from coval_gate.model.outcomes import Completed, NotCompleted, TimedOut
from coval_gate.model.statuses import CANCELLED, COMPLETED, ERROR, FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.errors import GateError
    from coval_gate.judge.checks import Check, Totals
    from coval_gate.judge.variants import Variant
    from coval_gate.model.baseline import Baseline
    from coval_gate.model.outcomes import Cancellation


class Launched:
    """The run was launched, and the step was to do no more."""


class Interrupted:
    """The step was told to end."""


class Unfinished:
    """The step ended before it could reach a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """There is no API key, and that means to skip. `withheld`: as `Context.secrets_withheld_from`."""

    withheld: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsCancelled:
    """The step was to do nothing but cancel runs (mode cancel): what became of each."""

    cancellations: tuple[Cancellation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errored:
    """The step ended in an error of ours, of the API or of the configuration; the texts are those of a GateError."""

    title: str
    what: str
    advice: str = ""
    link: str = ""


Cause = Completed | NotCompleted | TimedOut | Launched | Interrupted | Unfinished | Skipped | RunsCancelled | Errored


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The result of judging a run, or a whole step.

    `verdict` is None where none was asked for (mode launch, mode cancel). `cause` is why there is this verdict; what
    a completed run was judged by are `checks`. `totals` and `variants` are there if its results are.
    `cancellation`: what became of the run that the step stopped waiting for. `baseline`: the earlier runs that
    thresholds refer to. `repetition` is there if the run failed and was repeated.
    """

    verdict: Verdict | None
    status: str
    cause: Cause
    checks: tuple[Check, ...] = ()
    totals: Totals | None = None
    variants: tuple[Variant, ...] = ()
    cancellation: Cancellation | None = None
    inconclusive_passes: bool = False
    baseline: Baseline | None = None
    repetition: Repetition | None = None

    @property
    def lets_pass(self) -> bool:
        """Whether the step succeeds."""
        tolerated = self.verdict is Verdict.INCONCLUSIVE and self.inconclusive_passes
        return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED) or tolerated

    @property
    def is_of_step(self) -> bool:
        """Whether it is about the step, and not about a run that ended."""
        return not isinstance(self.cause, Completed | NotCompleted | TimedOut)

    @property
    def passed_flaky(self) -> bool:
        """Whether the run failed at first, and passed with its repetitions."""
        return self.verdict is Verdict.PASSED and self.repetition is not None

    @property
    def passed_unjudged(self) -> bool:
        """Whether the run passed although no criterion of the user decides: its simulations completed, and no more."""
        decided = any(check.user_defined and check.decides for check in self.checks)
        return self.verdict is Verdict.PASSED and not decided

    @property
    def is_red_against_baseline(self) -> bool:
        """Whether the step fails, and a comparison with a baseline has a share in it."""
        return not self.lets_pass and any(check.reference == "baseline" and check.measure for check in self.missed)

    @property
    def failing_simulations(self) -> tuple[str, ...]:
        """The ids of the simulations that are to blame for checks that did not pass."""
        named: dict[str, None] = {}
        for check in self.checks:  # one by one: together they may name millions
            named.update(dict.fromkeys(check.simulations if check.decides and not check.passed else ()))
        return tuple(named)

    @property
    def metric_failures(self) -> tuple[str, ...]:
        """The ids of the simulations that have the value which fail_on_metric_value forbids."""
        forbidding = (check for check in self.checks if check.criterion.kind == "forbidden_value")
        found = (simulation for check in forbidding for simulation in check.simulations)
        return tuple(dict.fromkeys(found))

    @property
    def missed(self) -> tuple[Check, ...]:
        """The checks that did not pass, the gravest first; none that only informs."""
        wrong = (check for check in self.checks if check.decides and not check.passed)
        return tuple(sorted(wrong, key=lambda check: GRAVITY.index(check.verdict)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRun:
    """One of the runs of a step that repeats them, judged alone. `run_id` is empty if no run was launched."""

    run_id: str
    judgement: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStability:
    """How often a test case failed with the agent or one of its mutations, over the conversations of all runs."""

    test_case_id: str
    variant: str
    failed: int
    total: int

    @property
    def is_flaky(self) -> bool:
        """Whether it failed at times only; otherwise it fails consistently."""
        return self.failed < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What came of running a failed run again.

    `runs` count, in the order of their launch. `unusable`: a repetition that does not count, because it has no data to
    judge. `together`: the verdict on all runs that count. `cases` are those that failed in any of them; the
    conversations to blame are `failing` (ids). `replaced`: conversations without a result, in whose place those of a
    later run count.
    """

    runs: tuple[SingleRun, ...]
    together: Verdict
    unusable: SingleRun | None = None
    cases: tuple[CaseStability, ...] = ()
    failing: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()

    @property
    def is_flaky(self) -> bool:
        """Whether the first run failed, but all runs together do not."""
        return self.together is not Verdict.FAILED


UNFINISHED: Final = Judgement(verdict=Verdict.ERROR, status=ERROR, cause=Unfinished())
LAUNCH: Final = Judgement(verdict=None, status=LAUNCHED, cause=Launched())


def conclude(
    outcome: Completed,
    checks: Sequence[Check],
    totals: Totals,
    variants: tuple[Variant, ...] = (),
    *,
    baseline: Baseline | None = None,
) -> Judgement:
    """Judge a run that completed by its checks: the gravest decides.

    Where they lack data that came too late, it is the time-out that left them without a verdict.
    """
    deciding = [check for check in checks if check.decides]
    verdict = min((check.verdict for check in deciding), key=GRAVITY.index, default=Verdict.PASSED)
    doubtful = [check for check in deciding if check.verdict is Verdict.INCONCLUSIVE]
    inconclusive_passes = bool(doubtful) and all(check.doubt_passes for check in doubtful)
    if verdict is Verdict.ERROR and outcome.late:
        verdict = Verdict.TIMED_OUT
    statuses = {Verdict.ERROR: ERROR, Verdict.PASSED: COMPLETED, Verdict.TIMED_OUT: TIMEOUT}
    if inconclusive_passes:
        statuses[Verdict.INCONCLUSIVE] = COMPLETED
    return Judgement(
        verdict=verdict,
        status=statuses.get(verdict, COMPLETED_WITH_FAILURES),
        cause=outcome,
        checks=tuple(checks),
        totals=totals,
        variants=variants,
        inconclusive_passes=inconclusive_passes,
        baseline=baseline,
    )


def with_checks(judgement: Judgement, checks: Sequence[Check]) -> Judgement:
    """Return the judgement of a run that completed as if these had been its checks."""
    if not isinstance(judgement.cause, Completed) or judgement.totals is None:
        return judgement
    return conclude(
        judgement.cause,
        checks,
        judgement.totals,
        judgement.variants,
        baseline=judgement.baseline,
    )


def not_completed(outcome: NotCompleted) -> Judgement:
    """Judge a run that is over, but did not complete."""
    status = outcome.run.status
    verdict = {FAILED: Verdict.FAILED, ERROR: Verdict.ERROR}.get(status, Verdict.CANCELLED)
    return Judgement(verdict=verdict, status=status, cause=outcome)


def timed_out(outcome: TimedOut) -> Judgement:
    """Judge a run that was not over when a limit passed."""
    return Judgement(verdict=Verdict.TIMED_OUT, status=TIMEOUT, cause=outcome)


def errored(error: GateError) -> Judgement:
    """Return the judgement of a step that ended in an error."""
    cause = Errored(title=error.title, what=error.what, advice=error.advice, link=error.link)
    return Judgement(verdict=Verdict.ERROR, status=ERROR, cause=cause)


def interrupted(cancellation: Cancellation | None = None) -> Judgement:
    """Return the judgement of a step that was told to end; `cancellation`: what became of its run."""
    return Judgement(verdict=Verdict.CANCELLED, status=CANCELLED, cause=Interrupted(), cancellation=cancellation)


def runs_cancelled(cancellations: Sequence[Cancellation]) -> Judgement:
    """Return the judgement of a step that was to cancel runs and do no more."""
    return Judgement(verdict=None, status=CANCELLED, cause=RunsCancelled(cancellations=tuple(cancellations)))


def skipped(withheld: str) -> Judgement:
    """Return the judgement of a step without an API key, where that means to skip."""
    return Judgement(verdict=Verdict.SKIPPED, status=SKIPPED, cause=Skipped(withheld=withheld))


def with_end_of_repetition(judgement: Judgement, ended: Cancellation) -> Judgement:
    """Return the judgement of a step with what became of a repetition that it stopped waiting for."""
    repetition = judgement.repetition
    if repetition is None or repetition.unusable is None:
        return judgement
    alone = replace(repetition.unusable.judgement, cancellation=ended)
    unusable = SingleRun(run_id=repetition.unusable.run_id or ended.run_id, judgement=alone)
    return replace(judgement, repetition=replace(repetition, unusable=unusable))


def gravest(judgements: Sequence[Judgement]) -> Judgement:
    """Return the judgement that decides a step: the gravest of its legs' judgements, and the first of several."""

    def gravity(judgement: Judgement) -> int:
        return OF_LEGS.index(judgement.verdict) if judgement.verdict in OF_LEGS else len(OF_LEGS)

    return min(judgements, key=gravity)


def redacted(judgement: Judgement, redact: Callable[[str], str]) -> Judgement:
    """Return the judgement with `redact` applied to the texts of errors, which may repeat what they were given."""
    cause, cancellation, repetition = judgement.cause, judgement.cancellation, judgement.repetition
    if isinstance(cause, Errored):
        cause = Errored(
            title=redact(cause.title),
            what=redact(cause.what),
            advice=redact(cause.advice),
            link=redact(cause.link),
        )
    if isinstance(cause, NotCompleted):
        run = replace(cause.run, error=redact(cause.run.error), error_status=redact(cause.run.error_status))
        cause = NotCompleted(run=run)
    if cancellation:
        cancellation = replace(cancellation, reason=redact(cancellation.reason))
    if repetition and (unusable := repetition.unusable):
        told = replace(unusable, judgement=redacted(unusable.judgement, redact))
        repetition = replace(repetition, unusable=told)
    return replace(judgement, cause=cause, cancellation=cancellation, repetition=repetition)
