"""Proposes thresholds from completed runs, so that the first gate is not a guess. Pure.

The rules, for the runs of one agent, persona and test set; mutations of the agent do not count:

- Numbers: the average of each run is one observation. The bound is the median of the observations plus a margin, in
  the direction in which values get worse, and at least the worst observation. The margin is three standard deviations
  of the observations, and at least 5 % of the median; below three runs, which show no spread, it is 20 % of the median.
  The bound is rounded to two digits, away from the values.
- Direction: the metric's own target says whether less or more is better, or its definition, for Coval's own measures
  of delays and errors. Otherwise there are two advisory lines, one for each direction, which never make the check red.
- Shares (texts that the metric's target names, simulations that meet all targets, simulations that completed): the
  bound is the lower end of the one-sided interval of Clopper and Pearson over all conversations, with 95 % confidence,
  but at most the worst run, rounded down to 5 %. If that is 0 %, the worst run alone counts.
- Runs before a metric was added do not count. A line that one of the runs would not pass, because values are missing
  or targets are unusable, is advisory. So all of these runs pass all proposed lines.
- Where conversations failed, `max_failed_simulations` allows for as many as `completed_rate` does.

Names of metrics are foreign text. A name with unusual characters is replaced by the metric's id, and comments lose such
characters: no quote, bracket, backslash, `$`, `#` or operator of a foreign text gets into a file.
"""

from __future__ import annotations

import math
import unicodedata
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from statistics import median
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import folded, number, one_line, percent, plural
from coval_gate.config.fields import IDENTIFIER, Allowance
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.judge.aggregates import aggregation_of
from coval_gate.judge.aggregation import Measured
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge
from coval_gate.judge.statistics import beta_quantile, stdev
from coval_gate.judge.targets import effective_operator, named_values, problem
from coval_gate.judge.variants import variants_of
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coval_gate.coval.resources import MetricDefinition
    from coval_gate.model.results import Metric, RunResult

LEAST_FOR_SPREAD: Final = 3  # runs
DEVIATIONS: Final = 3.0
LEAST_MARGIN, MARGIN_WITHOUT_SPREAD = 0.05, 0.2  # shares of the median
CONFIDENCE: Final = 0.95
STEP: Final = 20  # a share is rounded down to 1/20
LEAST_COMPLETED: Final = 0.5  # of a run that says something about the agent
MOST_LINES: Final = 30
PLAIN: Final = frozenset(" .,:/()+-_%")  # in foreign text, beside letters, marks and digits
LONGEST_COMMENT: Final = 80  # characters of foreign text
EVERY_FAILURE: Final = Allowance(100.0, percent=True)
GUESS: Final = "pass_rate >= 90%"
LESS, MORE = ("lt", "lte"), ("gt", "gte")


class Line(NamedTuple):
    """A proposed threshold without its comment, and the reason for it. An `advisory` one never fails."""

    threshold: str
    reason: str
    advisory: bool = False

    def __str__(self) -> str:
        return f"{'? ' if self.advisory else ''}{self.threshold}  # {self.reason}"


class Proposal(NamedTuple):
    """The proposed lines, from this many `runs`. `max_failed`: the value of max_failed_simulations, if it is needed."""

    lines: tuple[Line, ...]
    runs: int = 0
    max_failed: str = ""


class _Share(NamedTuple):
    """How many of a run's simulations count, of how many."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total


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
    completed = [_Share(_completed(run), len(run.simulations)) for run in runs]
    some_failed = any(share.hits < share.total for share in completed)
    least = _least_share(completed)
    allowance = Allowance(100.0 - least, percent=True) if some_failed else Allowance(0)
    lines = list(_metric_lines(runs, definitions, allowance))[:MOST_LINES]
    if any(metric.target for metric in runs[0].metrics):
        lines += _share_lines("pass_rate", None, runs, allowance, lambda reason: f"{reason}; all targets in Coval")
    if some_failed or not lines:
        lines.append(Line(f"completed_rate >= {least}%", _seen(completed)))
    return Proposal(tuple(lines), len(runs), str(allowance) if some_failed else "")


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


def _metric_lines(
    runs: Sequence[RunResult], definitions: Mapping[str, MetricDefinition], allowance: Allowance
) -> Iterator[Line]:
    """Yield the lines about metrics, in the order of the newest run."""
    for metric in runs[0].metrics:
        written = _written(metric, runs[0])
        if not written:
            continue
        if observations := _averages(written, metric, runs):
            yield from _numeric_lines(written, metric, definitions.get(metric.id), observations, runs, allowance)
        else:
            yield from _rate(written, metric, runs, allowance)


def _written(metric: Metric, run: RunResult) -> str:
    """Return the metric as a threshold names it: by its name if that is plain and unique, else by its id.

    Empty if neither can be written.
    """
    same = [other for other in run.metrics if folded(other.name) == folded(metric.name)]
    is_plain = all(map(_is_plain, metric.name)) and metric.name[:1].isalnum() and metric.name == one_line(metric.name)
    if is_plain and len(same) == 1:
        written = f'"{metric.name}"' if ":" in metric.name else metric.name
        if _means(written, metric.name, metric, run):
            return written
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


def _averages(written: str, metric: Metric, runs: Sequence[RunResult]) -> list[float]:
    """Return the average of a metric in each run, as the gate measures it; none if it is not numeric in all of them."""
    (threshold,) = parse_thresholds(f"{written}: avg >= 0")
    aggregation, averages = aggregation_of(threshold), []
    for run in runs:
        own = _in_run(run, metric)
        if own.summary or not own.numbers or own.texts:
            return []
        (variant,) = variants_of(run, 0)
        measured = aggregation.measured(variant, own) if variant.sample(own).numbers else None
        if not isinstance(measured, Measured):
            return []
        averages.append(measured.measure.value)
    return averages


def _in_run(run: RunResult, metric: Metric) -> Metric:
    return next(other for other in run.metrics if other.id == metric.id)


def _numeric_lines(
    written: str,
    metric: Metric,
    definition: MetricDefinition | None,
    observations: Sequence[float],
    runs: Sequence[RunResult],
    allowance: Allowance,
) -> Iterator[Line]:
    """Yield the line for the direction that the metric's definition says, or an advisory line for each."""
    directions = _directions(metric, definition)
    unit = plain(definition.unit, 20) if definition else ""
    lowest, highest = (number(float(f"{edge(observations):.3g}")) for edge in (min, max))
    seen = f"{plural(len(runs), 'run')}: {lowest if lowest == highest else f'{lowest} to {highest}'} {unit}".strip()
    reason = seen if directions else f"{seen}. Coval does not say which direction is better: keep the line that matters"
    for operator in directions or ("<=", ">="):
        bound = bound_of(observations, up=operator == "<=")
        line = Line(f"{written}: avg {operator} {bound}", _of_id(written, metric, reason), advisory=not directions)
        if bound and operator == ">=" and Decimal(bound) == 0 and min(observations) >= 0:
            continue  # any value would do
        yield line if line.advisory else _decided(line, runs, allowance)


def _of_id(written: str, metric: Metric, reason: str) -> str:
    """Return the reason; with the metric's name, as far as it can be written, if the line has only its id."""
    name = plain(metric.name, LONGEST_COMMENT) if written == metric.id else ""
    return f"{name}. {reason}" if name and name != metric.id else reason


def _directions(metric: Metric, definition: MetricDefinition | None) -> tuple[str, ...]:
    """Return the operators of a bound in the direction that is better; none if that is unknown."""
    if metric.target and not problem(metric.target):
        operator = effective_operator(metric.target)
        if operator in LESS + MORE:
            return ("<=",) if operator in LESS else (">=",)
        if operator == "bt":
            return ("<=", ">=")
    return ("<=",) if definition and definition.wants_less else ()


def bound_of(observations: Sequence[float], *, up: bool) -> str:
    """Return the bound above (`up`) or below the observations, as a threshold writes it; see the module's docstring."""
    middle, worst = median(observations), max(observations) if up else min(observations)
    if len(observations) < LEAST_FOR_SPREAD:
        margin = MARGIN_WITHOUT_SPREAD * abs(middle)
    else:
        margin = max(DEVIATIONS * stdev(sorted(observations)), LEAST_MARGIN * abs(middle))
    bound = max(middle + margin, worst) if up else min(middle - margin, worst)
    if not up and bound <= 0.0 <= worst:
        bound = worst  # values that are never negative would meet any other bound
    return rounded(bound, up=up)


def rounded(value: float, *, up: bool) -> str:
    """Return a number with two significant digits, rounded up or down, as a threshold writes it."""
    if not value:
        return "0"
    exact = Decimal(repr(value))
    short = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), ROUND_CEILING if up else ROUND_FLOOR).normalize()
    return f"{short:f}" if -6 <= short.adjusted() <= 15 else f"{short:e}"


def _rate(written: str, metric: Metric, runs: Sequence[RunResult], allowance: Allowance) -> list[Line]:
    """Return the line for the share of the values that the metric's target names, if they can be written."""
    target = metric.target
    if target is None or problem(target) or effective_operator(target) != "in":
        return []
    values = named_values(target)
    if not all(value[:1].isalnum() and all(map(_is_plain, value)) and not set(",:()") & set(value) for value in values):
        return []
    subject = f"{written}: rate({', '.join(values)})"
    return _share_lines(subject, metric, runs, allowance, lambda reason: _of_id(written, metric, reason))


def _share_lines(
    subject: str,
    metric: Metric | None,
    runs: Sequence[RunResult],
    allowance: Allowance,
    explain: Callable[[str], str],
) -> list[Line]:
    """Return the line with the least share of the aggregate `subject` that the runs suggest; none if any would do."""
    try:
        (threshold,) = parse_thresholds(f"{subject} >= 0%")
    except ThresholdSyntaxError:
        return []
    shares = []
    for run in runs:
        (variant,) = variants_of(run, 0)
        measured = aggregation_of(threshold).measured(variant, _in_run(run, metric) if metric else None)
        if not isinstance(measured, Measured):
            return []
        total = len(run.simulations)
        shares.append(_Share(round(measured.measure.value * total), total))
    least = _least_share(shares)
    line = Line(f"{subject} >= {least}%", explain(_seen(shares)))
    return [_decided(line, runs, allowance)] if least else []


def _decided(line: Line, runs: Sequence[RunResult], allowance: Allowance) -> Line:
    """Return the line, as an advisory one if one of the runs would not have passed it."""
    criteria = Criteria(max_failed=allowance, thresholds=parse_thresholds(str(line)))
    if all(judge(run, criteria).verdict is Verdict.PASSED for run in runs):
        return line
    return line._replace(reason=f"{line.reason}; but not all of these runs could be judged by it", advisory=True)


def _least_share(shares: Sequence[_Share]) -> int:
    """Return the share that the runs suggest as the least, in percent; see the module's docstring."""
    hits, total = sum(share.hits for share in shares), sum(share.total for share in shares)
    lower = beta_quantile(1.0 - CONFIDENCE, hits, total - hits + 1.0) if hits else 0.0
    worst = min(share.value for share in shares)
    return _rounded_down(min(lower, worst)) or _rounded_down(worst)


def _rounded_down(share: float) -> int:
    return math.floor(share * STEP + 1e-9) * (100 // STEP)


def _seen(shares: Sequence[_Share]) -> str:
    """Return what the runs showed: "8 runs: 100% of 80 conversations", or "8 runs: 70% to 100%, 92% of 80 …"."""
    hits, total = sum(share.hits for share in shares), sum(share.total for share in shares)
    low, high = (percent(edge(share.value for share in shares)) for edge in (min, max))
    spread = "" if low == high else f"{low} to {high}, "
    return f"{plural(len(shares), 'run')}: {spread}{percent(hits / total)} of {plural(total, 'conversation')}"
