"""The grammar of thresholds, one per line: `[metric:] aggregate operator bound`. Pure.

    pass_rate >= 95%
    Latency: p(95) < 1.5  # a comment
    Resolved: rate(YES, "not applicable") >= 90%
    "Tone: friendly": avg >= 4
    Resolved: rate(YES) >= baseline - 5pp
    ? Compliance: count(NO) == 0  # advisory

Rates and their bounds are shares from 0 to 1. Counts are numbers of simulations. Other values have their metric's unit.
"""

import re
from contextlib import suppress
from typing import Final, Literal, NamedTuple, NoReturn
from unicodedata import east_asian_width

from coval_gate.base.text import one_line, visible
from coval_gate.inputs.aggregates import (
    CURLY,
    KIND,
    KIND_NAMES,
    KINDS,
    METRIC_KINDS,
    QUOTED,
    RUN_KINDS,
    Aggregate,
    in_quotes,
    is_blank,
    unquoted,
)
from coval_gate.inputs.parsing import lines_of

WINDOW: Final = 100  # characters of an invalid line that a message shows
TOLERANCE: Final = 1e-9  # share of the bound: above float error, below any real difference
LARGEST_NUMBER: Final = 1e300  # number in a bound; arithmetic on it must not overflow
ONE_PER_LINE: Final = "write one threshold per line, below `thresholds: |`"

Reference = Literal["", "baseline", "base", "base_agent"]
Operator = Literal["<", "<=", ">", ">=", "==", "!="]
OPERATORS: Final[tuple[Operator, ...]] = ("<", "<=", ">", ">=", "==", "!=")
MEANT: Final = {
    **dict.fromkeys(("=", "==="), "=="),
    **dict.fromkeys(("<>", "≠", "!=="), "!="),
    **dict.fromkeys(("=<", "≤", "⩽", "<=="), "<="),
    **dict.fromkeys(("=>", "≥", "⩾", ">=="), ">="),
}

# Each pattern matches a text in one way only, for linear time. `re` compiles it with its first use.
METRIC_NAME: Final = r"""([^:#"']*+):"""
AGGREGATE_WORD: Final = r"""[^\W\d]\w*+(?!["'])"""
VALUE: Final = r"""[^,;|)#"']++"""
GROUPED_NUMBER: Final = r"(?a)[+-]?\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?"  # 1,000 as people write it
SIGNS: Final = r"[<>=!≤≥≠⩽⩾]++"
AMOUNT: Final = r"(?ai)([+-]?(?:\d++(?:\.\d*+)?|\.\d++))(?:e([+-]?\d{1,3}(?!\d)))?(?:(?u:\s)*(%s))?"
PLAIN_AMOUNT, DIFFERENCE = AMOUNT % "%", AMOUNT % r"%|pp\b"
BASE_WORD: Final = r"(?i)(base(?:line)?)\b"
CHANGE: Final = r"(?i)[-+*−–×]|x(?=\s*\d)"
MULTIPLIED: Final = r"(?i)\s*[*×+−-]\s*base(?:line)?\b"
RELATIVE: Final = r"[+−–-][^*×+−–-]*%\Z"  # the end of a line with a reference
QUESTION_MARK: Final = r"\?"
COLON, OPENING, CLOSING = ":", r"\(", r"\)"
LIST_MARKER: Final = r"[-*+•–—](?=\s)"  # of a list item
# A threshold in the wrong place: an aggregate of a metric after a colon, or of the run; an operator; a bound.
A_THRESHOLD: Final = (
    rf"(?i)(?:(?::\s*+(?:{'|'.join({*KIND_NAMES} - {*RUN_KINDS})})|\b(?:{'|'.join(RUN_KINDS)}))\b(?:\s*+\([^()]*+\))?)"
    r"\s*+[<>=!≤≥≠⩽⩾]++\s*+(?:base(?:line)?\b|[+-]?\.?\d)"
)
LINE_BREAK: Final = r"\r\n|\n|\r"
PLAIN_METRIC: Final = r"\w[\w ./-]*"  # a metric that needs no quotes
SWITCHED_OFF: Final = r"\A[#\s]++"
AFTER_VALUE, END = "[,)]", r"(?=#)|\Z"


class WrongLine(NamedTuple):
    """`line` and `column` count from 1. `advice`, if any, explains better than `expected`; `correction`: if certain."""

    line: int
    column: int
    text: str
    expected: str
    advice: str = ""
    correction: str = ""

    @property
    def problem(self) -> str:
        """What is wrong, as the end of a sentence about the line."""
        return self.advice or f"expected {self.expected}"

    @property
    def shown(self) -> str:
        """The line or a window of it, a caret below the error, and the correction: indented, printable lines."""
        shown = [char if char.isprintable() else " " if char.isspace() else "" for char in self.text]
        whole, before = "".join(shown), "".join(shown[: self.column - 1])
        line = whole.strip()
        caret = max(0, min(len(before) - whole.find(line), len(line)))
        start = max(0, min(caret - WINDOW // 2, len(line) - WINDOW))
        end = start + WINDOW
        head, tail = "…" if start else line[:1], "…" if end < len(line) else line[end - 1 :]
        window = head + line[start + 1 : end - 1] + tail
        # East Asian characters are two columns wide.
        indent = 4 + sum(1 + (east_asian_width(char) in "WF") for char in window[: caret - start])
        correction = "".join(f"\n    {visible(splitline)}" for splitline in self.correction.splitlines())
        return f"    {window}\n{' ' * indent}^" + (f"\nWrite instead:{correction}" if correction else "")

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}\n{self.shown}"


class ThresholdSyntaxError(ValueError):
    """All invalid lines of a text (`errors`). The other attributes describe the first."""

    def __init__(self, *errors: WrongLine) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors, first = errors, errors[0]
        self.line, self.column, self.text, self.expected = first.line, first.column, first.text, first.expected


class Bound(NamedTuple):
    """`number` or, with a `reference`, `factor` times the reference's value plus `number`.

    baseline: the runs that the input `baseline` names. base: the agent itself in the same run. base_agent: the run of
    the input `base_agent_id`, which thresholds write as `base`.
    """

    number: float
    reference: Reference = ""
    factor: float = 1.0

    def of(self, earlier: float) -> float:
        """Return the bound as a number. `earlier`: the value of the reference."""
        return self.factor * earlier + self.number if self.reference else self.number

    def change(self, earlier: float) -> float:
        """Return how far the bound is from the reference's value: for `- 5pp`, exactly -5pp."""
        return (self.factor - 1.0) * earlier + self.number


class Threshold(NamedTuple):
    """`line` counts from 1; 0 if its source has one value. `metric` is as written, or "" for the run.

    `text` is without comment and question mark. `source`: the input that has the line, or names its file.
    """

    metric: str
    aggregate: Aggregate
    operator: Operator
    bound: Bound
    line: int
    text: str
    advisory: bool = False
    source: str = "thresholds"

    @property
    def place(self) -> str:
        return f"{self.source}, line {self.line}" if self.line else self.source

    @property
    def wants_less(self) -> bool:
        return self.operator in ("<", "<=")

    @property
    def wants_more(self) -> bool:
        return self.operator in (">", ">=")

    @property
    def is_about_none_or_all(self) -> bool:
        """Whether it demands exactly that no simulation, or each, is a hit."""
        extremes = (0.0, 1.0) if self.aggregate.is_rate else (0.0,)
        return self.operator == "==" and not self.bound.reference and self.bound.number in extremes

    @property
    def asks_for_improvement(self) -> bool:
        """Whether a value equal to the reference's is not enough, if the reference's is above 0."""
        bound = self.bound
        if not bound.reference or self.operator == "!=":
            return False
        stricter = (bound.factor < 1.0 or bound.number < 0.0, bound.factor > 1.0 or bound.number > 0.0)
        return stricter[0] if self.wants_less else stricter[1] if self.wants_more else any(stricter)

    @property
    def guards(self) -> bool:
        """Whether it guards against a regression instead of requiring an improvement."""
        return bool(self.bound.reference) and not self.asks_for_improvement

    @property
    def sets_limit(self) -> bool:
        """Whether it may replace a stricter default rule: it decides, and its bound is a number."""
        return not (self.advisory or self.bound.reference)

    @property
    def limits_missing(self) -> bool:
        """Whether it limits the missing values of its metric instead of max_failed_simulations."""
        return self.sets_limit and self.aggregate.kind.limits_gaps and (self.wants_less or self.operator == "==")

    @property
    def sets_share(self) -> bool:
        """Whether it sets the share of simulations that must meet their targets, instead of all."""
        asks = self.wants_more and (self.operator, self.bound.number) != (">=", 0.0)
        return self.sets_limit and self.aggregate.kind.uses_targets and asks

    @property
    def is_relative_rate(self) -> bool:
        """Whether a rate's bound is relative in percent, which readers may mistake for percentage points."""
        return self.aggregate.is_rate and self.bound.factor != 1.0 and re.search(RELATIVE, self.text) is not None

    def against(self, earlier: float) -> "Threshold":
        """Return the threshold with a number as its bound. `earlier`: the value of the reference."""
        return self._replace(bound=Bound(self.bound.of(earlier)))

    @property
    def takes_confidence(self) -> bool:
        """Whether a confidence applies to it; otherwise the measured value alone decides."""
        return self.aggregate.kind.is_statistical and self.operator in ("<", "<=", ">", ">=")

    @property
    def waits_for_last(self) -> bool:
        """Whether it needs all test cases, so slices of them decide nothing sooner."""
        return not (self.takes_confidence and self.aggregate.kind.is_in_slices)

    def holds(self, actual: float) -> bool:
        """Return whether `actual`, in the bound's unit, meets it; NaN never does. Raises ValueError for a reference.

        Values that differ by at most a billionth are equal: 0.1 + 0.2 is not above 0.3. If a threshold does not hold,
        no stricter one does.
        """
        if self.bound.reference:
            raise ValueError(f"{self.text} has no number to compare with")
        low, high = sorted(self.bound.number * factor for factor in (1 - TOLERANCE, 1 + TOLERANCE))
        less, equal, more = actual < low, low <= actual <= high, actual > high
        holds = {"<": less, "<=": less or equal, ">": more, ">=": more or equal, "==": equal, "!=": less or more}
        return holds[self.operator]


def forbidding(metric: str, value: str, source: str) -> Threshold:
    """Return the threshold that no simulation has this value of a metric, from an input with one value."""
    aggregate = Aggregate("count", values=(value,))
    text = f"{metric if re.fullmatch(PLAIN_METRIC, metric) else in_quotes(metric)}: {aggregate} == 0"
    return Threshold(metric, aggregate, "==", Bound(0.0), line=0, text=text, source=source)


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """Return the thresholds of a text, in order. Raises ThresholdSyntaxError with every invalid line."""
    thresholds, errors = list[Threshold](), list[WrongLine]()
    for number, line in enumerate(re.split(LINE_BREAK, text), start=1):
        try:
            if not (scanner := _Scanner(line, number)).take(END):
                thresholds.append(_threshold(scanner))
            _comment(scanner)
        except ThresholdSyntaxError as error:
            errors.extend(error.errors)
    if errors:
        raise ThresholdSyntaxError(*errors)
    return tuple(thresholds)


class _Scanner:
    """A position at the start of a token. `take` advances if the pattern matches; `fail` reports the last token."""

    def __init__(self, text: str, line: int) -> None:
        self.text, self.line = text, line
        self.at = self.token = len(text) - len(text.lstrip())

    def take(self, pattern: str) -> re.Match[str] | None:
        self.token = self.at
        if match := re.compile(pattern).match(self.text, self.at):
            self.at = match.end()
            while self.text[self.at : self.at + 1].isspace():
                self.at += 1
        return match

    def need(self, pattern: str, expected: str) -> re.Match[str]:
        return self.take(pattern) or self.fail(expected)

    def fail(self, expected: str, advice: str = "") -> NoReturn:
        raise ThresholdSyntaxError(WrongLine(self.line, self.token + 1, self.text, expected, advice))

    def quoted(self) -> str | None:
        quote = self.text[self.at : self.at + 1]
        if quote not in ("'", '"'):
            return None
        return unquoted(self.need(QUOTED, f"a closing {quote} for this one")[0])

    def amount(self, expected: str, pattern: str = PLAIN_AMOUNT) -> tuple[float, str]:
        """Take a number and its unit: "", "%" or, in a difference, "pp". With a unit, the number is a share."""
        match = self.need(pattern, expected)
        unit = (match[3] or "").lower()
        # Move the decimal point before the conversion: 7% and 0.07 must be the same float.
        number = float(f"{match[1]}e{int(match[2] or 0) - (2 if unit else 0)}")
        return (number, unit) if abs(number) <= LARGEST_NUMBER else self.fail(f"a number of at most {LARGEST_NUMBER:g}")


def _threshold(scanner: _Scanner) -> Threshold:
    if scanner.take(LIST_MARKER):
        scanner.fail("a threshold", "remove the list marker; quote a metric that begins with one")
    advisory = bool(scanner.take(QUESTION_MARK))
    if advisory and scanner.take(QUESTION_MARK):
        scanner.fail("one question mark")
    start = scanner.at
    metric = _metric(scanner)
    aggregate = _aggregate(scanner, metric)
    written = match[0] if (match := scanner.take(SIGNS)) else ""
    operator = next((sign for sign in OPERATORS if sign == written), None)
    if operator is None:
        right = MEANT.get(written)
        scanner.fail(f"{right}, got {written}" if right else f"an operator ({', '.join(OPERATORS)})")
    if aggregate.kind.is_lowest and operator not in (">", ">="):
        scanner.fail("> or >=, as in worst(YES) > 0%: it is the lowest share of good values in any test case")
    bound = _bound(scanner, aggregate)
    if not scanner.take(END):
        another = re.search(A_THRESHOLD, scanner.text[scanner.at :])
        scanner.fail("the end of the line after the bound", ONE_PER_LINE if another else "")
    return Threshold(
        metric=metric,
        aggregate=aggregate,
        operator=operator,
        bound=bound,
        line=scanner.line,
        text=one_line(scanner.text[start : scanner.at]),
        advisory=advisory,
    )


def _comment(scanner: _Scanner) -> None:
    """Fail if a comment contains a threshold, as `thresholds: >` joins lines. A whole line may be commented out."""
    scanner.take(END)
    comment = scanner.text[scanner.at :]
    if not re.search(A_THRESHOLD, comment):
        return
    is_whole_line = not scanner.text[: scanner.at].strip()
    with suppress(ThresholdSyntaxError):
        if is_whole_line and len(parse_thresholds(re.sub(SWITCHED_OFF, "", comment))) == 1:
            return
    scanner.fail("a comment without a threshold", f"{ONE_PER_LINE}; `>` joins lines, so a comment hides the next line")


def _metric(scanner: _Scanner) -> str:
    """Take the metric before the colon; "" if there is none."""
    if (name := scanner.quoted()) is not None:
        scanner.need(COLON, "a colon after the metric")
    elif match := scanner.take(METRIC_NAME):
        name = match[1]
        if re.search(A_THRESHOLD, name):
            scanner.fail("a metric", f"{ONE_PER_LINE}; quote a metric whose name reads as a threshold")
        _refuse_curly(scanner, name)
    else:
        return ""
    return name.strip() or scanner.fail("the name or the id of a metric")


def _refuse_curly(scanner: _Scanner, written: str) -> None:
    if written.strip() and {written.strip()[0], written.strip()[-1]} & set(CURLY):
        scanner.fail("straight quotes")


def _aggregate(scanner: _Scanner, metric: str) -> Aggregate:
    word = scanner.take(AGGREGATE_WORD)
    name = KIND_NAMES.get(word[0].lower(), "") if word else ""
    if metric and name not in METRIC_KINDS:
        hint = "; quote a metric that contains a colon" if ":" in scanner.text[scanner.at :] else ""
        advice = f"write {name} without a metric: it is about the whole run" if name else ""
        *others, last = (kind.written for kind in KINDS if not kind.about_run)
        scanner.fail(f"{', '.join(others)} or {last}{hint}", advice)
    if name in METRIC_KINDS and not metric:
        scanner.fail(f'a metric before {name}, as in "Latency: {name} …"')
    if not name:
        scanner.fail(f"a metric and a colon, or {', '.join(RUN_KINDS)}; quote a metric that contains : # or a quote")
    match KIND[name].takes:
        case "percentile":
            return Aggregate(name, percentile=_percentile(scanner))
        case "values":
            return Aggregate(name, values=_values(scanner, name))
    return Aggregate(name)


def _percentile(scanner: _Scanner) -> float:
    scanner.need(OPENING, "a percentile in parentheses, such as p(95)")
    percentile, unit = scanner.amount(expected := "a percentile from 0 to 100")
    if unit or not (percentile == 0 or 1 <= percentile <= 100):
        scanner.fail(expected)
    scanner.need(CLOSING, '")"')
    return percentile


def _values(scanner: _Scanner, name: str) -> tuple[str, ...]:
    scanner.need(OPENING, f"values in parentheses, such as {name}(YES)")
    values, more, special = [], True, ", ; | ) # or a quote"
    while more:
        if (value := scanner.quoted()) is None:
            if number := scanner.take(GROUPED_NUMBER):
                plain = number[0].replace(",", "")
                scanner.fail(
                    f'{plain}, or "{number[0]}" in quotes for a text; put a space after the comma between two values'
                )
            value = scanner.need(VALUE, f"a value; quote one that contains {special}")[0].strip()
            _refuse_curly(scanner, value)
        if is_blank(value):
            scanner.fail("a value with text: an empty one counts as missing")
        values.append(value)
        more = scanner.need(AFTER_VALUE, f'"," or ")"; quote a value that contains {special}')[0] == ","
    return tuple(dict.fromkeys(values))


def _bound(scanner: _Scanner, aggregate: Aggregate) -> Bound:
    if reference := scanner.take(BASE_WORD):
        return _reference(scanner, aggregate, "base" if reference[1].lower() == "base" else "baseline")
    kinds = "a number, a percentage or baseline" if aggregate.is_rate else "a number or baseline"
    kinds = "a share, such as 0%" if aggregate.kind.is_lowest else kinds
    number, unit = scanner.amount(kinds)
    if re.match(MULTIPLIED, scanner.text[scanner.at :]):
        scanner.fail("baseline first, as in baseline * 1.1")
    _check_unit(scanner, aggregate, unit)
    if aggregate.is_rate and not 0 <= number <= 1:
        scanner.fail("a share from 0% to 100%")
    return Bound(number)


def _reference(scanner: _Scanner, aggregate: Aggregate, reference: Reference) -> Bound:
    """Take the change from the reference: a difference or a factor."""
    if aggregate.kind.is_lowest:
        scanner.fail("a share, such as 0%: worst compares with no other run; rate(…) does")
    if not aggregate.kind.compares:
        scanner.fail("a number: the number of simulations cannot be compared with a baseline")
    change = scanner.take(CHANGE)
    if change is None:
        return Bound(0.0, reference)
    sign = change[0].lower()
    number, unit = scanner.amount("a number after the sign", DIFFERENCE)
    if number < 0:
        scanner.fail("a number without a sign of its own")
    if sign in ("*", "×", "x"):
        if unit == "pp" or number == 0:
            scanner.fail("a factor above 0, such as 1.1")
        return Bound(0.0, reference, number)
    signed = number if sign == "+" else -number
    if unit == "%":
        if signed <= -1:
            scanner.fail("less than 100%")
        return Bound(0.0, reference, 1.0 + signed)
    _check_unit(scanner, aggregate, unit)
    if aggregate.is_rate and number >= 1:
        scanner.fail("percentage points such as 5pp, a percentage of the baseline such as 5%, or a share below 1")
    return Bound(signed, reference)


def _check_unit(scanner: _Scanner, aggregate: Aggregate, unit: str) -> None:
    if unit and not aggregate.is_rate:
        why = "in the unit of its metric" if aggregate.is_numeric else "a number of simulations"
        scanner.fail(f"a number without {unit}: {aggregate.name} is {why}")


class WrongThresholds(ValueError):
    """Some lines are invalid. `meant` are the thresholds of the others, and of those whose correction is certain."""

    def __init__(self, message: str, meant: tuple[Threshold, ...]) -> None:
        super().__init__(message)
        self.meant = meant


def read_thresholds(written: str) -> tuple[Threshold, ...]:
    """Return the thresholds of an input, one per line or as a JSON list. Raises WrongThresholds."""
    lines = lines_of(written)
    try:
        return parse_thresholds(lines)
    except ThresholdSyntaxError as error:
        from coval_gate.features.advice.slips import with_corrections

        raise with_corrections(lines, error) from None
