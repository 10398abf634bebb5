"""The check run: verdict and reason as the title, and as much of the step's summary as GitHub takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.text import one_line
from coval_gate.report.formats import summary
from coval_gate.report.formats.status import RUNNING, page_name, page_text
from coval_gate.report.markdown import escape
from coval_gate.report.provenance import links
from coval_gate.report.wording.judgements import headline, reason

if TYPE_CHECKING:
    from coval_gate.ci.host import PageText
    from coval_gate.report.model import Report

LIMIT: Final = 65_535  # bytes of UTF-8; GitHub refuses a longer summary
TITLE_LIMIT: Final = 255  # characters


def render(report: Report) -> PageText:
    """Return the check run with the verdict; without a verdict, as it is until then."""
    if report.judgement.verdict is None:
        return brief(report)
    return brief(report)._replace(summary=summary.render(report.document, LIMIT))


def brief(report: Report) -> PageText:
    """Return the check run without details: until there is a verdict, and for the post step."""
    judgement = report.judgement
    title = one_line(headline(judgement, TITLE_LIMIT) if judgement.verdict else RUNNING, TITLE_LIMIT)
    whole = reason(judgement) if judgement.verdict else ""
    parts = (escape(whole) if not title.endswith(whole) else "", summary.links_line(links(report).items()))
    return page_text(
        report,
        name=page_name(report, "check_run"),
        title=title,
        summary="\n\n".join(filter(None, parts)) or escape(title),  # GitHub takes no empty summary
        references=_references(report),
    )


def _references(report: Report) -> tuple[str, ...]:
    """Return the ids of the runs, the first leg's last; without any, what distinguishes this step and attempt.

    A later step finds the check run by any: the launch may have created it with another leg's id.
    """
    inputs, context = report.inputs, report.context
    waits_for = inputs.run_id.ids if inputs and inputs.mode == "wait" else ()
    run_ids = list(dict.fromkeys(filter(None, (*(leg.run_id for leg in report.legs), *waits_for))))
    return tuple(reversed(run_ids)) or (f"{context.run_id}.{context.run_attempt}/{context.job}/{context.step}",)
