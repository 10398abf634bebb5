"""What we say of a run: a verdict, the status to report, and every reason, the gravest first. Pure and total."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coval_gate.model.results import BASE
from coval_gate.model.statuses import CANCELLED, COMPLETED, DELETED, ERROR, FAILED
from coval_gate.text import duration, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.errors import GateError
    from coval_gate.model.outcomes import Limit
    from coval_gate.model.run import Run

COMPLETED_WITH_FAILURES: Final = "COMPLETED_WITH_FAILURES"
TIMEOUT: Final = "TIMEOUT"
LAUNCHED: Final = "LAUNCHED"
SKIPPED: Final = "SKIPPED"


class Verdict(StrEnum):
    """`failed` is about the agent; `error` about us, the API or the configuration. They are never mixed."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


# The gravest first: no verdict on the agent can rest on data that are in doubt.
GRAVITY: Final = (Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
WAIT_LATER: Final = ", or wait in a later step with mode wait and its run_id"  # where the run goes on
TITLES: Final = {
    Verdict.ERROR: "No verdict",
    Verdict.FAILED: "Gate failed",
    Verdict.INCONCLUSIVE: "Inconclusive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion, applied to the agent or to one of its mutations: what was asked, and what was found.

    `missed` says by how much, `reason` is a sentence for a check that did not pass, `metric` is the metric's id and
    `offenders` are the ids of the simulations that it is about.
    """

    asked: str
    found: str
    verdict: Verdict
    missed: str = ""
    reason: str = ""
    variant: str = BASE
    metric: str = ""
    offenders: tuple[str, ...] = ()
    forbids: bool = False
    optional: bool = True  # whether the user asked for it, or it is asked of every run


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How many simulations there are and how many completed; the ids of those that did not pass."""

    total: int
    completed: int
    unpassed: tuple[str, ...] = ()

    @property
    def pass_rate(self) -> float:
        """The share that completed and met every target known, of all."""
        return max(0, self.total - len(self.unpassed)) / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The end of the road for a run. `verdict` is None where none was asked for (mode launch).

    `reasons` are sentences, the gravest first. `title` and `advice` head and follow them where a person is told what
    to do about it.
    """

    verdict: Verdict | None
    status: str
    reasons: tuple[str, ...]
    title: str = ""
    advice: str = ""
    link: str = ""
    checks: tuple[Check, ...] = ()
    population: Population | None = None

    @property
    def reason(self) -> str:
        """The gravest reason, and how many more there are, in one sentence."""
        more = len(self.reasons) - 1
        return f"{self.reasons[0].removesuffix('.')} (and {more} more)." if more else self.reasons[0]

    @property
    def lets_pass(self) -> bool:
        """Whether the step succeeds."""
        return self.verdict in (None, Verdict.PASSED, Verdict.SKIPPED)

    @property
    def offenders(self) -> tuple[str, ...]:
        """The ids of the simulations that checks which did not pass are about, most often named first."""
        named = [each for check in self.checks if check.verdict is not Verdict.PASSED for each in check.offenders]
        return tuple(each for each, _ in Counter(named).most_common())

    def first_checks(self, most: int) -> tuple[Check, ...]:
        """At most `most` checks: all in their order or, where there are more, the gravest of them."""
        if len(self.checks) <= most:
            return self.checks
        return tuple(sorted(self.checks, key=lambda check: GRAVITY.index(check.verdict))[:most])

    @property
    def metric_failures(self) -> tuple[str, ...]:
        """The ids of the simulations that have the value which fail_on_metric_value forbids."""
        found = (each for check in self.checks if check.forbids for each in check.offenders)
        return tuple(dict.fromkeys(found))


UNFINISHED: Final = Judgement(
    verdict=Verdict.ERROR,
    status=ERROR,
    reasons=("The step ended before it could reach a verdict.",),
    title="Unfinished",
)
INTERRUPTED: Final = Judgement(
    verdict=Verdict.CANCELLED, status=CANCELLED, reasons=("The step was interrupted.",), title="Cancelled"
)


def conclude(checks: Sequence[Check], population: Population) -> Judgement:
    """From the checks of a run that completed to a judgement: the gravest check decides."""
    wrong = sorted(
        (check for check in checks if check.verdict is not Verdict.PASSED),
        key=lambda check: GRAVITY.index(check.verdict),
    )
    verdict = wrong[0].verdict if wrong else Verdict.PASSED
    status = {Verdict.ERROR: ERROR, Verdict.PASSED: COMPLETED}.get(verdict, COMPLETED_WITH_FAILURES)
    return Judgement(
        verdict=verdict,
        status=status,
        reasons=tuple(dict.fromkeys(check.reason for check in wrong)) or (_all_well(checks, population),),
        title=TITLES.get(verdict, ""),
        checks=tuple(checks),
        population=population,
    )


def not_completed(run: Run) -> Judgement:
    """The run is over, but it did not complete."""
    verdict = {FAILED: Verdict.FAILED, ERROR: Verdict.ERROR}.get(run.status, Verdict.CANCELLED)
    why = one_line(run.error or ("" if run.is_clean else run.error_status)).rstrip(".")
    said = {DELETED: "was deleted", CANCELLED: "was cancelled"}.get(run.status, f"ended with the status {run.status}")
    return Judgement(
        verdict=verdict,
        status=run.status,
        reasons=(f"The run {said}{f': {why}' if why else ''}.",),
        title={Verdict.FAILED: "Run failed", Verdict.ERROR: "Run broke down"}.get(verdict, "Run cancelled"),
    )


def timed_out(run: Run, limit: Limit) -> Judgement:
    """A limit came before the end of the run, or before Coval had all that belongs to a run that completed."""
    progress = run.progress
    done = f" with {progress.done:,} of {plural(progress.total, 'simulation')} done" if progress else ""
    after = f"{duration(limit.seconds)}, the limit of {limit.name}"
    if run.is_over:
        what = f"The run had completed, but Coval did not have all of its simulations and values yet after {after}."
    elif limit.name == "stall_timeout":
        what = f"The run made no progress for {after}: it was still {run.status}{done}."
    elif limit.name == "max_queue_time":
        what = f"The run had not started after {after}: it was still {run.status}."
    else:
        what = f"The run was still {run.status}{done} after {after}."
    advice = f"Raise {limit.name}{WAIT_LATER}."
    return Judgement(verdict=Verdict.TIMED_OUT, status=TIMEOUT, reasons=(what,), title="Timed out", advice=advice)


def errored(error: GateError) -> Judgement:
    """The road ended in an error of ours, of the API or of the configuration."""
    return Judgement(
        verdict=Verdict.ERROR,
        status=ERROR,
        reasons=(error.what,),
        title=error.title,
        advice=error.advice,
        link=error.link,
    )


def interrupted(fate: str) -> Judgement:
    """The step was told to end; `fate` is what became of the run, as a part of a sentence."""
    return replace(INTERRUPTED, reasons=(f"The step was interrupted; {fate}.",))


def ended(told: Sequence[str]) -> Judgement:
    """Nothing was asked for but to end runs: a sentence for each, of what became of it."""
    return Judgement(verdict=None, status=CANCELLED, reasons=tuple(told))


def launched() -> Judgement:
    """The run was launched, and nobody asked for more."""
    return Judgement(
        verdict=None, status=LAUNCHED, reasons=("The run was launched; nothing waits for it in this step.",)
    )


def skipped(why: str) -> Judgement:
    """There is no API key, and that means to skip; `why` goes on after "there is no API key"."""
    return Judgement(
        verdict=Verdict.SKIPPED,
        status=SKIPPED,
        reasons=(f"Nothing was evaluated: there is no API key{why}.",),
        title="Skipped",
    )


def _all_well(checks: Sequence[Check], population: Population) -> str:
    """How many simulations completed, and what else was asked for."""
    completed, total = population.completed, population.total
    rest = sum(check.optional for check in checks)
    all_of_them = "The one simulation" if total == 1 else f"All {total:,} simulations"
    simulations = all_of_them if completed == total else f"{completed:,} of {plural(total, 'simulation')}"
    return f"{simulations} completed" + (f"; {rest:,} of {rest:,} criteria met." if rest else ".")
