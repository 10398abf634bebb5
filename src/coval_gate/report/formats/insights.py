"""The report on a commit in Bitbucket: verdict, advice, a few figures, and the simulations to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import one_line, shortened, visible
from coval_gate.ci.host import NAME, Annotation, Figure
from coval_gate.report.formats.comment import identity
from coval_gate.report.formats.status import RUNNING, page_text
from coval_gate.report.provenance import named_in_heading
from coval_gate.report.wording.judgements import heading, headline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.ci.host import PageText
    from coval_gate.report.model import Report

LONGEST_TITLE: Final = 200  # characters
LONGEST_SUMMARY: Final = 450  # characters of an annotation's title; Bitbucket refuses a longer one
LONGEST_DETAILS: Final = 2_000  # characters of a report's details, and of an annotation's
MOST_ANNOTATIONS: Final = 100  # Bitbucket takes no more in one request


def render(report: Report) -> PageText:
    if report.judgement.verdict is None:
        return brief(report)
    from coval_gate.report.formats import log  # not needed before the launch

    closing = log.render(report.document)
    details = f"{heading(report.judgement)}\n{closing.verdict.message}"
    annotates = not report.judgement.lets_pass and (report.inputs is None or report.inputs.annotations)
    return brief(report)._replace(
        summary=_lines(details),
        figures=tuple(_figures(report)),
        annotations=tuple(
            Annotation(one_line(annotation.title, LONGEST_SUMMARY), _lines(annotation.message))
            for annotation in (closing.annotations(MOST_ANNOTATIONS) if annotates else ())
        ),
    )


def brief(report: Report) -> PageText:
    """Return the report without details: until there is a verdict, and for the post step."""
    judgement = report.judgement
    named = [report.context.matrix.label, *(called.text for called in named_in_heading(report).values())]
    title = ": ".join(filter(None, (NAME, ", ".join(filter(None, named)))))
    return page_text(
        report,
        name=f"coval-gate-{identity(report)}",
        title=one_line(title, LONGEST_TITLE),
        summary=headline(judgement, LONGEST_DETAILS) if judgement.verdict else RUNNING,
        link=report.run_url or report.context.run_url,
    )


def _lines(text: str) -> str:
    return shortened("\n".join(map(visible, text.split("\n"))), LONGEST_DETAILS)


def _figures(report: Report) -> Iterator[Figure]:
    from coval_gate.report.formats.outputs import totals_of

    if any(leg.judgement.totals for leg in report.legs) and (totals := totals_of(report.legs)):
        yield Figure("Pass rate", round(100 * totals.pass_rate, 2), "percentage")
        yield Figure("Simulations", totals.total)
        yield Figure("Completed", totals.completed)
        yield Figure("Did not pass", len(totals.unpassed) + totals.unlisted)
    yield Figure("Took", round(report.seconds), "duration")
