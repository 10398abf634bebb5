"""Simulations and test cases in Markdown: those to look at first, the others folded, each with a link to its page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.model.results import BASE
from coval_gate.report.comparison_tables import MOST_UNFOLDED
from coval_gate.report.markdown import Table, code, escape, folding, link, row
from coval_gate.report.metrics import variant_key
from coval_gate.report.wording.checks import here_text
from coval_gate.report.wording.criteria import criterion_text
from coval_gate.report.wording.judgements import MARKS
from coval_gate.report.wording.repetition import in_figures, stability_word
from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.report.markdown import Listing
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import SimulationRow

WORDS: Final = 200  # characters of an explanation


def troubled(report: Report) -> Iterator[str | Listing]:
    """Yield the simulations to look at; all but the worst are folded."""
    if ill := [simulation for simulation in report.rows if simulation.is_to_look_at]:
        yield f"#### {plural(len(ill), 'simulation')} to look at"
        explained = any(map(_reasons, ill))
        yield from folding(
            ("", "simulation", "missed criteria", *(("why",) if explained else ())),
            map(partial(_simulation, explained), ill),
            len(ill),
            most=MOST_UNFOLDED,
            rest=lambda more: f"{plural(more, 'more simulation')} to look at",
        )


def unstable(report: Report) -> Iterator[str | Listing]:
    """Yield the test cases that failed in any of several runs, and whether they always fail or only sometimes."""
    for leg in report.legs:
        cases = leg.judgement.repetition.cases if leg.judgement.repetition else ()
        if not cases:
            continue
        several = len(leg.variants) > 1
        rows = (
            row(
                escape(leg.case_name(case.test_case_id)),
                *((escape(variant_key(case.variant)),) if several else ()),
                stability_word(case),
                f"{case.failed:,} of {case.total:,}",
            )
            for case in cases
        )
        head = ("test case", *(("variant",) if several else ()), "stability", "failed")
        heading = f"Test cases that failed: {in_figures(cases)}"
        long = len(cases) > MOST_UNFOLDED
        if not long:
            yield f"#### {heading}"
        yield Table(head=head, rows=rows, total=len(cases), folded=heading if long else "")


def passed(report: Report) -> Iterator[Table]:
    """Yield the simulations that passed, folded."""
    well = [simulation for simulation in report.rows if not simulation.is_to_look_at]
    if well:
        rows = (row(_which(simulation)) for simulation in well)
        yield Table(
            head=("simulation",), rows=rows, total=len(well), folded=f"{plural(len(well), 'simulation')} passed"
        )


def _simulation(explained: bool, simulation: SimulationRow) -> str:
    criteria = ((code(criterion_text(miss.check.criterion)), escape(here_text(miss))) for miss in simulation.misses)
    misses = [" – ".join(filter(None, criterion)) for criterion in criteria]
    if simulation.more_misses:
        misses.append(f"… and {plural(simulation.more_misses, 'more criterion', 'more criteria')}")
    if not simulation.simulation.completed:
        misses.append("did not complete")
    why = ("<br>".join(escape(text, WORDS) for text in _reasons(simulation)),) if explained else ()
    return row(MARKS[simulation.verdict], _which(simulation), "<br>".join(misses) or "a target", *why)


def _reasons(simulation: SimulationRow) -> list[str]:
    """Return why a simulation missed criteria, in the words of Coval and of the judges."""
    texts = [simulation.simulation.error, *(simulation.texts.get(miss.check.metric, "") for miss in simulation.misses)]
    return [text for text in dict.fromkeys(texts) if text]


def _which(simulation: SimulationRow) -> str:
    """Return a simulation's title with a link to its page or, if that is unknown, with its id."""
    title, url = escape(simulation.title), simulation.url
    linked = link(title, url) if url else title
    variant = f" ({escape(simulation.simulation.mutation)})" if simulation.simulation.mutation != BASE else ""
    unlinked = linked == title and simulation.title != simulation.simulation.id
    # How often the test case failed is in its own table.
    more = [
        code(simulation.simulation.id) if unlinked else "",
        stability_word(simulation.stability) if simulation.stability else "",
    ]
    return "<br>".join(filter(None, [f"{linked}{variant}", *more]))
