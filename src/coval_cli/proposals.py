"""Proposes up to three thresholds from completed runs, so that the first gate is not a guess. Pure.

The rules, for the runs of one agent, persona and test set, without mutations of the agent:

- Numbers, if the metric's target or definition says which direction is better: the average of the worst run, with a
  tenth of it as a margin, rounded to two digits.
- Shares (texts that the metric's target names, simulations that meet all targets, simulations that completed): the
  lower end of the one-sided interval of Clopper and Pearson over all conversations, with 95 % confidence, but at most
  the worst run, rounded down to 5 %. If that is 0 %, the worst run alone counts.
- A YES/NO metric is a compliance metric if its name contains "complian". If no conversation had NO, none may have it.
- In a workflow that compares with a baseline or a base, numbers may be a tenth worse, and shares 5 percentage points.
  With few test cases, shares are only shown if a number decides.
- The first three lines that all of these runs pass are proposed. Runs without a metric of the newest run do not count.
- If conversations failed, `max_failed_simulations` allows as many as `completed_rate` would.

Names of metrics are foreign text. A name with unusual characters is replaced by the metric's id, and comments lose such
characters: no quote, bracket, backslash, `$`, `#` or operator of a foreign text gets into a file.
"""

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from coval_gate.base.text import number, one_line, percent, plural
from coval_gate.coval.model import BASE, BINARY_TEXTS, Metric, RunResult
from coval_gate.coval.resources import MetricDefinition
from coval_gate.features.confidence.bounds import beta_quantile
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import Problem
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.values import effective_operator, named_values, target_problem
from coval_gate.gate.variants import variants_of
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import Threshold, parse_thresholds

BOUND_MARGIN: Final = 0.1  # share of the worst run's average
CONFIDENCE: Final = 0.95
STEP: Final = 20  # a share is rounded down to 1/20
LEAST_COMPLETED: Final = 0.5  # of a run that says something about the agent
PLAIN_NAME: Final = frozenset(" .,:/()+-_%")  # in foreign text, beside letters, marks and digits
LONGEST_COMMENT: Final = 80  # characters of foreign text
EVERY_FAILURE: Final = Allowance(100.0, percent=True)
GUESS: Final = "pass_rate >="
COMPLIANCE: Final = "complian"  # in the names of metrics of which no conversation may miss one
ENOUGH_CASES: Final = 50  # test cases for which a comparison of shares is usually clear
WORSE: Final = {"<=": "* 1.1", ">=": "* 0.9"}  # the bounds of numbers that are compared, by operator
DIRECTIONS: Final = {"lt": "<=", "lte": "<=", "gt": ">=", "gte": ">="}


class Proposal(NamedTuple):
    """`runs`: how many suggest the lines. `max_failed`: the value of max_failed_simulations, if it is needed."""

    lines: tuple[str, ...]
    runs: int = 0
    max_failed: str = ""


def guess(why: str, against: str = "") -> Proposal:
    """`why` ends the comment, which says that it is a guess. `against`: "baseline", "base" or empty."""
    bound = _lower(against) if against else "90%"
    return Proposal((f"{GUESS} {bound}  # a guess: {why}; it needs metrics with targets",))


def _lower(against: str) -> str:
    return f"{against} - 5pp"


def plain(text: str, limit: int = LONGEST_COMMENT * 2) -> str:
    """Return foreign text that cannot end a comment, a quoted text, or an expression in any file that `init` writes."""
    kept = (
        char if char in PLAIN_NAME or char.isalnum() or unicodedata.category(char).startswith("M") else " "
        for char in one_line(text, limit * 2).replace("…", ".")
    )
    return " ".join("".join(kept).split())[:limit].strip()


def usable(runs: Sequence[RunResult]) -> tuple[RunResult, ...]:
    """Return the runs that the gate could judge, that mostly completed, and that have all metrics of the newest one.

    Keep their order, newest first, and drop simulations of mutations.
    """
    sound = []
    for run in runs:
        simulations = tuple(simulation for simulation in run.simulations if simulation.mutation == BASE)
        agent_run = run._replace(simulations=simulations, expected=0)
        can_be_judged = judge(agent_run, Criteria(max_failed=EVERY_FAILURE)).verdict is Verdict.PASSED
        if can_be_judged and _completed(agent_run) >= LEAST_COMPLETED:
            sound.append(agent_run)
    newest = {metric.id for metric in sound[0].metrics} if sound else set()
    return tuple(run for run in sound if newest <= {metric.id for metric in run.metrics})


def propose(runs: Sequence[RunResult], definitions: Mapping[str, MetricDefinition], against: str = "") -> Proposal:
    """`runs`: at least one, from `usable`. Metrics without a definition have neither targets nor directions.

    `against`: "baseline" or "base" if the workflow compares, else empty.
    """
    runs = [_with_targets(run, definitions) for run in runs]
    completed = [_completed(run) for run in runs]
    some_failed, least = min(completed) < 1.0, _least_share(completed, runs)
    allowance = Allowance(100.0 - least, percent=True) if some_failed else Allowance(0)
    passed = (line for line in _candidates(runs, definitions, against) if _pass(runs, line, allowance))
    lines = _compared(tuple(islice(passed, 3)), runs, against) if against else tuple(islice(passed, 3))
    lines = lines or (f"completed_rate >= {least}%  # {_seen(completed, percent)}",)
    return Proposal(lines, len(runs), str(allowance) if some_failed else "")


def _compared(lines: Sequence[str], runs: Sequence[RunResult], against: str) -> tuple[str, ...]:
    """Return lines of which at least one compares and decides, as such a workflow requires."""
    decides = any(f" {against} * " in line for line in lines)
    share = _lower(against)
    if decides and min(len({one.test_case_id for one in run.simulations}) for run in runs) < ENOUGH_CASES:
        why = f"  # only shown: remove the ? if you have {ENOUGH_CASES} test cases. "
        return tuple(f"? {line.replace('  # ', why, 1)}" if share in line else line for line in lines)
    if decides or any(share in line for line in lines):
        return tuple(lines)
    return (*lines[:2], *guess("no metric of the last runs can be compared", against).lines)


def _completed(run: RunResult) -> float:
    return sum(simulation.completed for simulation in run.simulations) / max(1, len(run.simulations))


def _with_targets(run: RunResult, definitions: Mapping[str, MetricDefinition]) -> RunResult:
    metrics = tuple(
        metric._replace(target=definition.target, defined=definition.texts)
        if metric.is_identified and (definition := definitions.get(metric.id))
        else metric
        for metric in run.metrics
    )
    return run._replace(metrics=metrics)


def _candidates(runs: Sequence[RunResult], definitions: Mapping[str, MetricDefinition], against: str) -> Iterator[str]:
    for metric in runs[0].metrics:
        if written := _written(metric, runs[0]):
            name = plain(metric.name, LONGEST_COMMENT) if written == metric.id else ""
            note = f"{name}. " if name and name != metric.id else ""
            definition = definitions.get(metric.id)
            if operator := _direction(metric, definition):
                unit = plain(definition.unit, 20) if definition else ""
                yield from _number_line(written, operator, metric, runs, note, unit, against)
            if never := _never_line(written, metric, runs, note):
                yield never
            elif values := _values(metric):
                yield from _share_line(f"{written}: rate({', '.join(values)})", metric, runs, note, against)
    if any(metric.target for metric in runs[0].metrics):
        yield from _share_line("pass_rate", None, runs, "all targets in Coval. ", against)


def _number_line(
    written: str, operator: str, metric: Metric, runs: Sequence[RunResult], note: str, unit: str, against: str
) -> Iterator[str]:
    aggregate = "med" if against else "avg"  # few test cases are enough to compare medians
    values = _measured(f"{written}: {aggregate} >= 0", metric, runs)
    if not values or (against and min(values) <= 0):
        return
    bound = f"{against} {WORSE[operator]}" if against else bound_of(values, up=operator == "<=")
    seen = _seen(values, lambda value: number(float(f"{value:.3g}")))
    yield f"{written}: {aggregate} {operator} {bound}  # {note}{seen} {unit}".strip()


def _never_line(written: str, metric: Metric, runs: Sequence[RunResult], note: str) -> str:
    """Return a line for a compliance metric that no conversation missed; empty for any other."""
    is_binary = bool(metric.texts) and not metric.numbers and {text.upper() for text in metric.texts} <= {*BINARY_TEXTS}
    if not is_binary or COMPLIANCE not in metric.name.casefold():
        return ""
    line = f"{written}: count(NO) == 0"
    counts = _measured(line, metric, runs)
    return f"{line}  # {note}{_seen(counts, number)}" if counts and not any(counts) else ""


def _written(metric: Metric, run: RunResult) -> str:
    """Return the name if that is plain and unique, else the id; empty if neither can be written."""
    for name in (metric.name, metric.id):
        written = f'"{name}"' if ":" in name else name
        if name[:1].isalnum() and plain(name) == name and run.find_metrics(name) == (metric,):
            threshold = _parsed(f"{written}: avg >= 0  # reason")
            if threshold and threshold.metric == name:
                return written
    return ""


def _parsed(line: str) -> Threshold | None:
    try:
        (threshold,) = parse_thresholds(line)
    except ValueError:
        return None
    return threshold


def _direction(metric: Metric, definition: MetricDefinition | None) -> str:
    """Return the operator of a bound in the direction that is better; empty if that is unknown."""
    if metric.target and not target_problem(metric.target):
        return DIRECTIONS.get(effective_operator(metric.target), "")
    return "<=" if definition and definition.wants_less else ""


def bound_of(averages: Sequence[float], *, up: bool) -> str:
    """Return the bound above (`up`) or below all averages, as a threshold writes it; see the module's docstring."""
    worst = max(averages) if up else min(averages)
    bound = worst + BOUND_MARGIN * abs(worst) * (1 if up else -1)
    return f"{float(f'{bound:.2g}'):g}"  # rounding takes less than the margin


def _values(metric: Metric) -> tuple[str, ...]:
    target = metric.target
    if target is None or target_problem(target) or effective_operator(target) != "in":
        return ()
    values = named_values(target)
    can_be_written = all(
        value[:1].isalnum() and plain(value) == value and not set(",:()") & set(value) for value in values
    )
    return values if can_be_written else ()


def _share_line(
    subject: str, metric: Metric | None, runs: Sequence[RunResult], note: str, against: str
) -> Iterator[str]:
    if shares := _measured(f"{subject} >= 0%", metric, runs):
        bound = _lower(against) if against else f"{_least_share(shares, runs)}%"
        yield f"{subject} >= {bound}  # {note}{_seen(shares, percent)}"


def _measured(line: str, metric: Metric | None, runs: Sequence[RunResult]) -> list[float]:
    """Return what the gate measures in each run; empty if it cannot measure one of them."""
    found: list[float] = []
    if (threshold := _parsed(line)) is None:
        return found
    for run in runs:
        (variant,) = variants_of(run, 0)
        own = next(other for other in run.metrics if other.id == metric.id) if metric else None
        is_number = threshold.aggregate.name in ("avg", "med")
        if own and is_number and (own.summary or own.texts or not variant.sample(own).numbers):
            return []
        measure = aggregation_of(threshold, own).measured(variant)
        if isinstance(measure, Problem):
            return []
        found.append(measure.value)
    return found


def _pass(runs: Sequence[RunResult], line: str, allowance: Allowance) -> bool:
    """Return whether all runs pass the line; False if one lacks values, or has an unusable target.

    A line that compares only had to be measured.
    """
    (threshold,) = thresholds = parse_thresholds(line)
    if threshold.bound.reference:
        return True
    criteria = Criteria(max_failed=allowance, thresholds=thresholds)
    is_trivial = threshold.operator == ">=" and not threshold.bound.number
    return not is_trivial and all(judge(run, criteria).verdict is Verdict.PASSED for run in runs)


def _least_share(shares: Sequence[float], runs: Sequence[RunResult]) -> int:
    """In percent; see the module's docstring."""
    totals = [len(run.simulations) for run in runs]
    hits = sum(round(share * total) for share, total in zip(shares, totals, strict=True))
    lower = beta_quantile(1.0 - CONFIDENCE, hits, sum(totals) - hits + 1.0) if hits else 0.0
    return _rounded_down(min(lower, *shares)) or _rounded_down(min(shares))


def _rounded_down(share: float) -> int:
    return math.floor(share * STEP + 1e-9) * (100 // STEP)


def _seen(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Such as "8 runs: 70% to 100%"."""
    lowest, highest = shown(min(values)), shown(max(values))
    return f"{plural(len(values), 'run')}: {lowest if lowest == highest else f'{lowest} to {highest}'}"
