"""The report as a self-contained HTML file, which needs no network, no other file and no JavaScript to be read.

Its Content-Security-Policy allows only its own style and script, each by its hash. The template escapes all text, and
attributes contain neither handlers nor styles.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Final, NamedTuple, get_args

from coval_gate.base.text import amount, named_with_unit, number, one_line, percent, plural, value_text
from coval_gate.features.files.digest import prompt_of
from coval_gate.features.files.html.plots import PLOT_WIDTH, histogram, scale_of
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.report import CRITERIA_SHOWN, MOST_SIMULATIONS
from coval_gate.report.document import Document
from coval_gate.report.document.base import ITSELF, CauseWord, plain
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.document.metrics import MetricFacts
from coval_gate.report.document.simulations import SimulationFacts
from coval_gate.report.tables import FEW_FLIPS

PACKAGE: Final = __name__
ICONS: Final[dict[str | None, tuple[str, str]]] = {
    "passed": ("#1a7f37", "M4.5 8.3l2.5 2.5 4.5-5.3"),
    "failed": ("#cf222e", "M5.2 5.2l5.6 5.6m0-5.6l-5.6 5.6"),
}
DOUBTFUL: Final = ("#9a6700", "M8 4v5m0 2.8v.2")  # the icon of any other verdict
ROW_NAME: Final = 200  # characters of a name
MOST_FIRST_ROWS: Final = 10  # simulations to look at, above the table
METRIC_COLUMNS: Final = 6  # metrics with a column in the table; an opened row shows all
MOST_PROMPTS: Final = 50  # the worst simulations have one
LONGEST_TEXT: Final = 2_000  # characters of an explanation
FLIPS: Final = {"fails": "fails now", "tolerated": "fails now, tolerated", "passes": "passes now", "": ""}


def render(document: Document) -> str:
    """Return the report as an HTML document, whose text is valid UTF-8."""
    style, script = part("report.css"), part("report.js")
    icon = icon_of(*ICONS.get(document.verdict, DOUBTFUL))
    return filled(
        part("report.html.j2"), style=style, script=script, icon=icon, document=document, table=table(document)
    )


def filled(template: str, *, style: str, script: str = "", icon: str, **given: object) -> str:
    """Return a page whose policy allows nothing but this style and this script."""
    scripts = f"script-src {_hash(script)}; " if script else ""
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; {scripts}img-src data:; base-uri 'none'; form-action 'none'"
    )
    text: str = _template(template).render(style=style, script=script, icon=icon, policy=policy, **given)
    return text.encode("utf-8", "replace").decode("utf-8") + "\n"


@cache
def _template(source: str) -> Any:
    from jinja2 import Environment, StrictUndefined  # which few steps need

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"line": one_line, "web": web_address, "plain": plain, "number": number, "percent": percent}
    environment.filters |= {"amount": amount, "named_with_unit": named_with_unit, "count": "{:,}".format}
    environment.globals |= {"histogram_of": histogram, "scale_of": scale_of, "plural": plural}
    environment.globals |= {"MOST_FIRST_ROWS": MOST_FIRST_ROWS, "CRITERIA_SHOWN": CRITERIA_SHOWN}
    environment.globals |= {"FEW_FLIPS": FEW_FLIPS, "PLOT_WIDTH": PLOT_WIDTH}
    return environment.from_string(source)


@cache
def part(name: str, package: str = PACKAGE) -> str:
    """Return the text of a file in a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def icon_of(colour: str, shape: str) -> str:
    """Return a page's icon as a URL: a shape on a disc, which stays visible in a row of tabs."""
    disc = f"<circle cx='8' cy='8' r='8' fill='{colour}'/>"
    line = f"<path d='{shape}' fill='none' stroke='#fff' stroke-width='2' stroke-linecap='round'/>"
    picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{disc}{line}</svg>"
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _hash(text: str) -> str:
    """Return the source expression of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(frozen=True, kw_only=True)
class SimulationRow:
    """A simulation of a leg. `place` counts from the worst; `anchor`: its address, the id if usable and unique."""

    leg: LegFacts
    facts: SimulationFacts
    key: str
    place: int
    anchor: str

    @property
    def case(self) -> str:
        return f"{self.key} {one_line(self.facts.test_case_id or self.facts.id, ROW_NAME)}"

    @property
    def flip(self) -> str:
        """The change in words. A test case fails where most of its simulations do, so that one of them may pass."""
        case_fails = self.facts.change == "fails" and self.facts.verdict == "passed"
        return "its test case fails now" if case_fails else FLIPS[self.facts.change]

    @property
    def run_url(self) -> str:
        """The page of its run, where it has none of its own."""
        return next((run.url for run in self.leg.runs if run.id == self.facts.run_id), self.leg.run.url)

    @property
    def general(self) -> list[str]:
        """The criteria that it misses, and that are about no metric."""
        ids = {metric.id for metric in self.leg.metrics}
        return [miss.text for miss in self.facts.misses if miss.metric_id not in ids]

    @cached_property
    def missed(self) -> set[str]:
        return {miss.metric_id for miss in self.facts.misses}

    @cached_property
    def whys(self) -> dict[str, str]:
        texts = {id_: one_line(self.facts.explanations[id_], LONGEST_TEXT) for id_ in self.facts.telling}
        return {id_: text for id_, text in texts.items() if text}

    @property
    def values(self) -> Iterator[tuple[MetricFacts, str, list[str]]]:
        """Yield metrics, those of missed criteria first, with the value and the criteria that it misses."""
        shown = [
            metric
            for metric in self.leg.metrics
            if metric.id in self.facts.values or metric.id in self.whys or metric.id in self.missed
        ]
        for metric in sorted(shown, key=lambda metric: metric.id not in self.missed):
            value = self.facts.values.get(metric.id)
            text = "no value" if value is None else value_text(value, metric.unit)
            yield metric, text, [miss.text for miss in self.facts.misses if miss.metric_id == metric.id]

    @property
    def longest(self) -> float:
        """The longest latency, in seconds; 1 without any."""
        return max((turn.latency or 0.0 for turn in self.facts.turns), default=0.0) or 1.0

    def cell(self, metric: MetricFacts) -> str:
        value = self.facts.values.get(metric.id)
        return "" if value is None else value_text(value)

    def prompt(self, document: Document) -> str:
        has_one = self.place < MOST_PROMPTS and self.facts.is_to_look_at
        return prompt_of(document, self.leg, self.facts) if has_one else ""


class Section(NamedTuple):
    """The rows of a leg by test case, those with the worst row first."""

    key: str
    name: str
    cases: dict[str, list[SimulationRow]]

    @property
    def token(self) -> str:
        """What filters for the leg; a filter cannot contain a quote."""
        return f'l:"{max(self.name.split(chr(34)), key=len)}"'

    @property
    def size(self) -> int:
        return sum(map(len, self.cases.values()))


class Table(NamedTuple):
    """The simulations that are shown, the worst first. `counts`: of each word. `caused`: a cause or a history is known.

    `sections`: the same rows by leg.
    """

    columns: list[MetricFacts]
    rows: list[SimulationRow]
    total: int
    counts: Mapping[str, int]
    causes: Mapping[str, int]
    caused: bool
    variants: bool
    groups: bool
    compared: bool
    sections: list[Section]


def web_address(url: str) -> str:
    """Return a web address unchanged; empty for anything else, such as a script."""
    return url if re.fullmatch(r"https?://[!-~]+", url) else ""  # no spaces, control characters and lookalikes


def table(document: Document) -> Table:
    pairs = [(leg, facts, str(key)) for key, leg in enumerate(document.legs) for facts in leg.simulations]
    pairs.sort(key=lambda pair: pair[1].place)
    shown = pairs[:MOST_SIMULATIONS]
    ids = Counter(facts.id for _, facts, _ in shown)
    rows = [
        SimulationRow(
            leg=leg,
            facts=facts,
            key=key,
            place=place,
            anchor=facts.id if ids[facts.id] == 1 and IDENTIFIER.fullmatch(facts.id) else f"row-{place}",
        )
        for place, (leg, facts, key) in enumerate(shown)
    ]
    sections: dict[str, Section] = {}
    for row in rows:
        section = sections.setdefault(row.key, Section(row.key, one_line(row.leg.title, ROW_NAME), {}))
        section.cases.setdefault(row.case, []).append(row)
    causes = Counter(facts.cause for _, facts, _ in pairs)
    return Table(
        columns=_columns(document.legs),
        rows=rows,
        total=len(pairs),
        counts=Counter(facts.word for _, facts, _ in pairs),
        causes={cause: causes[cause] for cause in get_args(CauseWord) if causes[cause]},
        caused=any(facts.cause_text for _, facts, _ in pairs),
        variants=any(facts.variant != ITSELF for _, facts, _ in pairs),
        groups=sum(len(section.cases) for section in sections.values()) < len(rows),
        compared=any(facts.change for _, facts, _ in pairs),
        sections=[*sections.values()],
    )


def _columns(legs: Sequence[LegFacts]) -> list[MetricFacts]:
    """Return the first metrics: those of missed criteria, then those of other criteria, then the rest."""
    metrics: dict[str, MetricFacts] = {}
    for metric in (candidate for leg in legs for candidate in leg.metrics):
        if metric.has_values or metric.id not in metrics:
            metrics[metric.id] = metric
    criteria = [criterion for leg in legs for criterion in leg.criteria if criterion.metric_id]
    missed = [criterion.metric_id for criterion in criteria if criterion.is_missed]
    ids = dict.fromkeys([*missed, *(criterion.metric_id for criterion in criteria), *metrics])
    ordered = [metrics[metric_id] for metric_id in ids if metric_id in metrics and metrics[metric_id].has_values]
    return ordered[:METRIC_COLUMNS]
