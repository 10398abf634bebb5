"""Calculates how many conversations a threshold with a confidence needs.

make plan INPUTS="Resolved: rate(YES) >= 90% --truth 97%"
python -m coval_planner 'Resolved: rate(YES) >= 90%' --confidence 95% --truth 97% --count 50
python -m coval_planner 'Resolved: rate(YES) >= baseline - 5pp' --before 95% --truth 80%
"""

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

from coval_gate.base.text import number, percent, plural, whole_number
from coval_gate.features.comparisons.words import MOST_TRIED, cases_to_compare
from coval_gate.features.confidence.bounds import MOST_PLANNED, needed
from coval_gate.features.planning.decidable import UNCHANGED, red_by_chance
from coval_gate.features.spending.sequential import MOST_SLICED, TRUTHS, Boundaries, slices_of
from coval_gate.gate.aggregates import Average, Percentile, aggregation_of
from coval_gate.gate.criteria import threshold_text
from coval_gate.gate.statistics import FEWEST_FOR_MEAN, POWER
from coval_gate.inputs import fields
from coval_gate.inputs.thresholds import Threshold, ThresholdSyntaxError, parse_thresholds
from coval_planner.passing import MISSES, cases_to_pass, chances
from coval_planner.power import Agents, Level, cases_to_decide, chance, misses
from coval_planner.tables import CONFIDENCE, CONVERSATIONS, ICC, SEED, counted

PLAN_INPUTS: Final = "PLAN_INPUTS"  # `make plan` passes INPUTS in this variable
COUNT: Final = 50
FACTORS: Final = (2.0, 1.5, 0.5, 0.1)  # of the allowed misses: worse and better agents
SHARE_PATTERN: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", re.ASCII)
ALLOWED: Final = 0.1  # misses instead of none, for agents worse and better than a threshold of 100%
COMPARED_DESIGNS: Final = ((1, 1), (3, 1), (1, 3))  # runs of the baseline, and conversations of a test case in each run
IS_AS_COUNTED: Final = "The value as counted decides, whatever the number of conversations. Confidence has no effect."
NO_FORMULA: Final = (
    "How many test cases it needs to notice a change depends on all values. Launch a run: its report shows the change\n"
    "that it would notice. An average or a rate notices the same change with fewer test cases."
)
AVERAGE_NEEDS_A_RUN: Final = (
    "How many conversations an average needs depends on how much its values vary. A run shows that:\n"
    f"launch one with at least {FEWEST_FOR_MEAN} test cases, and look at the distance between its bounds.\n"
    "Four times as many test cases halve that distance."
)
CASES: Final = "This assumes one conversation per test case. Repeating a test case shows less than another test case."


class Rate(NamedTuple):
    """The requirement of a threshold: in the long run, at least `share` of the conversations are not misses.

    `name`: the rate that users know. `inverse`: it is the share of misses.
    """

    share: float
    miss: str
    name: str
    inverse: bool = False

    def mirrored(self, rate: float) -> float:
        """Convert between the rate that users know and the share without misses."""
        return 1.0 - rate if self.inverse else rate


def plan(threshold: Threshold, confidence: float, truth: float | None, count: int) -> Iterable[str]:
    """Yield what a threshold with a number needs. `truth`: the agent's true rate, as the threshold counts it."""
    rate = demanded(threshold)
    if threshold.aggregate.kind.is_lowest:
        truths = UNCHANGED if truth is None else (truth,)
        rows = [
            (percent(one), *(percent(red_by_chance(threshold, one, count, each)) for each in CONVERSATIONS))
            for one in truths
        ]
        yield (
            f"With {plural(count, 'test case')} that are equally hard, this share of runs is red, by the number of "
            f"conversations per\ntest case. The value as counted decides. Confidence has no effect."
        )
        yield _table(("each succeeds in", *map(str, CONVERSATIONS)), *rows)
        return
    if rate is None:
        yield AVERAGE_NEEDS_A_RUN if threshold.takes_confidence else IS_AS_COUNTED
        return
    usual = [1.0 - factor * (1.0 - rate.share or ALLOWED) for factor in FACTORS]
    shares = [share for share in usual if share >= 0.0] if truth is None else [rate.mirrored(truth)]
    yield rate.miss
    yield _passing(rate, confidence)
    yield _outcomes(rate, confidence, shares, count)
    if count <= MOST_SLICED:
        yield _spending(rate, confidence, count)
    if better := [share for share in shares if share > rate.share]:
        yield "\n".join(_enough(rate, confidence, share) for share in better)
    yield CASES


def demanded(threshold: Threshold) -> Rate | None:
    """Return the rate that a threshold requires; None if nothing but a rate decides it."""
    share = aggregation_of(threshold).demanded_share
    if share is None or not threshold.takes_confidence:
        return None
    if threshold.aggregate.is_rate:
        counts = "counts" if threshold.wants_less else "does not count"
        miss = f"A miss is a conversation that {counts} for {threshold.aggregate}."
        return Rate(share, miss, str(threshold.aggregate), inverse=threshold.wants_less)
    condition = f"{threshold.operator} {number(threshold.bound.number)}"
    return Rate(share, f"A miss is a value that is not {condition}.", f"share of values {condition}")


def _passing(rate: Rate, confidence: float) -> str:
    counts = [needed(rate.share, misses, confidence) for misses in MISSES]
    if counts[0] is None:
        return f"It cannot pass: even {MOST_PLANNED:,} conversations without a miss are not enough."
    table = _table(
        ("misses", *map(str, MISSES)), ("conversations", *(f"{count:,}" if count else "–" for count in counts))
    )
    return f"It passes with this many conversations or more:\n\n{table}"


def _outcomes(rate: Rate, confidence: float, shares: Iterable[float], count: int) -> str:
    rows: list[tuple[str, ...]] = [(f"true {rate.name}", "passes", "fails", "inconclusive")]
    for share in shares:
        outcomes = chances(rate.share, share, count, confidence)
        cells = (outcomes.passed, outcomes.failed, max(0.0, 1.0 - outcomes.passed - outcomes.failed))
        rows.append((percent(rate.mirrored(share)), *(f"{100 * chance:.0f}%" for chance in cells)))
    return f"With {plural(count, 'conversation')}, it\n\n{_table(*rows)}"


def _spending(rate: Rate, confidence: float, count: int) -> str:
    """Return what slices save: how many conversations a clear answer needs on average."""
    boundaries = Boundaries.of(rate.share, slices_of(count), round(1.0 - confidence, 9))
    rows: list[tuple[str, ...]] = [(f"true {rate.name}", "conversations", "saved", "passes", "fails")]
    for share in TRUTHS:
        ends = boundaries.ends(share)
        shares = (1.0 - ends.conversations / count, ends.passed, ends.failed)
        cells = (f"{ends.conversations:.0f}", *(f"{100 * part:.0f}%" for part in shares))
        rows.append((percent(rate.mirrored(share)), *cells))
    return f"With spend: until clear, and {plural(count, 'conversation')} at most, it takes\n\n{_table(*rows)}"


def _enough(rate: Rate, confidence: float, share: float) -> str:
    cases = cases_to_pass(rate.share, share, confidence)
    takes = plural(cases, "conversation") if cases else f"more than {MOST_PLANNED:,} conversations"
    agent = f"If the true {rate.name} is {percent(rate.mirrored(share))}"
    return f"{agent}, it takes {takes} to pass with a chance of {percent(POWER)}."


def plan_comparison(threshold: Threshold, level: Level, agents: Agents | None, count: int) -> Iterable[str]:
    """Yield what a threshold that compares with a baseline needs. `agents`: the change to notice, if given."""
    if not threshold.takes_confidence:
        yield IS_AS_COUNTED
        return
    what = "pass" if threshold.asks_for_improvement else "fail"
    least = cases_to_compare(threshold, level.confidence, family=level.family)
    runs = " and one run in the baseline" if threshold.aggregate.is_rate and what == "fail" else ""
    yield (
        f"With fewer than {plural(least, 'test case')}{runs}, it can never {what}."
        if least
        else f"It can never {what}: not even {MOST_TRIED:,} test cases show the largest possible change."
    )
    if isinstance(aggregation_of(threshold), Percentile):
        yield NO_FORMULA
    elif agents is None:
        example = "--before 95% --truth 80%" if threshold.aggregate.is_rate else "--before 1.2 --truth 1.6 --spread 0.6"
        yield f"Add the change that it should notice, such as {example}."
    else:
        yield from _noticed(threshold, level, agents, count)


def _noticed(threshold: Threshold, level: Level, agents: Agents, count: int) -> Iterable[str]:
    """Yield how many test cases notice the change, and how often `count` test cases do."""
    shown = percent if threshold.aggregate.is_rate else number
    before, now = shown(agents.before), shown(agents.now)
    if math.isclose(agents.now, threshold.bound.of(agents.before)):
        yield f"{now} is exactly the bound: no number of test cases can decide it."
        return
    rows: list[tuple[str, ...]] = [("before", "now", "test cases", f"chance with {count:,}")]
    for runs, iterations in COMPARED_DESIGNS:
        each = agents._replace(runs=runs, iterations=iterations)
        cases = cases_to_decide(threshold, each, level, lambda: Random(SEED))  # noqa: S311 - a simulation
        share = chance(threshold, each, count, level, Random(SEED))  # noqa: S311 - a simulation
        rows.append((str(runs * iterations), str(iterations), counted(cases), f"{100 * share:.0f}%"))
    moves = f"goes from {before} to {now}" if now != before else f"stays at {now}"
    what = "fail" if misses(threshold, agents) else "pass"
    yield (
        f"If the true {threshold.aggregate} {moves}, it takes this many test cases to {what} with a chance of "
        f'{percent(POWER)}.\n"before" and "now" are conversations of each test case, in the baseline and now.'
    )
    yield _table(*rows)
    others = (
        f"It is one of {level.family:,} thresholds (--thresholds)"
        if level.family > 1
        else "With other thresholds, it takes more (--thresholds)"
    )
    yield f"Assumed: {percent(agents.icc)} of the variance is due to the test case. {others}."


def _table(*rows: tuple[str, ...]) -> str:
    """Return rows as aligned columns: the first one left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(["  " + row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _threshold(text: str) -> Threshold:
    try:
        (threshold,) = parse_thresholds(text)
    except ThresholdSyntaxError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    except ValueError:
        raise argparse.ArgumentTypeError("must be one threshold") from None
    return threshold


def _number(text: str) -> float:
    match = SHARE_PATTERN.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"must be a share such as 95% or 0.95, or a number; got {text!r}")
    return float(match[1]) / (100.0 if match[2] else 1.0)


def _confidence(text: str) -> float:
    try:
        return fields.confidence().parse(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    count = whole_number(text)
    if count is None or not 1 <= count <= MOST_PLANNED:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_PLANNED}; got {text!r}")
    return count


def split_entries(text: str) -> list[str]:
    """Return the arguments in a text of a threshold and options. The threshold ends before the first ` --`."""
    threshold, dashes, options = f" {text.strip()}".partition(" --")
    return [*filter(None, [threshold.strip()]), *shlex.split(f"--{options}" if dashes else "")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m coval_planner", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("threshold", type=_threshold, help="such as 'Resolved: rate(YES) >= 90%%'")
    parser.add_argument("--confidence", type=_confidence, default=CONFIDENCE, help="(default: 95%%)")
    parser.add_argument("--truth", type=_number, help="the agent's true rate or mean now (default: a few rates)")
    parser.add_argument("--before", type=_number, help="for a baseline: the agent's true rate or mean in it")
    parser.add_argument("--spread", type=_number, help="for an average: the standard deviation of its values")
    parser.add_argument(
        "--count", type=_count, default=COUNT, help="conversations or test cases per run (default: %(default)s)"
    )
    parser.add_argument(
        "--thresholds",
        type=_count,
        default=1,
        help="how many thresholds of the step compare with a baseline (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    threshold: Threshold = options.threshold
    for name in ("truth", "before"):
        if (getattr(options, name) or 0.0) > 1.0 and not isinstance(aggregation_of(threshold), Average):
            parser.error(f"argument --{name}: must be a share such as 95% or 0.95; got {getattr(options, name):g}")
    if threshold.bound.reference:
        spread = 0.0 if threshold.aggregate.is_rate else options.spread
        is_given = None not in (options.before, options.truth, spread)
        agents = Agents(options.before, options.truth, ICC, spread=spread) if is_given else None
        parts = plan_comparison(threshold, Level(options.confidence, options.thresholds), agents, options.count)
    elif options.before is None and options.spread is None:
        parts = plan(threshold, options.confidence, options.truth, options.count)
    else:
        parser.error("--before and --spread need a threshold with a baseline")
    title = f"{threshold_text(threshold)}, with a confidence of {percent(options.confidence)}"
    sys.stdout.write("\n\n".join([title, *parts]) + "\n")


if __name__ == "__main__":
    main([*split_entries(os.environ.pop(PLAN_INPUTS, "")), *sys.argv[1:]])
