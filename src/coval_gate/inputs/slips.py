"""Corrects the slips that people make in a line of thresholds, such as `p95` or `=<`. Pure.

A slip is a pattern with its replacement. It applies if the grammar can then read further. A correction is certain only
if the grammar reads the whole corrected line, so this table cannot accept anything by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import visible
from coval_gate.inputs.aggregates import KIND, KINDS, NAMES, OF_METRIC, OF_RUN
from coval_gate.inputs.thresholds import MEANT, ONE_PER_LINE, ThresholdSyntaxError, WrongLine, parse_thresholds

LONGEST: Final = 300  # characters of a line to correct
MOST: Final = 6  # slips in one line
SIMILAR: Final = 0.8  # from 0 to 1; the least similarity of a misspelt aggregate
Words = str | Callable[[re.Match[str]], str]

SIGN: Final = r"[<>=!≤≥≠⩽⩾]"
NUMBER: Final = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})"
NAMELESS: Final = rf"(?!(?:{'|'.join(NAMES)})\s*[(<>=!])"  # not an aggregate without a metric
METRIC: Final = r"""("[^"]*"|[^:<>=!"'#]*[^:<>=!"'#\s])\s*:?\s*"""
SEVERAL: Final = re.compile(rf"[^#]*{SIGN}\s*{NUMBER}%?\s*[;,&][^#]*{SIGN}")  # thresholds
VALUES: Final = rf"""\s*"?(?!(?:{"|".join(NAMES)}|p)\b)([A-Za-z][\w, -]*?)"?\s*"""  # after the metric
LAST: Final = r"\s*(?=#|$)"  # nothing but a comment follows
SYNONYMS: Final = NAMES | {word: kind.name for kind in KINDS for word in kind.meant_by}
FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
NEGATED: Final = re.compile(r"un|in|non|not|no[ _-]")  # at the beginning of a misspelt aggregate


class Slip(NamedTuple):
    """A pattern, its replacement (None: no certain one), and advice as the end of a sentence."""

    wrong: re.Pattern[str]
    right: Words | None
    advice: Words

    def corrected(self, line: str) -> str:
        """Return the line without the slip; the same line if it has none."""
        match = self.wrong.search(line)
        if not match or self.right is None:
            return line
        right = self.right(match) if callable(self.right) else match.expand(self.right)
        return line[: match.start()] + right + line[match.end() :]

    def advice_for(self, line: str) -> str:
        """Return the advice about the slip; "" if the line does not have it."""
        match = self.wrong.search(line)
        if not match:
            return ""
        return visible(self.advice(match) if callable(self.advice) else match.expand(self.advice))


def explained(wrong: WrongLine) -> WrongLine:
    """Return an invalid line with advice and a correction, where there are any."""
    if wrong.advice or len(wrong.text) > LONGEST:
        return wrong
    if SEVERAL.match(wrong.text):
        return wrong._replace(advice=ONE_PER_LINE)
    line, advice = wrong.text, list[str]()
    for _ in range(MOST):
        error = _error(line)
        better = (slip for slip in SLIPS if error and _unread(slip.corrected(line)) < len(line) - error.column + 1)
        if (slip := next(better, None)) is None:
            break
        advice.append(slip.advice_for(line))
        line = slip.corrected(line)
    is_certain = _error(line) is None
    if not is_certain:
        advice.append(next(filter(None, (slip.advice_for(line) for slip in RIDDLES)), ""))
    # Questions come last.
    different = sorted(dict.fromkeys(filter(None, advice)), key=lambda sentence: sentence.endswith("?"))
    told = "; ".join(different).replace("?; ", "? ")
    return wrong._replace(advice=told, correction=line.strip() if is_certain else "")


def _error(line: str) -> WrongLine | None:
    try:
        parse_thresholds(line)
    except ThresholdSyntaxError as error:
        return error.errors[0]
    return None


def _unread(line: str) -> int:
    """Return the number of characters from the error to the end of the line; -1 for a valid line."""
    error = _error(line)
    return len(line) - error.column + 1 if error else -1


def _slip(wrong: str, right: Words | None, advice: Words) -> Slip:
    return Slip(re.compile(wrong, re.IGNORECASE), right, advice)


def _aggregate_meant(word: str, names: tuple[str, ...]) -> str:
    """Return the aggregate among `names` that a word means, or else the word."""
    from difflib import get_close_matches

    meanings = {name: right for name, right in SYNONYMS.items() if right in names and KIND[right].takes != "percentile"}
    plain = re.sub(r"[\s-]+", "_", word.strip().lower())
    if NEGATED.match(plain):
        return word  # it means the opposite, however similar
    close = get_close_matches(plain, meanings, n=1, cutoff=SIMILAR)
    return meanings.get(close[0], "") if close else word


def _of_metric(match: re.Match[str]) -> str:
    return f" {_aggregate_meant(match[1], OF_METRIC)}"


def _of_run(match: re.Match[str]) -> str:
    return f"{_aggregate_meant(match[1], OF_RUN)} "


def _percentile(match: re.Match[str]) -> str:
    percent = float(match[1])
    return f"p({percent * 100 if 0 < percent < 1 else percent:.10g})"  # 0.95 stands for 95


SLIPS: Final = (
    _slip(r"[“”„‟«]([^“”„‟«»\"]*)[“”„‟»]", r'"\1"', 'use straight quotes (")'),
    _slip(r"^\s*[-*+•–—]\s+", "", "remove the list marker; quote a metric that begins with one"),
    _slip(rf"{SIGN}+", lambda match: MEANT.get(match[0], match[0]),
          lambda match: f"expected {MEANT[match[0]]}, got {match[0]}"),
    _slip(rf"^\s*({NUMBER}%?)\s*(<=|>=|<|>|==|!=)\s*([^<>=!#]+?){LAST}",
          lambda match: f"{match[3]} {FLIPPED[match[2]]} {match[1]}", "put the bound last"),
    _slip(rf"^\s*([A-Za-z][A-Za-z_ -]*?)\s*(?={SIGN})", _of_run,
          lambda match: f"did you mean {_of_run(match).strip()}?"),
    _slip(r"""^(\s*(?:"[^"]*"|'[^']*'|[^:#"'<>=]*?[^\s:#"'.<>=]))\s+"""
          rf"(?=(?:{'|'.join(OF_METRIC)}|p_?\d{{1,2}})(?![\w]))", r"\1: ", "put a colon after the metric"),
    _slip(rf"""^\s*(?!['"])([^"<>=]*[:#'][^"<>=]*?)\s*:\s*(?=(?:{'|'.join({*NAMES} - {*OF_RUN})})\b)""",
          r'"\1": ', "quote a metric that contains : # or '"),
    _slip(r"(?<=[:\s])p_?\s?\(?\s*(\d{1,2}(?:\.\d{1,4})?|100)%?(?:\s*\)|(?![\d.(%]))", _percentile,
          lambda match: f"write {_percentile(match)}"),
    _slip(r"(?<=:)\s*(?!p\b)([A-Za-z][A-Za-z_-]*)", _of_metric, lambda match: f"did you mean{_of_metric(match)}?"),
    _slip(rf"(?<=:){VALUES}(?={SIGN}+\s*{NUMBER}%)", r" rate(\1) ", r"write rate(\1)"),
    _slip(rf"\b(rate|count)\s*[\[{{:= ]\s*([A-Za-z][\w, ]*?)\s*[\]}}]?\s*(?={SIGN})", r"\1(\2) ", r"write \1(\2)"),
    _slip(r"(?<=[<>=!\s])(0|\d{1,12}(?!,\d{3}(?!\d))),(\d{1,12})(?![\d,])", r"\1.\2", "use a decimal point"),
    _slip(rf"(?<={SIGN})\s*({NUMBER})\s*s(?:ec(?:onds?)?)?{LAST}", r" \1",
          "remove the unit: a bound has the unit of its metric"),
    _slip(rf"(?<={SIGN})\s*((?:[2-9]|\d\d)(?:\.\d{{1,3}})?|100)(?:\s*percent)?{LAST}", r" \1%",
          r"write \1% for percent"),
)  # fmt: skip
"""Slips whose correction is certain if the grammar accepts it."""

RIDDLES: Final = (
    _slip(rf"(?<={SIGN})\s*{NUMBER}\s*[^\W\d_]+\.?{LAST}", None, "remove the unit: a bound has the unit of its metric"),
    _slip(r"\b(rate|count)\s*(?:\(\s*\))?\s*[<>=!]", None, r"name the values in parentheses, as in \1(YES)"),
    _slip(rf"""(?<=:)\s*"?((?-i:[A-Z_]+)|yes|no|true|false)"?\s*{SIGN}""", None, r"write rate(\1) or count(\1)"),
    _slip(rf"{SIGN}\s*(?:true|false|yes|no)\b", None, "compare with a number, as in `Resolved: rate(YES) >= 90%`"),
    _slip(rf"^\s*{NAMELESS}{METRIC}({SIGN}+)\s*({NUMBER}%)", None,
          r"say which values to count, as in `\1: rate(YES) \2 \3`"),
    _slip(rf"^\s*{NAMELESS}{METRIC}({SIGN}+)\s*({NUMBER})", None, r"say what to compare, as in `\1: avg \2 \3`"),
)  # fmt: skip
"""Slips with no certain correction; the most specific advice first."""
