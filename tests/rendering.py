"""The formats as functions of a report."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from coval_gate.base.schedule import run
from coval_gate.base.times import Times
from coval_gate.ci import detect_host
from coval_gate.ci.host import PageText
from coval_gate.features.files import RENDERERS
from coval_gate.features.files import digest as digest_format
from coval_gate.features.files import html as html_format
from coval_gate.features.files import junit as junit_format
from coval_gate.features.pages import texts as pages_format
from coval_gate.features.pages.texts import PAGES
from coval_gate.gate.findings import Findings, SimulationFinding
from coval_gate.report.charts import DrawnBound, spread
from coval_gate.report.document import Document, Documents
from coval_gate.report.document.legs import whole
from coval_gate.report.document.metrics import Chart
from coval_gate.report.document.model import LegReport, Report
from coval_gate.report.document.references import listed
from coval_gate.report.formats import log as log_format
from coval_gate.report.formats import outputs as outputs_format
from coval_gate.report.formats import summary as summary_format
from coval_gate.report.tables import drawn
from coval_gate.report.wording import reason
from coval_gate.step.publish import Publisher
from coval_gate.step.watch import progress_line
from coval_sandbox.runner import LocalRunner, read_log
from support import VirtualClock, runtime

composed = Documents().of

FACES: Final[dict[str, Callable[[Document], Any]]] = {
    "outputs": outputs_format.render,
    "log": log_format.Closing,
    "summary": summary_format.render,
    **RENDERERS,
    **{name: partial(pages_format.render, input_name=name) for name in PAGES},
}


class Written:
    """A report in every format but the given ones, each of which is rendered once."""

    def __init__(self, report: Report, *, without: Sequence[str] = ()) -> None:
        self.report, self.document = report, composed(report)
        self.faces: dict[str, Any] = {
            name: render(self.document) for name, render in FACES.items() if name not in without
        }

    @property
    def markdown(self) -> dict[str, str]:
        """The pages that a forge renders."""
        pages = {name: self.faces[name].summary for name in ("comment", "check_run")}
        return {"summary": self.faces["summary"], **pages}

    @property
    def digests(self) -> list[str]:
        """The digest, and the digests of the worst simulations, which the HTML report offers."""
        legs = self.document.ranked[:1]
        prompts = [digest_format.prompt_of(self.document, leg, row) for leg in legs for row in leg.simulations[:2]]
        return [self.faces["digest"], *prompts]

    @property
    def texts(self) -> dict[str, str]:
        """All that people and machines read of it, by format."""
        return {name: "\n".join(_texts_of(face)) for name, face in self.faces.items()}


def _texts_of(face: Any) -> Iterator[str]:
    match face:
        case str():
            yield face
        case dict():
            yield from face.values()
        case PageText():
            yield from (face.title, face.summary, face.link, *map(str, face.annotations))
        case _:
            yield from log_texts(face)


@dataclass
class Step:
    """A step that publishes a report; its log and runner files remain."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)

    def publish(self, report: Report, *warnings: str) -> "Step":
        """Log and publish the report as the main step does, after the given warnings."""
        self.local, stream = LocalRunner(self.directory), io.StringIO()
        given = runtime(VirtualClock(), environ=self.local.environ({}) | self.environ, stdout=stream)
        host = detect_host(given)
        publisher = Publisher(host, given)
        assert publisher.prepare(report.inputs) == []
        for warning in warnings:
            host.annotate("warning", "Coval Gate", warning)
        for leg in report.legs:
            if leg.run:
                host.log(progress_line(leg.run, 60.0))
            host.quote(reason(report.judgement))
            host.quote(*check_lines(findings_in(leg)))
        run(publisher.publish(report, Times.for_step(0.0, 3600.0)), given.clock)
        self.log = stream.getvalue()
        return self

    def commands(self, name: str = "") -> list[tuple[str, list[str]]]:
        """Return the names of commands, and of their properties. Only some texts make the step stop commands."""
        commands = (line for line in read_log(self.log) if line.name != "stop-commands")
        return [(command.name, sorted(command.properties)) for command in commands if name in ("", command.name)]

    def file(self, name: str) -> str:
        return (self.local.workspace / "reports" / name).read_bytes().decode()


def findings_in(leg: LegReport) -> Findings:
    return whole(leg).findings


def rows_of(report: Report) -> tuple[SimulationFinding, ...]:
    """Return the findings of all simulations, by leg."""
    return tuple(row for leg in report.legs for row in findings_in(leg).simulations)


def document(report: Report) -> str:
    return RENDERERS["json"](composed(report))


def html(report: Report) -> str:
    """Return the page of a step that asks for it, which is what draws histograms."""
    return html_format.render(composed(report._replace(inputs=report.inputs._replace(html_path="report.html"))))


def junit(report: Report) -> str:
    return junit_format.render(composed(report))


def digest(report: Report) -> str:
    return digest_format.render(composed(report))


def summary(report: Report) -> str:
    return summary_format.render(composed(report))


def log_texts(end: log_format.Closing) -> list[str]:
    """Return all lines and annotations at the end of a log."""
    annotations = [end.verdict, *end.annotations(10)]
    lines = (
        *end.explanation,
        end.last_line,
        *end.worst_lines(),
        *end.simulation_lines(),
        *end.legs,
        *end.flips,
        end.repeat,
    )
    return [*lines, *map(str, annotations)]


def closing(report: Report) -> log_format.Closing:
    return log_format.Closing(composed(report))


def outputs(report: Report) -> dict[str, str]:
    return outputs_format.render(composed(report))


def comment(report: Report) -> str:
    return page_of(report, "comment").summary


def marker(report: Report) -> str:
    return page_of(report, "comment").name


def commit_status(report: Report) -> PageText:
    return page_of(report, "commit_status")


def page_of(report: Report, name: str, *, brief: bool = False) -> PageText:
    return pages_format.render(composed(report), name, brief=brief)


def check_lines(findings: Findings) -> Iterator[str]:
    """Yield the lines of the log on criteria."""
    return log_format.check_lines(*listed(findings, {}))


def histogram(values: Sequence[float], bound: DrawnBound | None = None, unit: str = "") -> str:
    """Return a chart in Markdown; empty where there is none."""
    bars = spread([values], bound)
    return drawn(Chart(name="name", sides="", unit=unit, compared_with="", **bars._asdict())) if bars else ""
