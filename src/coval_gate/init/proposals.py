"""Proposes up to three thresholds from completed runs, so that the first gate is not a guess. Pure.

The rules, for the runs of one agent, persona and test set; mutations of the agent do not count:

- Numbers, if the metric's target or definition says which direction is better: the average of the worst run, with a
  tenth of it as a margin, rounded to two digits away from the values.
- Shares (texts that the metric's target names, simulations that meet all targets, simulations that completed): the
  lower end of the one-sided interval of Clopper and Pearson over all conversations, with 95 % confidence, but at most
  the worst run, rounded down to 5 %. If that is 0 %, the worst run alone counts.
- The first three lines that all of these runs pass are proposed. Runs before a metric was added do not count.
- Where conversations failed, `max_failed_simulations` allows for as many as `completed_rate` would.

Names of metrics are foreign text. A name with unusual characters is replaced by the metric's id, and comments lose such
characters: no quote, bracket, backslash, `$`, `#` or operator of a foreign text gets into a file.
"""

from __future__ import annotations

import math
import unicodedata
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import number, one_line, percent, plural
from coval_gate.config.fields import IDENTIFIER, Allowance
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Measured
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge
from coval_gate.judge.statistics import beta_quantile
from coval_gate.judge.targets import effective_operator, named_values, problem
from coval_gate.judge.variants import variants_of
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coval_gate.coval.resources import MetricDefinition
    from coval_gate.model.results import Metric, RunResult

MOST_LINES: Final = 3
MARGIN: Final = 0.1  # share of the worst run's average
CONFIDENCE: Final = 0.95
STEP: Final = 20  # a share is rounded down to 1/20
LEAST_COMPLETED: Final = 0.5  # of a run that says something about the agent
PLAIN: Final = frozenset(" .,:/()+-_%")  # in foreign text, beside letters, marks and digits
LONGEST_COMMENT: Final = 80  # characters of foreign text
EVERY_FAILURE: Final = Allowance(100.0, percent=True)
GUESS: Final = "pass_rate >= 90%"
DIRECTIONS: Final = {"lt": ("<=",), "lte": ("<=",), "gt": (">=",), "gte": (">=",), "bt": ("<=", ">=")}


class Line(NamedTuple):
    """A proposed threshold, and the reason for it."""

    threshold: str
    reason: str

    def __str__(self) -> str:
        return f"{self.threshold}  # {self.reason}"


class Proposal(NamedTuple):
    """The proposed lines, from this many `runs`. `max_failed`: the value of max_failed_simulations, if it is needed."""

    lines: tuple[Line, ...]
    runs: int = 0
    max_failed: str = ""


def guess(why: str) -> Proposal:
    """Return a proposal without runs. `why` ends the comment, which says that it is a guess."""
    return Proposal((Line(GUESS, f"a guess: {why}; it needs metrics with targets"),))


def plain(text: str, limit: int = LONGEST_COMMENT * 2) -> str:
    """Return foreign text that cannot end a comment, a quoted text, or an expression in any file that `init` writes."""
    kept = (char if _is_plain(char) else " " for char in one_line(text, limit * 2).replace("…", "."))
    return " ".join("".join(kept).split())[:limit].strip()


def usable(runs: Sequence[RunResult]) -> tuple[RunResult, ...]:
    """Return the runs to learn from, newest first as given, and without mutations.

    These are the runs that the gate could judge, that mostly completed, and that have all metrics of the newest one.
    """
    of_agent = (
        run._replace(
            simulations=tuple(simulation for simulation in run.simulations if simulation.mutation == BASE), expected=0
        )
        for run in runs
    )
    sound = [run for run in of_agent if _says_something(run)]
    newest = {metric.id for metric in sound[0].metrics} if sound else set()
    return tuple(run for run in sound if newest <= {metric.id for metric in run.metrics})


def propose(runs: Sequence[RunResult], definitions: Mapping[str, MetricDefinition]) -> Proposal:
    """Return the thresholds that `runs` suggest, newest first, as `usable` returns them; at least one run.

    `definitions` of metrics are by id; the others have neither targets nor directions.
    """
    runs = [_with_targets(run, definitions) for run in runs]
    completed = [_completed(run) / len(run.simulations) for run in runs]
    some_failed, least = min(completed) < 1.0, _least_share(completed, runs)
    allowance = Allowance(100.0 - least, percent=True) if some_failed else Allowance(0)
    passed = (line for line in _candidates(runs, definitions) if _pass(runs, line, allowance))
    lines = tuple(islice(passed, MOST_LINES)) or (Line(f"completed_rate >= {least}%", _seen(completed, percent)),)
    return Proposal(lines, len(runs), str(allowance) if some_failed else "")


def _is_plain(char: str) -> bool:
    return char in PLAIN or char.isalnum() or unicodedata.category(char).startswith("M")


def _says_something(run: RunResult) -> bool:
    if not run.simulations or _completed(run) < LEAST_COMPLETED * len(run.simulations):
        return False
    return judge(run, Criteria(max_failed=EVERY_FAILURE)).verdict is Verdict.PASSED


def _completed(run: RunResult) -> int:
    return sum(simulation.completed for simulation in run.simulations)


def _with_targets(run: RunResult, definitions: Mapping[str, MetricDefinition]) -> RunResult:
    """Return a run with the targets and the possible texts of its metrics, as the gate adds them."""
    metrics = tuple(
        metric._replace(target=definition.target, defined=definition.texts)
        if metric.is_identified and (definition := definitions.get(metric.id))
        else metric
        for metric in run.metrics
    )
    return run._replace(metrics=metrics)


def _candidates(runs: Sequence[RunResult], definitions: Mapping[str, MetricDefinition]) -> Iterator[Line]:
    """Yield a line for each metric, in the order of the newest run, and one for all targets."""
    for metric in runs[0].metrics:
        if written := _written(metric, runs[0]):
            name = plain(metric.name, LONGEST_COMMENT) if written == metric.id else ""
            note = f"{name}. " if name and name != metric.id else ""
            yield from _numeric_lines(written, metric, definitions.get(metric.id), runs, note)
            if values := _values(metric):
                yield from _share_line(f"{written}: rate({', '.join(values)})", metric, runs, note)
    if any(metric.target for metric in runs[0].metrics):
        yield from _share_line("pass_rate", None, runs, "all targets in Coval. ")


def _written(metric: Metric, run: RunResult) -> str:
    """Return the metric as a threshold names it: by its name if that is plain and unique, else by its id.

    Empty if neither can be written.
    """
    name = f'"{metric.name}"' if ":" in metric.name else metric.name
    if metric.name[:1].isalnum() and plain(metric.name) == metric.name and _means(name, metric.name, metric, run):
        return name
    if metric.is_identified and IDENTIFIER.fullmatch(metric.id) and _means(metric.id, metric.id, metric, run):
        return metric.id
    return ""


def _means(written: str, reference: str, metric: Metric, run: RunResult) -> bool:
    """Return whether the grammar reads `written` as `reference`, and the gate takes that for the metric."""
    try:
        (threshold,) = parse_thresholds(f"{written}: avg >= 0  # reason")
    except (ThresholdSyntaxError, ValueError):
        return False
    return threshold.metric == reference and run.find_metrics(reference) == (metric,)


def _numeric_lines(
    written: str, metric: Metric, definition: MetricDefinition | None, runs: Sequence[RunResult], note: str
) -> Iterator[Line]:
    """Yield the line for each direction that the metric's target or definition says."""
    averages = _measured(f"{written}: avg >= 0", metric, runs)
    unit = plain(definition.unit, 20) if definition else ""
    for operator in _directions(metric, definition) if averages else ():
        bound = bound_of(averages, up=operator == "<=")
        if operator == "<=" or Decimal(bound) != 0:  # values that are never negative would meet 0
            yield Line(f"{written}: avg {operator} {bound}", f"{note}{_seen(averages, _short)} {unit}".strip())


def _directions(metric: Metric, definition: MetricDefinition | None) -> tuple[str, ...]:
    """Return the operators of a bound in the direction that is better; none if that is unknown."""
    if metric.target and not problem(metric.target):
        return DIRECTIONS.get(effective_operator(metric.target), ())
    return ("<=",) if definition and definition.wants_less else ()


def bound_of(averages: Sequence[float], *, up: bool) -> str:
    """Return the bound above (`up`) or below all averages, as a threshold writes it; see the module's docstring."""
    worst = max(averages) if up else min(averages)
    return rounded(worst + MARGIN * abs(worst) * (1 if up else -1), up=up)


def rounded(value: float, *, up: bool) -> str:
    """Return a number with two significant digits, rounded up or down, as a threshold writes it."""
    if not value:
        return "0"
    exact = Decimal(repr(value))
    short = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), ROUND_CEILING if up else ROUND_FLOOR).normalize()
    return f"{short:f}" if -6 <= short.adjusted() <= 15 else f"{short:e}"


def _values(metric: Metric) -> tuple[str, ...]:
    """Return the texts that the metric's target names, if they can be written."""
    target = metric.target
    if target is None or problem(target) or effective_operator(target) != "in":
        return ()
    values = named_values(target)
    can_be_written = all(
        value[:1].isalnum() and plain(value) == value and not set(",:()") & set(value) for value in values
    )
    return values if can_be_written else ()


def _share_line(subject: str, metric: Metric | None, runs: Sequence[RunResult], note: str) -> Iterator[Line]:
    """Yield the line with the least share that the runs suggest; none if any would do."""
    shares = _measured(f"{subject} >= 0%", metric, runs)
    if shares and (least := _least_share(shares, runs)):
        yield Line(f"{subject} >= {least}%", f"{note}{_seen(shares, percent)}")


def _measured(line: str, metric: Metric | None, runs: Sequence[RunResult]) -> list[float]:
    """Return what the gate measures for a threshold in each run; none if it cannot in one of them."""
    try:
        (threshold,) = parse_thresholds(line)
    except ThresholdSyntaxError:
        return []
    found = []
    for run in runs:
        (variant,) = variants_of(run, 0)
        own = next(other for other in run.metrics if other.id == metric.id) if metric else None
        if own and threshold.aggregate.name == "avg" and (own.summary or own.texts or not variant.sample(own).numbers):
            return []
        measured = aggregation_of(threshold).measured(variant, own)
        if not isinstance(measured, Measured):
            return []
        found.append(measured.measure.value)
    return found


def _pass(runs: Sequence[RunResult], line: Line, allowance: Allowance) -> bool:
    """Return whether all runs pass the line. They do not if values are missing, or a target is unusable."""
    criteria = Criteria(max_failed=allowance, thresholds=parse_thresholds(str(line)))
    return all(judge(run, criteria).verdict is Verdict.PASSED for run in runs)


def _least_share(shares: Sequence[float], runs: Sequence[RunResult]) -> int:
    """Return the share that the runs suggest as the least, in percent; see the module's docstring."""
    totals = [len(run.simulations) for run in runs]
    hits = sum(round(share * total) for share, total in zip(shares, totals, strict=True))
    lower = beta_quantile(1.0 - CONFIDENCE, hits, sum(totals) - hits + 1.0) if hits else 0.0
    return _rounded_down(min(lower, *shares)) or _rounded_down(min(shares))


def _rounded_down(share: float) -> int:
    return math.floor(share * STEP + 1e-9) * (100 // STEP)


def _short(value: float) -> str:
    return number(float(f"{value:.3g}"))


def _seen(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Return what the runs showed: "8 runs: 70% to 100%"."""
    lowest, highest = shown(min(values)), shown(max(values))
    return f"{plural(len(values), 'run')}: {lowest if lowest == highest else f'{lowest} to {highest}'}"
