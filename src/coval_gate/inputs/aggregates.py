"""The aggregates that a threshold can name, and single values of metrics as users write them. Pure.

A class in `gate.aggregates` defines how an aggregate is measured, compared and blamed on simulations, unless it is a
plain figure of the numbers. A value that reads as several must be in quotes.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from coval_gate.base.text import folded, quoted

CURLY: Final = "“”„‟‘’‚‛«»`"  # not accepted as quotes
BARE: Final = rf"""(?![\s{CURLY}])[^,;|)#"']+(?<![\s{CURLY}])"""
QUOTED: Final = r"""(?s)"((?:[^"\\]|\\.|"")*+)"|'((?:[^'\\]|\\.|'')*+)'"""
ESCAPED, ESCAPE = r"""[\\"]""", r"\\\g<0>"


class Kind(NamedTuple):
    """The fixed properties of an aggregate.

    `about_run`: it needs no metric. `takes`: what its parentheses contain. `least` and `most`: its range.
    `is_statistical`: it describes the agent, not only this run as counts and extremes do; `instead`: a sentence that
    names an alternative to these. `is_in_slices`: slices of the test cases can decide it. `pools_runs`: a run and
    its repetitions are counted together all the same. `compares`: it can refer to a baseline. `is_lowest`: it is the
    lowest share of any test case, so it needs > or >=, and several conversations of each. `is_on_scale`: its bound is
    on the scale of the values. `limits_gaps`: it limits missing values itself. `is_all`: it counts all simulations.
    `is_spread`: it is a distance between values, so it needs two of them. `subject`: the beginning of a sentence about
    it. `figure`: a plain function of the numbers that it is, if it is one.
    """

    name: str
    unit: Literal["share", "simulations", "metric"]
    about_run: bool = False
    takes: Literal["", "percentile", "values"] = ""
    least: float = 0.0
    most: float = math.inf
    synonyms: tuple[str, ...] = ()
    is_statistical: bool = False
    instead: str = "Use pass_rate, or a number."
    is_in_slices: bool = False
    pools_runs: bool = False
    compares: bool = True
    is_lowest: bool = False
    is_on_scale: bool = False
    uses_targets: bool = False
    limits_gaps: bool = False
    is_all: bool = False
    is_spread: bool = False
    subject: str = "{aggregate} of {metric}"
    figure: Callable[[Sequence[float]], float] | None = None

    @property
    def written(self) -> str:
        return self.name + {"": "", "percentile": "(N)", "values": "(…)"}[self.takes]


ANY: Final = -math.inf
USE_RATE: Final = "Use rate(…), which counts missing values as misses."
# Messages list them in this order.
KINDS: Final = (
    Kind("avg", "metric", least=ANY, is_on_scale=True, is_statistical=True, synonyms=("mean",)),
    Kind("med", "metric", least=ANY, is_on_scale=True, is_statistical=True, synonyms=("median",)),
    Kind("min", "metric", least=ANY, is_on_scale=True, instead="Use p(5).", figure=min),
    Kind("max", "metric", least=ANY, is_on_scale=True, instead="Use p(95).", figure=max),
    Kind("stdev", "metric", instead="Use avg or p(N).", is_spread=True),
    Kind("p", "metric", takes="percentile", least=ANY, is_on_scale=True, is_statistical=True, is_in_slices=True),
    Kind("rate", "share", takes="values", most=1.0, is_statistical=True, is_in_slices=True),
    Kind("count", "simulations", takes="values", instead=USE_RATE),
    Kind("worst", "share", takes="values", most=1.0, pools_runs=True, compares=False, is_lowest=True),
    Kind("missing", "simulations", instead=USE_RATE, limits_gaps=True,
         subject="The number of missing values of {metric}"),
    Kind("pass_rate", "share", about_run=True, most=1.0, is_statistical=True, is_in_slices=True, uses_targets=True),
    Kind("completed_rate", "share", about_run=True, most=1.0, pools_runs=True),
    Kind("failed", "simulations", about_run=True),
    Kind("total", "simulations", about_run=True, compares=False, is_all=True),
)  # fmt: skip
KIND: Final = {kind.name: kind for kind in KINDS}
METRIC_KINDS: Final = tuple(kind.name for kind in KINDS if not kind.about_run)
RUN_KINDS: Final = tuple(kind.name for kind in KINDS if kind.about_run)
KIND_NAMES: Final = {name: kind.name for kind in KINDS for name in (kind.name, *kind.synonyms)}


class Aggregate(NamedTuple):
    """`percentile`: the N of p(N). `values`: those that rate, count and worst match. Rates are shares from 0 to 1."""

    name: str
    percentile: float | None = None
    values: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return KIND[self.name]

    @property
    def is_rate(self) -> bool:
        return self.kind.unit == "share"

    @property
    def is_numeric(self) -> bool:
        return self.kind.unit == "metric"

    @property
    def if_called_once(self) -> str:
        """The equivalent of the lowest share if each test case has one conversation."""
        return f"{self._replace(name='rate')} == 100%"

    def __str__(self) -> str:
        """Return the canonical text, which parses to the same aggregate."""
        if self.percentile is not None:
            return f"{self.name}({repr(self.percentile).removesuffix('.0')})"
        values = [one if re.fullmatch(BARE, one) else in_quotes(one) for one in self.values]
        return f"{self.name}({', '.join(values)})" if values else self.name


def parse_value(text: str) -> str:
    """Return the value that `text` stands for. Raises ValueError with the end of a sentence."""
    value = text
    if text[:1] in ("'", '"'):
        if not re.fullmatch(QUOTED, text):
            raise ValueError(f"must end with the quote that it begins with; got {quoted(text)}.")
        value = unquoted(text)
    elif re.search("[,;|]", text):
        raise ValueError(
            f"must be one value, and a number without commas; got {quoted(text)}. A text that contains , ; or | needs "
            "quotes of its own, such as '\"a, b\"'."
        )
    if is_blank(value):
        raise ValueError("must not be blank: an empty value counts as missing.")
    return value


def in_quotes(text: str) -> str:
    """Return a text in quotes, the inverse of `unquoted`."""
    return f'"{re.sub(ESCAPED, ESCAPE, text)}"'


def unquoted(text: str) -> str:
    """Return a text without its quotes. QUOTED must match it."""
    quote = text[0]
    return re.sub(rf"\\([\\\"'])|{quote}({quote})", lambda escape: escape[1] or escape[2], text[1:-1])


def is_blank(value: str) -> bool:
    """Return whether a value has no visible character; no metric has such a value."""
    return not folded(value)
