"""The document: what a step found, with everything that people read of it, and what identifies the step's pages."""

import hashlib
import json
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, Literal

from pydantic import ConfigDict, Field

from coval_gate.base.text import visible
from coval_gate.gate.findings import lacks_baseline
from coval_gate.gate.judgement import gravity
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import CONTEXT_LIMIT, LAUNCH_IDS
from coval_gate.report import CRITERIA_SHOWN, MOST_SIMULATIONS, wording
from coval_gate.report.document.base import SCHEMA_VERSION, VERSIONS, JudgedFacts, Link, Model, Text
from coval_gate.report.document.legs import LegFacts, judged_facts, leg_facts, whole
from coval_gate.report.document.model import Report
from coval_gate.report.document.provenance import (
    EvaluatedFacts,
    PlaceFacts,
    StepFacts,
    all_subjects,
    configuration,
    links,
    named_in_heading,
    places,
    provenance,
    step_facts,
    what_ran,
)
from coval_gate.report.document.simulations import places_of
from coval_gate.report.wording.checks import check_reason


class PageFacts(Model):
    """How the pages of the step are found, such as its check run and its comment."""

    commit: Text
    """The tested commit; empty where it is unknown."""
    commit_status: Text
    """Its name, distinct for each job of a matrix; empty where the input is not set."""
    check_run: Text
    """Likewise."""
    key: Text
    """In the comment's first line. It differs between workflows, jobs (also of a matrix), steps and what they evaluate,
    but not between runs."""
    references: list[Text]
    """The ids of the runs, the first leg's last; without any, what distinguishes this step and attempt. A later step
    finds the check run by any: the launch may have created it with another leg's id."""


class SelectedFacts(Model):
    """The legs that the input `only_legs` selects."""

    legs: int
    """How many there are. No other leg takes part in anything."""
    total: int
    """How many legs the step would have without the input."""


class Document(JudgedFacts):
    """The result of one step of Coval Gate.

    A later minor version may have fields that are not described here, and other words where a description says that
    more words may follow. What is described here stays until the major number of `schema_version` changes.
    """

    model_config = ConfigDict(title="CovalGateReport")

    schema_version: Text = Field(pattern=VERSIONS)
    passed: bool
    attempt: int | None
    """Which attempt of its commit the step is, if it is a later one of its job; null for the first, or if unknown."""
    title: Text
    """The verdict as the title of a warning; empty where there is nothing to warn about."""
    evaluated: list[EvaluatedFacts]
    places: list[PlaceFacts]
    tested: Text
    """What the runs tested, in words."""
    reason_is_unreported: bool
    """Whether neither the criteria nor the table of legs show the first reason."""
    unreported_reasons: list[Text]
    """The other reasons that the criteria do not show."""
    run_ids: list[Text]
    """All runs: the first ones of all legs, those of their bases, and then the repetitions and further slices."""
    selected: SelectedFacts | None
    """How many legs the input `only_legs` selects; null where it is not set, and before the step knew its legs."""
    planned_simulations: int | None
    """How many the step meant to launch, without repetitions, or at the most with `spend: until clear`; null if Coval
    does not show the number of test cases."""
    failed_simulation_ids: list[Text]
    """The first simulations that did not complete or, where targets count, missed one."""
    known_failures: int
    """How many test cases known failures leave out of criteria, in whole or for a metric."""
    forbidden_simulation_ids: list[Text]
    """The first simulations with a value that `count(…) == 0` forbids."""
    decided_by: Text
    """The leg that decides, or `together` by its name; empty with one leg, and where something else does, such as a
    signal."""
    other_failing_legs: int
    """How many legs fail beside it."""
    links: list[Link]
    """Pages with more: the runs, the workflow run, other reports."""
    facts: dict[Text, Text]
    """Where the step ran and, with one leg, what is known of its run."""
    step: StepFacts
    pages: PageFacts
    inputs: dict[Text, Text]
    """The inputs that differ from their defaults, as given; of JSON objects only the keys. No secrets."""
    legs: list[LegFacts]
    """One for each run; empty where the step ended before it had one."""
    together: LegFacts | None
    """All legs in one comparison, as a leg without a run; null where nothing is compared in several of them. It fails
    the step if the agents are worse over all test cases of all legs, even where no leg shows that alone."""
    gravest_first: list[int]
    """The places of the legs in `legs`, the gravest first."""

    @property
    def judged(self) -> list[LegFacts]:
        """The legs, and all of them together if they are compared so."""
        return [*self.legs, *([self.together] if self.together else [])]

    @property
    def ranked(self) -> list[LegFacts]:
        """The same, the gravest first: the reason is about it."""
        legs = [self.legs[place] for place in self.gravest_first]
        ranked = sorted([*legs, *self.judged[len(legs) :]], key=lambda one: one.passes)
        return sorted(ranked, key=lambda one: one.name != self.decided_by) if self.decided_by else ranked

    @property
    def evaluation(self) -> str:
        """What distinguishes the step from others of its workflow."""
        return self.step.after("Coval evaluation")

    @property
    def advice_parts(self) -> Iterator[tuple[Literal["text", "item", "code"], str]]:
        """The advice as paragraphs, items of a list, and lines of code."""
        lines_of_advice = self.advice.split("\n") if self.advice else []
        for indented, lines in groupby(lines_of_advice, key=lambda line: line.startswith("    ")):
            if indented:
                yield "code", "\n".join(visible(line).removeprefix("    ") for line in lines)
            else:
                yield from (("item", line[2:]) if line.startswith("- ") else ("text", line) for line in lines)

    @property
    def run_url(self) -> str:
        """The page of the first leg's run; empty where there is none."""
        return self.legs[0].run.url if self.legs else ""

    @property
    def other_inputs(self) -> dict[str, str]:
        """The inputs that `facts` do not contain."""
        return {name: text for name, text in self.inputs.items() if name not in (*LAUNCH_IDS, "matrix")}


def document_of(report: Report, *, brief: bool = False) -> Document:
    """Return everything that formats show; with `brief`, without simulations and charts."""
    legs = tuple(whole(leg, brief=brief) for leg in report.legs)
    together = whole(report.together) if report.together else None
    report, judgement, context = report._replace(legs=legs), report.judgement, report.context
    bases = [leg.base for leg in legs if leg.base]
    first = [leg.run_id for leg in (*legs, *bases)]
    again = [run.id for leg in (*legs, *bases) for run in leg.runs[1:]]
    run_ids = list(dict.fromkeys(filter(None, first + again)))
    waits_for = report.inputs.run_id.ids if report.inputs.mode == "wait" else ()
    references = list(dict.fromkeys(filter(None, (*(leg.run_id for leg in legs), *waits_for))))[::-1]
    ranks = [()] * len(legs) if brief else places_of(legs)
    failed = (id_ for leg in legs if leg.judgement.totals for id_ in leg.judgement.totals.unpassed)
    checks = (check for leg in legs for check in leg.judgement.checks)
    forbidden = dict.fromkeys(id_ for check in checks if check.forbids for id_ in check.simulations)
    judged = judged_facts(judgement, [*legs, *([together] if together else [])], named=True)
    if report.attempt:
        judged["heading"] += f" on attempt {report.attempt} of this commit"
    return Document(
        schema_version=SCHEMA_VERSION,
        passed=judgement.verdict is Verdict.PASSED,
        attempt=report.attempt,
        title=wording.title(judgement, is_doubtful=judged["is_doubtful"]),
        evaluated=named_in_heading(report),
        places=places(report),
        tested=all_subjects(report),
        **judged,
        **_unreported(report, judged),
        run_ids=run_ids,
        selected=SelectedFacts(**report.selected._asdict()) if report.selected else None,
        planned_simulations=report.planned_simulations,
        failed_simulation_ids=list(islice(failed, MOST_SIMULATIONS)),
        known_failures=len(judgement.excused),
        forbidden_simulation_ids=list(islice(forbidden, MOST_SIMULATIONS)),
        decided_by=judgement.legs_summary.decisive if judgement.legs_summary else "",
        other_failing_legs=judgement.legs_summary.others if judgement.legs_summary else 0,
        links=links(report, run_ids, judged["link"]),
        step=step_facts(report),
        pages=PageFacts(
            commit=context.sha if context.sha_is_known else "",
            commit_status=_named(report, "commit_status"),
            check_run=_named(report, "check_run"),
            key=_key(report),
            references=references or [f"{context.run_id}.{context.run_attempt}/{context.job}/{context.step}"],
        ),
        facts=provenance(report, legs[0] if len(legs) == 1 else None),
        inputs=configuration(report.inputs, report.wrong),
        legs=[leg_facts(report, leg, places, brief=brief) for leg, places in zip(legs, ranks, strict=True)],
        together=leg_facts(report, together, brief=brief) if together else None,
        gravest_first=sorted(range(len(legs)), key=lambda place: gravity(legs[place].judgement)),
    )


def _unreported(report: Report, judged: dict[str, Any]) -> dict[str, Any]:
    """Return whether the tables, which show misses, lack the first reason, and which of the others they lack."""
    judgement, (first, *others) = report.judgement, judged["reasons"]
    # The table of legs shows each leg's reason, but no advice.
    if judgement.legs_summary and judgement.legs_summary.decisive:
        return {"reason_is_unreported": bool(judged["advice"]), "unreported_reasons": []}
    shown = [check for leg in report.legs for check in leg.findings.checks.by_gravity[:CRITERIA_SHOWN]]
    if shown and judgement.verdict is Verdict.PASSED and not judgement.passed_flaky:
        return {"reason_is_unreported": False, "unreported_reasons": []}
    in_table = {check_reason(check) for check in shown if check.measure or lacks_baseline(check)}
    is_missing = first not in in_table or judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)
    return {
        "reason_is_unreported": is_missing,
        "unreported_reasons": [reason for reason in others if reason not in in_table],
    }


def _named(report: Report, input_name: str) -> str:
    name = getattr(report.inputs, input_name)
    return report.context.matrix.after(name, CONTEXT_LIMIT) if name else ""


def _key(report: Report) -> str:
    """Return a digest: names may contain even the end of an HTML comment."""
    context, inputs = report.context, report.inputs
    # What the user wrote is the same before the launch and after it; a step that waits knows only what the run shows.
    template = (inputs.run_template_id,) if inputs.run_template_id else ()
    ids = what_ran(report)
    is_only = len(report.legs) == 1 and not report.selected  # the next commit may select others
    only = report.legs[0] if is_only and not any((*ids.values(), *template)) else None
    evaluated = [*what_ran(report, only).values(), *inputs.mutation_ids, *template]
    matrix = [context.matrix.digest] if context.matrix else []
    key = json.dumps([context.lasting_workflow or context.workflow, context.job, context.step, evaluated, *matrix])
    return hashlib.sha256(key.encode()).hexdigest()[:24]


class Documents:
    """Remembers the document of the last report, which all formats share."""

    def __init__(self) -> None:
        self._last: tuple[Report, Document, bool] | None = None

    def of(self, report: Report, *, brief: bool = False) -> Document:
        """Return the document. Rendering a large run takes seconds; a brief one may lack simulations and charts."""
        if self._last and self._last[0] is report and self._last[2] <= brief:
            return self._last[1]
        document = document_of(report, brief=brief)
        self._last = report, document, brief
        return document
