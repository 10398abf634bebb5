"""Corrects slips in a line of thresholds, such as `p95` or `=<`. Pure.

A slip is a pattern with its replacement. It applies where the replacement lets the grammar read further; a correction
is certain only if the grammar reads the whole line in the end. So this table cannot accept anything by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.aggregates import KIND, KINDS, NAMES, OF_METRIC, OF_RUN
from coval_gate.config.thresholds import MEANT, ONE_PER_LINE, ThresholdSyntaxError, parse_thresholds
from coval_gate.text import shortened

if TYPE_CHECKING:
    from coval_gate.config.wrong_line import WrongLine

LONGEST: Final = 300  # characters of a line that is corrected
MOST: Final = 6  # slips in one line
SIMILAR: Final = 0.8  # of 1; how alike a misspelt aggregate is to the right one
Words = str | Callable[[re.Match[str]], str]

SIGN: Final = r"[<>=!≤≥≠⩽⩾]"
OF_BOUND: Final = r"[<>=!≤≥≠⩽⩾+\-−–]"  # what precedes a number of a bound
NUMBER: Final = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})"
NAMELESS: Final = rf"(?!(?:{'|'.join(NAMES)})\s*[(<>=!])"  # not an aggregate without a metric
LAST: Final = r"\s*(?=#|$)"  # nothing but a comment follows
SYNONYMS: Final = NAMES | {word: kind.name for kind in KINDS for word in kind.meant_by}
# Aggregates of numbers, without parentheses.
NUMERIC: Final = "|".join(
    word for word, name in SYNONYMS.items() if KIND[name].unit == "metric" and not KIND[name].takes
)
PERCENTILE: Final = r"p_?\s?\d{1,2}(?:\.\d{1,3})?(?!\d)|p\(\d+(?:\.\d+)?\)"
COMPARISONS: Final = {
    "<": ("below", "under", "less than", "lower than", "lt"),
    "<=": ("at most", "no more than", "not more than", "not above", "not over", "up to", "lte", "le"),
    ">": ("above", "over", "more than", "greater than", "higher than", "gt"),
    ">=": ("at least", "no less than", "not less than", "no fewer than", "not below", "not under", "gte", "ge"),
    "==": ("equals", "equal to", "is", "eq"),
    "!=": ("is not", "not equal to", "neq", "ne"),
}
NOT_NEGATED: Final = r"(?<!\bnot)(?<!\bnot be)(?<!n't)(?<!n’t)(?<!\bnever)"  # what precedes a comparison
SIGN_OF: Final = {word: sign for sign, words in COMPARISONS.items() for word in words}
IN_WORDS: Final = "|".join(sorted(SIGN_OF, key=len, reverse=True)).replace(" ", r"\s+")
FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
NEGATED: Final = re.compile(r"un|in|non|not|no[ _-]")  # at the beginning of a word that is not an aggregate's
PLAIN_UNITS: Final = (
    "s",
    "sec",
    "second",
    "turn",
    "word",
    "token",
    "point",
    "pt",
    "star",
    "usd",
    "eur",
    "gbp",
    "dollar",
    "euro",
)
SECONDS: Final = {  # what Coval measures time in, in other units of time
    **dict.fromkeys(("ns", "nanosecond"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "microsecond"), 1e-6),
    **dict.fromkeys(("ms", "msec", "milli", "millisec", "millisecond"), 1e-3),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    "day": 86_400.0,
}
FACTORS: Final = ("dozen", "hundred", "thousand", "million", "billion")
PERCENT: Final = ("percent", "pct", "pc", "pp")
SEPARATOR: Final = re.compile(r"(?<=[\w%])(?:\s*[,;&]+\s*|\s+and\s+)(?=\S)|(?<=[\d%])\s+(?=\S)", re.IGNORECASE)
SIGNS: Final = re.compile(rf"{SIGN}+")

WITHOUT_OR: Final = "write a threshold without `or`: a run has to meet all of them"
OR: Final = r"\s(?:or|either|\|+)\s|\|\|"
OR_ANOTHER: Final = re.compile(r"or\b|\|+", re.IGNORECASE)
INSEPARABLE: Final = re.compile(rf"#|{OR}", re.IGNORECASE)  # thresholds that do not all have to hold, or a comment


class Slip(NamedTuple):
    """A pattern, what to write instead, and advice that ends a sentence; without `right`, there is only the advice."""

    wrong: re.Pattern[str]
    right: Words | None
    advice: Words

    def corrected(self, line: str) -> str:
        """Return the line without the slip; the line itself where it has none."""
        found = self.wrong.search(line)
        if not found or self.right is None:
            return line
        right = self.right(found) if callable(self.right) else found.expand(self.right)
        return line[: found.start()] + right + line[found.end() :]

    def advice_for(self, line: str) -> str:
        """Return the advice for a line that has the slip."""
        found = self.wrong.search(line)
        if not found:
            return ""
        return self.advice(found) if callable(self.advice) else found.expand(self.advice)


class Corrected(NamedTuple):
    """A line without its slips, "" where that is not known, and advice about each of them."""

    advice: tuple[str, ...]
    line: str


def explained(wrong: WrongLine) -> WrongLine:
    """Return an invalid line with advice and its correction, as far as they are known."""
    if len(wrong.text) > LONGEST:
        return wrong
    if wrong.advice == ONE_PER_LINE and OR_ANOTHER.match(wrong.text, wrong.column - 1):
        return wrong._replace(advice=WITHOUT_OR)
    if parts := _split(wrong.text, MOST):
        told = [advice for part in parts for advice in part.advice]
        return wrong._replace(advice=_all(ONE_PER_LINE, *told), correction="\n".join(part.line for part in parts))
    found = _correct(wrong.text)
    return wrong._replace(advice=wrong.advice or _all(*found.advice), correction="" if wrong.advice else found.line)


def _all(*advice: str) -> str:
    """Return all advice as the end of a sentence, questions last."""
    different = sorted(dict.fromkeys(filter(None, advice)), key=lambda each: each.endswith("?"))
    return "; ".join(different).replace("?; ", "? ")


def _correct(line: str) -> Corrected:
    """Return advice about every slip in a line, and the line without them; "" where it is not known."""
    advice: list[str] = []
    for _ in range(MOST):
        error = _error(line)
        if error is None:
            break
        for slip in SLIPS:
            corrected = slip.corrected(line)
            if corrected != line and _unread(corrected) < len(line) - error.column + 1:
                advice.append(slip.advice_for(line))
                line = corrected
                break
        else:
            break
    if _error(line) is None:
        return Corrected(tuple(advice), line.strip())
    return Corrected((*advice, _uncertain(line)), "")


def _uncertain(line: str) -> str:
    return next(filter(None, (slip.advice_for(line) for slip in RIDDLES)), "")


def _error(line: str) -> WrongLine | None:
    try:
        parse_thresholds(line)
    except ThresholdSyntaxError as error:
        return error.errors[0]
    return None


def _unread(line: str) -> int:
    """Return how many characters of the line the grammar does not read; -1 for a valid line."""
    error = _error(line)
    return len(line) - error.column + 1 if error else -1


def _split(line: str, most: int) -> list[Corrected]:
    """Return the thresholds that share a line, each of them corrected; none if there is no way to split it."""
    for found in SEPARATOR.finditer(line) if most and not INSEPARABLE.search(line) else ():
        first, rest = line[: found.start()].strip(), line[found.end() :].strip()
        if corrected := _corrected_part(first):
            others = [other] if (other := _corrected_part(rest)) else _split(rest, most - 1)
            if others:
                return [corrected, *others]
    return []


def _corrected_part(part: str) -> Corrected | None:
    """Return a part of a line without slips; None for one that is not a single threshold."""
    found = _correct(part) if len(SIGNS.findall(part)) == 1 else None
    return found if found and found.line else None


def _slip(wrong: str, right: Words | None, advice: Words) -> Slip:
    return Slip(re.compile(wrong, re.IGNORECASE), right, advice)


def _aggregate_meant(word: str, names: tuple[str, ...]) -> str:
    """Return the one of the aggregates `names` that a word means; "" if it means none."""
    from difflib import get_close_matches

    known = {name: right for name, right in SYNONYMS.items() if right in names and KIND[right].takes != "percentile"}
    plain = re.sub(r"[\s-]+", "_", word.strip().lower())
    if NEGATED.match(plain):
        return ""  # however similar, it means the opposite
    close = get_close_matches(plain, known, n=1, cutoff=SIMILAR)
    return known.get(close[0], "") if close else ""


def _of_metric(found: re.Match[str]) -> str:
    return f" {_aggregate_meant(found[1], OF_METRIC) or found[1]}"


def _of_run(found: re.Match[str]) -> str:
    return f"{_aggregate_meant(found[1], OF_RUN) or found[1]} "


def _percentile(found: re.Match[str]) -> str:
    percent = float(found[1])
    return found[0] if 0 < percent < 1 else f"p({percent:g})"  # 0.95 may stand for 95


def _quantile(found: re.Match[str]) -> str:
    return f"p({float(found[1]) * 100:g})"


def _without_unit(found: re.Match[str]) -> str:
    unit = found[2].lower()
    if unit in PERCENT:
        return f"{found[1]}%" if _is_whole_bound(found) else found[0]  # of a change, points or a share of the baseline
    if factor := _seconds(unit):
        return f"{float(found[1]) * factor:.10g}"
    return found[1] if unit in PLAIN_UNITS or unit.removesuffix("s") in PLAIN_UNITS else found[0]


def _is_whole_bound(found: re.Match[str]) -> bool:
    return re.match(SIGN, found.string[found.start() - 1]) is not None


def _seconds(unit: str) -> float:
    """Return how many seconds a unit of time has; 0 for any other unit."""
    return SECONDS.get(unit.lower()) or SECONDS.get(unit.lower().removesuffix("s"), 0.0)


def _unit_advice(found: re.Match[str]) -> str:
    if _seconds(found[2]):
        return f"write {_without_unit(found)}: a bound has the unit of its metric, and Coval measures time in seconds"
    return f"write {found[1]}%" if found[2].lower() in PERCENT else _remove_unit(found)


def _remove_unit(found: re.Match[str]) -> str:
    unit = found[found.re.groups]
    if unit.lower() in FACTORS:
        return "write the number in digits"
    return f"remove the unit `{shortened(unit, 20)}`: a bound has the unit of its metric"


def _comparison(found: re.Match[str]) -> str:
    return f" {SIGN_OF[' '.join(found[1].lower().split())]} "


SLIPS: Final = (
    _slip(r"[“”„‟«]([^“”„‟«»\"]*)[“”„‟»]", r'"\1"', 'use straight quotes (")'),
    _slip(r"[‘‚‛`]([^‘’‚‛`\"]*)[’‘`]", r'"\1"', 'use straight quotes (")'),
    _slip(r"^\s*[-*+•–—]\s+", "", "remove the list marker; quote a metric that begins with one"),
    _slip(r"""^\s*(["'])([^"']*)\1\s*,?\s*$""", r"\2", "remove the quotes around the threshold"),
    _slip(r"""^\s*(["'])([^"':]*):""", r"\1\2\1:", "close the quote"),
    _slip(rf"{SIGN}+", lambda found: MEANT.get(found[0], found[0]),
          lambda found: f"expected {MEANT[found[0]]}, got {found[0]}"),
    _slip(rf"{NOT_NEGATED}\s(?:is\s+|must be\s+)?({IN_WORDS})\s+(?={NUMBER})", _comparison,
          lambda found: f"write {_comparison(found).strip()} instead of {found[1]}"),
    _slip(rf"^\s*({NUMBER}%?)\s*(<=|>=|<|>|==|!=)\s*([^<>=!#]+?){LAST}",
          lambda found: f"{found[3]} {FLIPPED[found[2]]} {found[1]}", "put the bound last"),
    # The metric comes first, with a colon.
    _slip(rf"^\s*passed\s*(?={SIGN}+\s*{NUMBER}\s*%)", "pass_rate ", "did you mean pass_rate?"),
    _slip(rf"^\s*([A-Za-z][A-Za-z_ -]*?)\s*(?={SIGN})", _of_run,
          lambda found: f"did you mean {_of_run(found).strip()}?"),
    _slip(rf"^\s*({NUMERIC}|{PERCENTILE})\s*\(\s*([^()]*[^()\d\s.][^()]*?)\s*\)", r"\2: \1", "put the metric first"),
    _slip(rf"^\s*({NUMERIC}|{PERCENTILE})\s+(?:of|for)\s+([^<>=!:#]+?)\s*(?={SIGN})", r"\2: \1 ",
          "put the metric first"),
    _slip(r"^\s*p(?:ercentile)?\s*\(\s*([^,()]*[^,()\d\s.][^,()]*?)\s*,\s*(\d+(?:\.\d+)?)\s*%?\s*\)", r"\1: p(\2)",
          "put the metric first"),
    _slip(rf"""^(\s*(?:"[^"]*"|'[^']*'|[^:#"'<>=]*?[^\s:#"'.<>=]))(?:\s*[./|,]\s*|\s+)"""
          rf"(?=(?:{NUMERIC}|rate|count|missing|{PERCENTILE}|p\s*\(|percentile)(?![\w]))", r"\1: ",
          "put a colon after the metric"),
    _slip(rf"^(\s*(?:{'|'.join(OF_RUN)}))\s*:\s*(?={SIGN})", r"\1 ", r"write \1 without a colon"),
    _slip(rf"""^\s*(?!['"])([^"]*[:#'][^"]*?)\s*:\s*(?=(?:{'|'.join({*NAMES} - {*OF_RUN})})\b)""",
          r'"\1": ',
          "quote a metric that contains : # or '"),
    # Aggregates.
    _slip(r"(?<=[:\s])p_?\s?(\d{1,2}(?:\.\d{1,3})?|100)(?![\d.(%])", _percentile,
          lambda found: f"write {_percentile(found)}"),
    _slip(r"\bp\s*[(\[{]\s*(\d{1,3}(?:\.\d{1,3})?)\s*(?:%|th)?\s*[)\]}]", _percentile,
          lambda found: f"write {_percentile(found)}"),
    _slip(r"\b(?:percentile|pctl?|perc)[\s(_]*(\d{0,3}(?:\.\d{1,3})?)(?<=\d)%?(?:\s*%?\s*\))?", _percentile,
          lambda found: f"write {_percentile(found)}"),
    _slip(r"\bquantile\s*\(\s*(0?\.\d{1,4})\s*\)", _quantile, lambda found: f"write {_quantile(found)}"),
    _slip(r"\b(\d{1,2})(?:th|st|nd|rd)(?:\s+percentile)?", _percentile, lambda found: f"write {_percentile(found)}"),
    _slip(rf"\bp\(\s*(\d+(?:\.\d+)?)\s*(?={SIGN})", r"p(\1) ", "close the parenthesis"),
    _slip(rf"\b({NUMERIC}|missing|{'|'.join(OF_RUN)})\s*\(\s*\)", r"\1", r"write \1 without parentheses"),
    _slip(r"(?<=:)\s*(?!p\b|percentile\b)([A-Za-z][A-Za-z_-]*)", _of_metric,
          lambda found: f"did you mean{_of_metric(found)}?"),
    # Values.
    _slip(r"\b(rate|count)\s*[\[{]([^\]})]*)[\]}]", r"\1(\2)", "use parentheses for values"),
    _slip(rf"\b(rate|count)\s*[:= ]\s*([A-Za-z]\w*)\s*(?={SIGN})", r"\1(\2) ", r"write \1(\2)"),
    _slip(r"""\b(rate|count)\(\s*(["'])([^"'()]*)\)""", r"\1(\2\3\2)", "close the quote"),
    _slip(rf"\b(rate|count)\(([^()<>=!\"']*?)\s*(?={SIGN})", r"\1(\2) ", "close the parenthesis"),
    _slip(r",\s*\)", ")", "remove the last comma"),
    _slip(r",(?:\s*,)+", ",", "remove the second comma"),
    _slip(r"""\b(rate|count)\(([^()",']*'[^()",']*)\)""", r'\1("\2")', "quote a value that contains '"),
    _slip(r"""\b(rate|count)\(([^()",']*\([^()",']*\)[^()",']*)\)""", r'\1("\2")',
          "quote a value that contains ( or )"),
    # Bounds.
    _slip(rf"\bcount(\([^()]*\)\s*{SIGN}+\s*{NUMBER}\s*%)", r"rate\1", "use rate for a percentage"),
    _slip(rf"^\s*failed\s*(<=|<)\s*({NUMBER})\s*%",
          lambda found: f"completed_rate {FLIPPED[found[1]]} {100 - float(found[2]):g}%",
          "use completed_rate for a percentage"),
    _slip(rf"""(?<=[<>=!\s])(["'])({NUMBER}%?)\1""", r"\2", "remove the quotes around the number"),
    _slip(rf"(?<=[<>=!\s])[$€£]\s*(?={NUMBER})", "", "remove the unit: a bound has the unit of its metric"),
    _slip(r"(?<=[<>=!\s])[1-9]\d{0,2}(?:[,_]\d{3})+(?![\d,])", lambda found: re.sub("[,_]", "", found[0]),
          lambda found: f"write {re.sub('[,_]', '', found[0])}, without separators"),
    _slip(r"(?<=[<>=!\s])(\d{1,12}),(\d{1,12})(?![\d,])", r"\1.\2", "use a decimal point"),
    _slip(rf"(?<={OF_BOUND})\s*({NUMBER})\s*([^\W\d_]+)\.?{LAST}",
          lambda found: f" {_without_unit(found).strip()}", _unit_advice),
    _slip(rf"(?<={SIGN})\s*((?:[2-9]|\d\d)(?:\.\d{{1,3}})?|100){LAST}", r" \1%", r"write \1% for percent"),
    _slip(rf"(?<=[\d%])\s*([;,.&|]+){LAST}", "", r"remove the `\1` at the end"),
)  # fmt: skip
"""Slips whose correction is certain if the grammar accepts it."""

RIDDLES: Final = (
    _slip(rf"[+−–-]\s*{NUMBER}\s*(?:percent|pct|pc)\b", None,
          "write `pp` for percentage points, or `%` for a share of the baseline"),
    _slip(rf"(?<={SIGN})\s*{NUMBER}\s*([^\W\d_]+)\.?{LAST}", None, _remove_unit),
    _slip(rf"{SIGN}\s*(?:true|false|yes|no)\b", None,
          "compare with a number, as in `Resolved: rate(YES) >= 90%`"),
    _slip(OR, None, WITHOUT_OR),
    _slip(rf"^\s*pass(?:ed|es)\s*{SIGN}", None, "write pass_rate and a percentage, as in `pass_rate >= 95%`"),
    _slip(r"\bbetween\b|\bin\b", None, "write two thresholds, one for each bound"),
    _slip(r"\b(?:rate|count)\([^()\"']*[;|]", None,
          "separate values with commas, and quote a value that contains , ; or |"),
    _slip(r"\b(rate|count)\s*(?:\(\s*\))?\s*[<>=!]", None, r"name the values in parentheses, as in \1(YES)"),
    _slip(r":\s*p(?:ercentile)?\s*(?:\(\s*\))?\s*[<>=!]", None, "write p(95) for the 95th percentile"),
    _slip(rf"""^\s*{NAMELESS}("[^"]*"|[^:<>=!"'#]*[^:<>=!"'#\s])\s*:?\s*({SIGN}+)\s*({NUMBER}%)""", None,
          r"say which values to count, as in `\1: rate(YES) \2 \3`"),
    _slip(rf"""^\s*{NAMELESS}("[^"]*"|[^:<>=!"'#]*[^:<>=!"'#\s])\s*:?\s*({SIGN}+)\s*({NUMBER})""", None,
          r"say what to compare, as in `\1: avg \2 \3`"),
)  # fmt: skip
"""Slips that leave open what is meant, the most telling first."""
