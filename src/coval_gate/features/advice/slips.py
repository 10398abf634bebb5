"""Corrects the slips that people make in a line of thresholds, such as `p95` or `=<`. Pure.

A slip is a pattern with its replacement. It applies if the grammar can then read further. A correction is certain only
if the grammar accepts the whole corrected line, so this table cannot accept anything by itself.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from coval_gate.base.text import plural, visible
from coval_gate.inputs.aggregates import KIND_NAMES, METRIC_KINDS
from coval_gate.inputs.thresholds import (
    LINE_BREAK,
    MEANT,
    ONE_PER_LINE,
    ThresholdSyntaxError,
    WrongLine,
    WrongThresholds,
    parse_thresholds,
)

LONGEST_CORRECTED: Final = 300  # characters of a line to correct
MOST_SLIPS: Final = 6  # slips in one line
MOST_EXPLAINED: Final = 20  # invalid lines with a correction
Words = str | Callable[[re.Match[str]], str]

SIGN: Final = r"[<>=!≤≥≠⩽⩾]"
BOUND: Final = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})"
NAMELESS: Final = rf"(?!(?:{'|'.join(KIND_NAMES)})\s*[(<>=!])"  # not an aggregate without a metric
A_METRIC: Final = r"""("[^"]*"|[^:<>=!"'#]*[^:<>=!"'#\s])\s*:?\s*"""
SEVERAL: Final = rf"[^#]*{SIGN}\s*{BOUND}%?\s*[;,&][^#]*{SIGN}"  # thresholds
ANSWERS: Final = rf"""\s*"?(?!(?:{"|".join(KIND_NAMES)}|p)\b)([A-Za-z][\w, -]*?)"?\s*"""  # after the metric
TAIL: Final = r"\s*(?=#|$)"  # nothing but a comment follows


class Slip(NamedTuple):
    """A pattern, its replacement (None: no certain one), and advice as the end of a sentence."""

    wrong: str
    right: Words | None
    advice: Words

    def without(self, line: str) -> tuple[str, str]:
        """Return the corrected line, and the advice; without this slip, the same line and no advice."""
        # Most thresholds are right: a pattern is compiled where one is wrong.
        match = re.search(self.wrong, line, re.IGNORECASE)
        if not match:
            return line, ""
        right = match[0] if self.right is None else _filled(self.right, match)
        return line[: match.start()] + right + line[match.end() :], visible(_filled(self.advice, match))


def _filled(words: Words, match: re.Match[str]) -> str:
    return words(match) if callable(words) else match.expand(words)


def with_corrections(lines: str, error: ThresholdSyntaxError) -> WrongThresholds:
    """Return the error that a user reads in place of that of the grammar."""
    first, *others = wrong = explained_lines(error)
    what = f", line {first.line}: {first.problem}."
    if others:
        what += f" {plural(len(others), 'more line')} {'is' if len(others) == 1 else 'are'} invalid."
    texts = re.split(LINE_BREAK, lines)
    for line in wrong:
        texts[line.line - 1] = line.correction
    try:
        meant = parse_thresholds("\n".join(texts))
    except ThresholdSyntaxError:
        meant = ()
    return WrongThresholds("\n".join([what, first.shown, *map(str, others)]), meant)


def explained_lines(error: ThresholdSyntaxError) -> list[WrongLine]:
    return [*map(explained, error.errors[:MOST_EXPLAINED]), *error.errors[MOST_EXPLAINED:]]


def explained(wrong: WrongLine) -> WrongLine:
    """Return an invalid line with advice and a correction, if known."""
    if wrong.advice or len(wrong.text) > LONGEST_CORRECTED:
        return wrong
    if re.match(SEVERAL, wrong.text):
        return wrong._replace(advice=ONE_PER_LINE)
    line, advice = wrong.text, list[str]()
    for _ in range(MOST_SLIPS):
        unread = _unread(line)
        better = ((other, why) for other, why in (slip.without(line) for slip in SLIPS) if _unread(other) < unread)
        if (better_line := next(better, None)) is None:
            break
        line, why = better_line
        advice.append(why)
    is_certain = _unread(line) < 0
    if not is_certain:
        advice.append(next((why for _, why in (riddle.without(line) for riddle in RIDDLES) if why), ""))
    advice_once = "; ".join(dict.fromkeys(filter(None, advice)))
    return wrong._replace(advice=advice_once, correction=line.strip() if is_certain else "")


def _unread(line: str) -> int:
    """Return the number of characters from the error to the end of the line; -1 for a valid line."""
    try:
        parse_thresholds(line)
    except ThresholdSyntaxError as error:
        return len(line) - error.column + 1
    return -1


def _percentile(match: re.Match[str]) -> str:
    percent = float(match[1])
    return f"p({percent * 100 if 0 < percent < 1 else percent:.10g})"  # 0.95 stands for 95


SLIPS: Final = (
    Slip(rf"{SIGN}+", lambda match: MEANT.get(match[0], match[0]),
         lambda match: f"expected {MEANT.get(match[0])}, got {match[0]}"),
    Slip(r"""^(\s*(?:"[^"]*"|'[^']*'|[^:#"'<>=]*?[^\s:#"'.<>=]))\s+"""
         rf"(?=(?:{'|'.join(METRIC_KINDS)}|p_?\d{{1,2}})(?![\w]))", r"\1: ", "put a colon after the metric"),
    Slip(r"(?<=[:\s])p_?\s?\(?\s*(\d{1,2}(?:\.\d{1,4})?|100)%?(?:\s*\)|(?![\d.(%]))", _percentile,
         lambda match: f"write {_percentile(match)}"),
    Slip(rf"(?<=:){ANSWERS}(?={SIGN}+\s*{BOUND}%)", r" rate(\1) ", r"write rate(\1)"),
    Slip(rf"(?<={SIGN})\s*({BOUND})\s*s(?:ec(?:onds?)?)?{TAIL}", r" \1",
         "remove the unit: a bound has the unit of its metric"),
    Slip(rf"(?<={SIGN})\s*((?:[2-9]|\d\d)(?:\.\d{{1,3}})?|100)(?:\s*percent)?{TAIL}", r" \1%",
         r"write \1% for percent"),
)  # fmt: skip
"""Slips whose correction is certain if the grammar accepts it."""

RIDDLES: Final = (
    Slip(rf"(?<={SIGN})\s*{BOUND}\s*[^\W\d_]+\.?{TAIL}", None, "remove the unit: a bound has the unit of its metric"),
    Slip(r"\b(rate|count|worst)\s*(?:\(\s*\))?\s*[<>=!]", None, r"name the values in parentheses, as in \1(YES)"),
    Slip(rf"^\s*{NAMELESS}{A_METRIC}({SIGN}+)\s*({BOUND}%)", None,
         r"name the values to count, as in `\1: rate(YES) \2 \3`"),
    Slip(rf"^\s*{NAMELESS}{A_METRIC}({SIGN}+)\s*({BOUND})", None, r"name an aggregate, as in `\1: avg \2 \3`"),
)  # fmt: skip
"""Slips with no certain correction; the most specific advice first."""
