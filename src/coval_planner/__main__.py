"""Plans how many conversations a threshold with a confidence needs. Without a threshold, it prints common ones.

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
from coval_gate.gate.aggregates import Average, Percentile, aggregation_of
from coval_gate.gate.claims import MOST_CASES, cases_to_compare
from coval_gate.gate.criteria import threshold_text
from coval_gate.gate.sequential import MOST_CASES as MOST_IN_SLICES
from coval_gate.gate.sequential import TRUTHS, Boundaries, slices_of
from coval_gate.gate.statistics import FEWEST_FOR_MEAN, MOST, POWER, needed
from coval_gate.inputs import fields
from coval_gate.inputs.thresholds import Threshold, ThresholdSyntaxError, parse_thresholds
from coval_planner import tables
from coval_planner.passing import MISSES, cases_to_pass, chances, fewest_misses
from coval_planner.power import Agents, Level, cases_to_decide, chance, misses

ENTRIES: Final = "PLAN_INPUTS"  # the variable in which `make plan` passes INPUTS
COUNTS: Final = (5, 10, 20, 50, 100, 200)  # conversations
COUNT: Final = 50
CONFIDENCE: Final = 0.95
FACTORS: Final = (2.0, 1.5, 0.5, 0.1)  # of the misses that a threshold allows: worse and better agents
SHARE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", re.ASCII)
ALLOWED: Final = 0.1  # misses instead of none, for agents worse and better than a threshold of 100%
ITERATIONS: Final = ((1, 1), (3, 1), (3, 3))  # conversations of each test case, in the baseline and now
ICC: Final = 0.3
SEED: Final = 1  # of the simulated runs; always the same
NO_FORMULA: Final = (
    "The number of test cases that it needs to notice a change depends on all values. Launch a run: its report says\n"
    "which change it notices. An average or a rate notices the same change with fewer test cases."
)
CASES: Final = "This assumes one conversation per test case. Several of the same test case say less."


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


class Change(NamedTuple):
    """The change that a threshold should notice, from the command line; None if not given.

    `family`: the number of thresholds that the step compares with a baseline.
    """

    before: float | None = None
    truth: float | None = None
    spread: float | None = None
    icc: float = ICC
    family: int = 1


def plan(threshold: Threshold, confidence: float, truth: float | None = None, count: int = COUNT) -> str:
    """Return as text what a threshold against a number needs.

    `truth` is the agent's true rate, as the threshold counts it.
    """
    title = _title(threshold, confidence)
    rate = demanded(threshold)
    if rate is None:
        return f"{title}\n\n{_without_plan(threshold)}\n"
    usual = [1.0 - factor * (1.0 - rate.share or ALLOWED) for factor in FACTORS]
    shares = [share for share in usual if share >= 0.0] if truth is None else [rate.mirrored(truth)]
    parts = [
        title,
        rate.miss,
        _passing(rate, confidence),
        _failing(rate, confidence, sorted({*COUNTS, count})),
        _outcomes(rate, confidence, shares, count),
        _spending(rate, confidence, count),
        "\n".join(_enough(rate, confidence, share) for share in shares if share > rate.share),
        CASES,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def plan_comparison(threshold: Threshold, confidence: float, change: Change, count: int = COUNT) -> str:
    """Return as text what a threshold against a baseline needs."""
    parts = [_title(threshold, confidence)]
    if not threshold.takes_confidence:
        parts.append("It is decided as counted, with any number of conversations. Confidence has no effect.")
    elif isinstance(aggregation_of(threshold), Percentile):
        parts += [_at_least(threshold, confidence, change.family), NO_FORMULA]
    elif change.before is None or change.truth is None or (change.spread is None and not threshold.aggregate.is_rate):
        example = "--before 95% --truth 80%" if threshold.aggregate.is_rate else "--before 1.2 --truth 1.6 --spread 0.6"
        parts += [
            _at_least(threshold, confidence, change.family),
            f"Say which change it should notice, such as {example}.",
        ]
    else:
        parts += [_at_least(threshold, confidence, change.family), *_noticed(threshold, confidence, change, count)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _title(threshold: Threshold, confidence: float) -> str:
    return f"{threshold_text(threshold)}, with a confidence of {percent(confidence)}"


def _at_least(threshold: Threshold, confidence: float, family: int) -> str:
    what = "pass" if threshold.asks_for_improvement else "fail"
    cases = cases_to_compare(threshold, confidence, family=family)
    if cases is None:
        return f"It can never {what}: not even {MOST_CASES:,} test cases show the largest possible change."
    runs = " and one run in the baseline" if threshold.aggregate.is_rate and not threshold.asks_for_improvement else ""
    return f"With fewer than {plural(cases, 'test case')}{runs}, it can never {what}."


def _noticed(threshold: Threshold, confidence: float, change: Change, count: int) -> tuple[str, ...]:
    """Return how many test cases decide it, and how often `count` do."""
    before, now, spread = change.before or 0.0, change.truth or 0.0, change.spread or 0.0
    shown = percent if threshold.aggregate.is_rate else number
    agents = Agents(before, now, change.icc, spread=spread)
    what, level = "fail" if misses(threshold, agents) else "pass", Level(confidence, change.family)
    among = f"It is one of {change.family:,} thresholds (--thresholds)"
    alone = "With other thresholds, it takes more (--thresholds)"
    if math.isclose(now, threshold.bound.of(before)):
        return (f"{shown(now)} is exactly the bound: no number of test cases can decide it.",)
    rows: list[tuple[str, ...]] = [("before", "now", "test cases", f"chance with {count:,}")]
    for earlier, iterations in ITERATIONS:
        each = agents._replace(earlier=earlier, iterations=iterations)
        cases = cases_to_decide(threshold, each, level, lambda: Random(SEED))  # noqa: S311 - a simulation
        share = chance(threshold, each, count, level, Random(SEED))  # noqa: S311 - a simulation
        enough = f"{cases:,}" if cases else f"> {MOST_CASES:,}"
        rows.append((str(earlier), str(iterations), enough, f"{100 * share:.0f}%"))
    moves = f"goes from {shown(before)} to {shown(now)}" if now != before else f"stays at {shown(now)}"
    return (
        f"If the true {threshold.aggregate} {moves}, it takes this many test cases to {what} with a chance of "
        f'{percent(POWER)}.\n"before" and "now" are conversations of each test case, in the baseline and now.',
        _table(*rows),
        f"Assumed: {percent(change.icc)} of the variance is due to the test case (--icc). "
        f"{among if change.family > 1 else alone}.",
    )


def demanded(threshold: Threshold) -> Rate | None:
    """Return the rate that a threshold requires; None if it is decided in another way."""
    share = aggregation_of(threshold).demanded_share
    if share is None or not threshold.takes_confidence:
        return None
    if threshold.aggregate.is_rate:
        counts = "counts" if threshold.wants_less else "does not count"
        miss = f"A miss is a conversation that {counts} for {threshold.aggregate}."
        return Rate(share, miss, str(threshold.aggregate), inverse=threshold.wants_less)
    condition = f"{threshold.operator} {number(threshold.bound.number)}"
    return Rate(share, f"A miss is a value that is not {condition}.", f"share of values {condition}")


def _without_plan(threshold: Threshold) -> str:
    if threshold.takes_confidence:
        return (
            "How many conversations an average needs depends on how much its values vary, which a run shows:\n"
            f"launch one of at least {FEWEST_FOR_MEAN} test cases, and see how far apart its bounds are.\n"
            "Four times as many test cases halve that distance."
        )
    return (
        "This threshold is decided as counted, with any number of conversations: it is about this run alone.\n"
        "Confidence has no effect."
    )


def _passing(rate: Rate, confidence: float) -> str:
    counts = [needed(rate.share, misses, confidence) for misses in MISSES]
    if counts[0] is None:
        return f"It cannot pass: even {MOST:,} conversations without a miss are not enough."
    table = _table(
        ("misses", *map(str, MISSES)), ("conversations", *(f"{count:,}" if count else "–" for count in counts))
    )
    return f"It passes with this many conversations or more:\n\n{table}"


def _failing(rate: Rate, confidence: float, counts: Iterable[int]) -> str:
    rows = [(f"{count:,}", fewest_misses(rate.share, count, confidence)) for count in counts]
    table = _table(
        ("conversations", *(count for count, _ in rows)),
        ("misses", *("–" if misses is None else f"{misses:,}" for _, misses in rows)),
    )
    never = "\n\n–: no number of misses is enough." if any(misses is None for _, misses in rows) else ""
    return f"It fails with this many misses or more:\n\n{table}{never}"


def _outcomes(rate: Rate, confidence: float, shares: Iterable[float], count: int) -> str:
    rows: list[tuple[str, ...]] = [(f"true {rate.name}", "passes", "fails", "inconclusive")]
    for share in shares:
        outcomes = chances(rate.share, share, count, confidence)
        cells = (outcomes.passed, outcomes.failed, max(0.0, 1.0 - outcomes.passed - outcomes.failed))
        rows.append((percent(rate.mirrored(share)), *(f"{100 * chance:.0f}%" for chance in cells)))
    return f"With {plural(count, 'conversation')}, it\n\n{_table(*rows)}"


def _spending(rate: Rate, confidence: float, count: int) -> str:
    """Return what slices save: how many conversations a clear answer takes on average; nothing if they are too many."""
    if count > MOST_IN_SLICES:
        return ""
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
    agent = f"If the true {rate.name} is {percent(rate.mirrored(share))}, "
    if cases is None:
        return f"{agent}it takes more than {MOST:,} conversations to pass with a chance of {percent(POWER)}."
    return f"{agent}it takes {plural(cases, 'conversation')} to pass with a chance of {percent(POWER)}."


def _table(*rows: tuple[str, ...]) -> str:
    """Return rows as aligned columns: the first one left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(["  " + row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _threshold(text: str) -> Threshold:
    try:
        thresholds = parse_thresholds(text)
    except ThresholdSyntaxError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if len(thresholds) != 1:
        raise argparse.ArgumentTypeError(f"expected one threshold, got {len(thresholds)}")
    return thresholds[0]


def _number(text: str) -> float:
    match = SHARE.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"must be a share such as 95% or 0.95, or a number; got {text!r}")
    return float(match[1]) / (100.0 if match[2] else 1.0)


def _share(text: str) -> float:
    if (share := _number(text)) > 1.0:
        raise argparse.ArgumentTypeError(f"must be a share such as 95% or 0.95; got {text!r}")
    return share


def _confidence(text: str) -> float:
    try:
        return fields.confidence().parse(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    count = whole_number(text)
    if count is None or not 1 <= count <= MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST}; got {text!r}")
    return count


def split_entries(text: str) -> list[str]:
    """Return the arguments in a text of a threshold and options. The threshold ends before the first ` --`."""
    threshold, dashes, options = f" {text.strip()}".partition(" --")
    return [*filter(None, [threshold.strip()]), *shlex.split(f"--{options}" if dashes else "")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan for the threshold on the command line."""
    parser = argparse.ArgumentParser(prog="python -m coval_planner", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "threshold",
        nargs="?",
        type=_threshold,
        help="such as 'Resolved: rate(YES) >= 90%%'; without one, tables of common thresholds",
    )
    parser.add_argument("--confidence", type=_confidence, default=CONFIDENCE, help="(default: 95%%)")
    parser.add_argument("--truth", type=_number, help="the agent's true rate or mean now (default: a few rates)")
    parser.add_argument("--before", type=_number, help="against a baseline: its true rate or mean in the baseline")
    parser.add_argument("--spread", type=_number, help="of an average: the standard deviation of its values")
    parser.add_argument(
        "--icc", type=_share, default=ICC, help="share of the variance due to test cases (default: 0.3)"
    )
    parser.add_argument(
        "--count", type=_count, default=COUNT, help="conversations, or test cases, of a run (default: %(default)s)"
    )
    parser.add_argument(
        "--thresholds",
        type=_count,
        default=1,
        help="how many thresholds of the step are compared with a baseline (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.threshold is None:
        for text in tables.everything():
            sys.stdout.write(f"{text}\n\n")
            sys.stdout.flush()
        return
    threshold: Threshold = options.threshold
    compares = bool(threshold.bound.reference)
    for name in ("truth", "before"):
        if (getattr(options, name) or 0.0) > 1.0 and not isinstance(aggregation_of(threshold), Average):
            parser.error(f"argument --{name}: must be a share such as 95% or 0.95; got {getattr(options, name):g}")
    if not compares and (options.before is not None or options.spread is not None):
        parser.error("--before and --spread need a threshold against a baseline")
    if compares:
        change = Change(options.before, options.truth, options.spread, options.icc, options.thresholds)
        sys.stdout.write(plan_comparison(threshold, options.confidence, change, options.count))
    else:
        sys.stdout.write(plan(threshold, options.confidence, options.truth, options.count))


if __name__ == "__main__":
    main([*split_entries(os.environ.pop(ENTRIES, "")), *sys.argv[1:]])
