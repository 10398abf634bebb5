"""Corrects slips in a line of thresholds, such as `p95` or `=<`. Pure.

A slip is a pattern with its replacement. It applies if the grammar can then read further. A correction is certain only
if the grammar reads the whole corrected line, so this table cannot accept anything by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import shortened, visible
from coval_gate.config.aggregates import KIND, KINDS, NAMES, OF_METRIC, OF_RUN
from coval_gate.config.thresholds import MEANT, ONE_PER_LINE, ThresholdSyntaxError, parse_thresholds

if TYPE_CHECKING:
    from coval_gate.config.thresholds import WrongLine

LONGEST: Final = 300  # characters of a line to correct
MOST: Final = 6  # slips in one line
SIMILAR: Final = 0.8  # from 0 to 1; the least similarity of a misspelt aggregate
Words = str | Callable[[re.Match[str]], str]

SIGN: Final = r"[<>=!≤≥≠⩽⩾]"
OF_BOUND: Final = r"[<>=!≤≥≠⩽⩾+\-−–]"  # precedes a number in a bound
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
NOT_NEGATED: Final = r"(?<!\bnot)(?<!\bnot be)(?<!n't)(?<!n’t)(?<!\bnever)"  # precedes a comparison
SIGN_OF: Final = {word: sign for sign, words in COMPARISONS.items() for word in words}
IN_WORDS: Final = "|".join(sorted(SIGN_OF, key=len, reverse=True)).replace(" ", r"\s+")
FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
NEGATED: Final = re.compile(r"un|in|non|not|no[ _-]")  # at the beginning of a misspelt aggregate
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
SECONDS: Final = {  # in each unit of time; Coval measures in seconds
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

WITHOUT_OR: Final = "write a threshold without `or`: a run must meet all of them"
OR: Final = r"\s(?:or|either|\|+)\s|\|\|"
OR_ANOTHER: Final = re.compile(r"or\b|\|+", re.IGNORECASE)
INSEPARABLE: Final = re.compile(rf"#|{OR}", re.IGNORECASE)  # alternatives, or a comment


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


class Corrected(NamedTuple):
    """Advice about each slip, and the corrected line; "" if the correction is uncertain."""

    advice: tuple[str, ...]
    line: str


def explained(wrong: WrongLine) -> WrongLine:
    """Return an invalid line with advice and a correction, where there are any."""
    if len(wrong.text) > LONGEST:
        return wrong
    if wrong.advice == ONE_PER_LINE and OR_ANOTHER.match(wrong.text, wrong.column - 1):
        return wrong._replace(advice=WITHOUT_OR)
    if parts := _split(wrong.text, MOST):
        advice = [sentence for part in parts for sentence in part.advice]
        return wrong._replace(advice=_all(ONE_PER_LINE, *advice), correction="\n".join(part.line for part in parts))
    corrected = _correct(wrong.text)
    return wrong._replace(
        advice=wrong.advice or _all(*corrected.advice), correction="" if wrong.advice else corrected.line
    )


def _all(*advice: str) -> str:
    """Return all advice as the end of a sentence, questions last."""
    different = sorted(dict.fromkeys(filter(None, advice)), key=lambda sentence: sentence.endswith("?"))
    return "; ".join(different).replace("?; ", "? ")


def _correct(line: str) -> Corrected:
    """Return advice about every slip in a line, and the corrected line."""
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
    riddle = next(filter(None, (slip.advice_for(line) for slip in RIDDLES)), "")
    return Corrected((*advice, riddle), "")


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


def _split(line: str, most: int) -> list[Corrected]:
    """Return the thresholds that share a line, each corrected; empty if the line cannot be split."""
    for match in SEPARATOR.finditer(line) if most and not INSEPARABLE.search(line) else ():
        first, rest = line[: match.start()].strip(), line[match.end() :].strip()
        if corrected := _corrected_part(first):
            others = [other] if (other := _corrected_part(rest)) else _split(rest, most - 1)
            if others:
                return [corrected, *others]
    return []


def _corrected_part(part: str) -> Corrected | None:
    """Return a part of a line, corrected; None if it is not a single threshold."""
    corrected = _correct(part) if len(SIGNS.findall(part)) == 1 else None
    return corrected if corrected and corrected.line else None


def _slip(wrong: str, right: Words | None, advice: Words) -> Slip:
    return Slip(re.compile(wrong, re.IGNORECASE), right, advice)


def _aggregate_meant(word: str, names: tuple[str, ...]) -> str:
    """Return the aggregate among `names` that a word means; "" if none."""
    from difflib import get_close_matches

    meanings = {name: right for name, right in SYNONYMS.items() if right in names and KIND[right].takes != "percentile"}
    plain = re.sub(r"[\s-]+", "_", word.strip().lower())
    if NEGATED.match(plain):
        return ""  # it means the opposite, however similar
    close = get_close_matches(plain, meanings, n=1, cutoff=SIMILAR)
    return meanings.get(close[0], "") if close else ""


def _of_metric(match: re.Match[str]) -> str:
    return f" {_aggregate_meant(match[1], OF_METRIC) or match[1]}"


def _of_run(match: re.Match[str]) -> str:
    return f"{_aggregate_meant(match[1], OF_RUN) or match[1]} "


def _percentile(match: re.Match[str]) -> str:
    percent = float(match[1])
    return f"p({percent * 100 if 0 < percent < 1 else percent:.10g})"  # 0.95 stands for 95


def _quantile(match: re.Match[str]) -> str:
    return f"p({float(match[1]) * 100:g})"


def _without_unit(match: re.Match[str]) -> str:
    unit = match[2].lower()
    if unit in PERCENT:
        return f"{match[1]}%" if _is_whole_bound(match) else match[0]  # of a change, points or a share of the baseline
    if factor := _seconds(unit):
        return f"{float(match[1]) * factor:.10g}"
    return match[1] if unit in PLAIN_UNITS or unit.removesuffix("s") in PLAIN_UNITS else match[0]


def _is_whole_bound(match: re.Match[str]) -> bool:
    return re.match(SIGN, match.string[match.start() - 1]) is not None


def _seconds(unit: str) -> float:
    """Return the seconds in a unit of time; 0 for any other unit."""
    return SECONDS.get(unit.lower()) or SECONDS.get(unit.lower().removesuffix("s"), 0.0)


def _unit_advice(match: re.Match[str]) -> str:
    if _seconds(match[2]):
        return f"write {_without_unit(match)}: a bound has the unit of its metric, and Coval measures time in seconds"
    return f"write {match[1]}%" if match[2].lower() in PERCENT else _remove_unit(match)


def _remove_unit(match: re.Match[str]) -> str:
    unit = match[match.re.groups]
    if unit.lower() in FACTORS:
        return "write the number in digits"
    return f"remove the unit `{shortened(unit, 20)}`: a bound has the unit of its metric"


def _comparison(match: re.Match[str]) -> str:
    return f" {SIGN_OF[' '.join(match[1].lower().split())]} "


SLIPS: Final = (
    _slip(r"[“”„‟«]([^“”„‟«»\"]*)[“”„‟»]", r'"\1"', 'use straight quotes (")'),
    _slip(r"[‘‚‛`]([^‘’‚‛`\"]*)[’‘`]", r'"\1"', 'use straight quotes (")'),
    _slip(r"^\s*[-*+•–—]\s+", "", "remove the list marker; quote a metric that begins with one"),
    _slip(r"""^\s*(["'])([^"']*)\1\s*,?\s*$""", r"\2", "remove the quotes around the threshold"),
    _slip(r"""^\s*(["'])([^"':]*):""", r"\1\2\1:", "close the quote"),
    _slip(rf"{SIGN}+", lambda match: MEANT.get(match[0], match[0]),
          lambda match: f"expected {MEANT[match[0]]}, got {match[0]}"),
    _slip(rf"{NOT_NEGATED}\s(?:is\s+|must be\s+)?({IN_WORDS})\s+(?={NUMBER})", _comparison,
          lambda match: f"write {_comparison(match).strip()} instead of {match[1]}"),
    _slip(rf"^\s*({NUMBER}%?)\s*(<=|>=|<|>|==|!=)\s*([^<>=!#]+?){LAST}",
          lambda match: f"{match[3]} {FLIPPED[match[2]]} {match[1]}", "put the bound last"),
    # The metric comes first, with a colon.
    _slip(rf"^\s*passed\s*(?={SIGN}+\s*{NUMBER}\s*%)", "pass_rate ", "did you mean pass_rate?"),
    _slip(rf"^\s*([A-Za-z][A-Za-z_ -]*?)\s*(?={SIGN})", _of_run,
          lambda match: f"did you mean {_of_run(match).strip()}?"),
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
    _slip(r"(?<=[:\s])p_?\s?(\d{1,2}(?:\.\d{1,4})?|100)(?![\d.(%])", _percentile,
          lambda match: f"write {_percentile(match)}"),
    _slip(r"\bp\s*[(\[{]\s*(\d{1,3}(?:\.\d{1,4})?)\s*(?:%|th)?\s*[)\]}]", _percentile,
          lambda match: f"write {_percentile(match)}"),
    _slip(r"\b(?:percentile|pctl?|perc)[\s(_]*(\d{0,3}(?:\.\d{1,3})?)(?<=\d)%?(?:\s*%?\s*\))?", _percentile,
          lambda match: f"write {_percentile(match)}"),
    _slip(r"\bquantile\s*\(\s*(0?\.\d{1,4})\s*\)", _quantile, lambda match: f"write {_quantile(match)}"),
    _slip(r"\b(\d{1,2})(?:th|st|nd|rd)(?:\s+percentile)?", _percentile, lambda match: f"write {_percentile(match)}"),
    _slip(rf"\bp\(\s*(\d+(?:\.\d+)?)\s*(?={SIGN})", r"p(\1) ", "close the parenthesis"),
    _slip(rf"\b({NUMERIC}|missing|{'|'.join(OF_RUN)})\s*\(\s*\)", r"\1", r"write \1 without parentheses"),
    _slip(r"(?<=:)\s*(?!p\b|percentile\b)([A-Za-z][A-Za-z_-]*)", _of_metric,
          lambda match: f"did you mean{_of_metric(match)}?"),
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
          lambda match: f"completed_rate {FLIPPED[match[1]]} {100 - float(match[2]):g}%",
          "use completed_rate for a percentage"),
    _slip(rf"""(?<=[<>=!\s])(["'])({NUMBER}%?)\1""", r"\2", "remove the quotes around the number"),
    _slip(rf"(?<=[<>=!\s])[$€£]\s*(?={NUMBER})", "", "remove the unit: a bound has the unit of its metric"),
    _slip(r"(?<=[<>=!\s])[1-9]\d{0,2}(?:[,_]\d{3})+(?![\d,])", lambda match: re.sub("[,_]", "", match[0]),
          lambda match: f"write {re.sub('[,_]', '', match[0])}, without separators"),
    _slip(r"(?<=[<>=!\s])(\d{1,12}),(\d{1,12})(?![\d,])", r"\1.\2", "use a decimal point"),
    _slip(rf"(?<={OF_BOUND})\s*({NUMBER})\s*([^\W\d_]+)\.?{LAST}",
          lambda match: f" {_without_unit(match).strip()}", _unit_advice),
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
"""Slips with no certain correction; the most specific advice first."""
