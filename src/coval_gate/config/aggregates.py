"""The aggregates that a threshold can name: what the grammar needs to know of each.

How each is measured, compared and blamed on simulations is the class of the same name in `judge.aggregates`.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal, NamedTuple

from coval_gate.config.values import in_quotes

CURLY: Final = "“”„‟‘’‚‛«»`"  # quotes of word processors and other languages, which do not quote here
BARE: Final = re.compile(rf"""(?![\s{CURLY}])[^,;|)#"']+(?<![\s{CURLY}])""")
OTHERWISE: Final = "Use pass_rate, or a number."


class Kind(NamedTuple):
    """What is known of an aggregate before anything is measured.

    `unit`: a share from 0 to 1, a number of simulations, or the unit of the metric's numbers. `of_run`: it needs no
    metric. `takes`: what stands in its parentheses. `least` and `most`: the values that it can have. `synonyms` are
    other names of it, and `meant_by` words that are not, but are corrected to it.

    `is_statistical`: it says something about the agent beyond this run, which counts and extremes do not. `instead`:
    what to write in place of one that does not, as a sentence. `pools_runs`: a run and its repetitions are counted
    together all the same. `compares`: it can refer to a baseline. `is_on_scale`: its bound is one that values have.
    `uses_targets`: the metrics' targets in Coval decide. `limits_gaps`: it says itself how many values may be missing.
    `shows_quality`: it is about what the agent did, and not only about whether there are data. `is_all`: it counts all
    simulations, not some of them. `subject`: what a sentence about it begins with.
    """

    name: str
    unit: Literal["share", "simulations", "metric"]
    of_run: bool = False
    takes: Literal["", "percentile", "values"] = ""
    least: float = 0.0
    most: float = math.inf
    synonyms: tuple[str, ...] = ()
    meant_by: tuple[str, ...] = ()
    is_statistical: bool = False
    instead: str = OTHERWISE
    pools_runs: bool = False
    compares: bool = True
    is_on_scale: bool = False
    uses_targets: bool = False
    limits_gaps: bool = False
    shows_quality: bool = True
    is_all: bool = False
    subject: str = "{aggregate} of {metric}"

    @property
    def written(self) -> str:
        """The name as a message shows it."""
        return self.name + {"": "", "percentile": "(N)", "values": "(…)"}[self.takes]


ANY: Final = -math.inf
COUNTED: Final = "Use rate(…), which counts missing values as misses."
# In the order in which messages list them.
KINDS: Final = (
    Kind("avg", "metric", least=ANY, is_on_scale=True, is_statistical=True, synonyms=("mean",),
         meant_by=("average", "avrg")),
    Kind("med", "metric", least=ANY, is_on_scale=True, is_statistical=True, synonyms=("median",)),
    Kind("min", "metric", least=ANY, is_on_scale=True, instead="Use p(5).", meant_by=("minimum",)),
    Kind("max", "metric", least=ANY, is_on_scale=True, instead="Use p(95).", meant_by=("maximum",)),
    Kind("stdev", "metric", instead="Use avg or p(N).",
         meant_by=("std", "stddev", "std_dev", "sd", "standard_deviation")),
    Kind("p", "metric", takes="percentile", least=ANY, is_on_scale=True, is_statistical=True),
    Kind("rate", "share", takes="values", most=1.0, is_statistical=True, meant_by=("percentage", "share")),
    Kind("count", "simulations", takes="values", instead=COUNTED, meant_by=("number",)),
    Kind("missing", "simulations", instead=COUNTED, limits_gaps=True, shows_quality=False,
         subject="The number of missing values of {metric}"),
    Kind("pass_rate", "share", of_run=True, most=1.0, is_statistical=True, uses_targets=True,
         meant_by=("passrate", "success_rate")),
    Kind("completed_rate", "share", of_run=True, most=1.0, pools_runs=True, shows_quality=False,
         meant_by=("completion_rate",)),
    Kind("failed", "simulations", of_run=True, shows_quality=False, meant_by=("failures", "failed_simulations")),
    Kind("total", "simulations", of_run=True, compares=False, is_all=True, shows_quality=False,
         meant_by=("total_simulations",)),
)  # fmt: skip
KIND: Final = {kind.name: kind for kind in KINDS}
OF_METRIC: Final = tuple(kind.name for kind in KINDS if not kind.of_run)
OF_RUN: Final = tuple(kind.name for kind in KINDS if kind.of_run)
# What users may write for each.
NAMES: Final = {name: kind.name for kind in KINDS for name in (kind.name, *kind.synonyms)}


class Aggregate(NamedTuple):
    """How to reduce many values to one. `percentile` is the N of p(N); `values` are those that rate and count match.

    Rates are shares from 0 to 1. Numeric aggregates need a metric with numbers. Aggregates of the run need no metric.
    """

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

    def __str__(self) -> str:
        """Return the canonical text, which parses to the same aggregate."""
        if self.percentile is not None:
            return f"{self.name}({repr(self.percentile).removesuffix('.0')})"
        values = [one if BARE.fullmatch(one) else in_quotes(one) for one in self.values]
        return f"{self.name}({', '.join(values)})" if values else self.name
