"""The step's outputs: the only place that names and describes them."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import in_words
from coval_gate.coval.model import ERROR
from coval_gate.gate.verdict import Verdict
from coval_gate.report.formats import Surface, formats
from coval_gate.report.limits import MOST_OUTPUT
from coval_gate.report.wording import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.gate.checks import Totals
    from coval_gate.report.model import LegReport, Report

LIST_LIMIT: Final = 2000  # ids in a list
LONGEST_LEG_REASON: Final = 300  # characters
CRITERION_FIELDS: Final = (
    "criterion",
    "verdict",
    "actual",
    "operator",
    "bound",
    "unit",
    "margin",
    "variant",
    "metric_id",
)


class LegFacts(NamedTuple):
    """An entry of the output `legs`; a number is None where it is unknown."""

    name: str
    run_id: str
    base_run_id: str
    run_url: str
    status: str
    verdict: str
    reason: str
    simulations: int | None
    pass_rate: float | None


OUTPUTS: Final = {
    "run_id": "The run's id in Coval, set as soon as the run is launched; of several legs, the first one's; with "
    "`mode: cancel` the first of `run_id`.",
    "run_ids": "The ids of the run of each leg, then of the runs of the base agent, and then of the repetitions "
    "(`repeat_on_failure`), as a JSON list; "
    "after `mode: launch`, what a step with `mode: wait` takes as its `run_id`; with `mode: cancel` all of `run_id`.",
    "run_url": "The run's page in Coval, set as soon as the run is launched; of several legs, the first one's.",
    "legs": "The legs of the step, of which there are several where an input names several agents, personas or test "
    f"sets: a JSON list of objects with {in_words([f'`{field}`' for field in LegFacts._fields])}.",
    "planned_simulations": "How many simulations the step meant to launch, without repetitions; empty if Coval does "
    "not show how many test cases there are.",
    "status": "How the run ended: `COMPLETED`, `COMPLETED_WITH_FAILURES` (completed, but the gate failed), "
    "`FAILED`, `CANCELLED`, `DELETED`, `TIMEOUT`, `ERROR`, `LAUNCHED`, `PLANNED` or `SKIPPED`.",
    "verdict": "The step's verdict: `passed`, `failed`, `inconclusive`, `error`, `timed_out`, `cancelled` or "
    "`skipped`; empty if nothing is judged, as with `mode: launch`, `mode: cancel` and `mode: plan`.",
    "passed": "`true` if the verdict is `passed`, otherwise `false`.",
    "reason": "The verdict's reason in one sentence.",
    "total_simulations": "How many simulations the runs of all legs had.",
    "completed_simulations": "How many of them completed.",
    "failed_simulations": "Ids of the simulations that did not complete or, where targets count, missed one, as a JSON "
    f"list of at most {LIST_LIMIT:,}. Thresholds do not count here: see `failed_criteria`.",
    "pass_rate": "Share of the simulations that completed and, where targets count, met them all: between 0 and 1. "
    "A simulation that Coval does not list counts as not passed. Thresholds do not count here: see `failed_criteria`.",
    "failed_criteria": "The criteria that are not met, the gravest first, as a JSON list of objects with "
    f"{', '.join(f'`{field}`' for field in CRITERION_FIELDS)}, as in the JSON report, and `leg`, the name of "
    f"their leg. As many as fit in {MOST_OUTPUT // 1024} KiB.",
    "metric_failures": "Ids of the simulations with a value that `count(…) == 0` forbids, as a JSON list of at most "
    f"{LIST_LIMIT:,}.",
    "metrics": "Aggregates of every metric, for the agent and for each mutation, as JSON; of several legs, the first "
    "one's.",
    "baseline_run_id": "The id of the newest run that the thresholds of the first leg were compared with; empty where "
    "there was none.",
    "comment_url": "The URL of the comment on the pull request, if `comment` is set.",
    **{file.input: file.output for file in formats(Surface.FILE)},
    "duration_seconds": "How long the step took, in whole seconds.",
}


def unfinished() -> dict[str, str]:
    """Return every output of a step that has only begun. If the step is killed, the workflow sees these."""
    values = {"status": ERROR, "verdict": Verdict.ERROR, "passed": "false", "reason": UNFINISHED}
    return dict.fromkeys(OUTPUTS, "") | values | {"duration_seconds": "0"}


def render(report: Report) -> dict[str, str]:
    """Return every output; empty where its value is unknown."""
    from coval_gate.report.wording.judgements import reason

    judgement, legs = report.judgement, report.legs
    totals = totals_of(legs)
    judged = totals if any(leg.judgement.totals for leg in legs) else None
    return {
        "run_id": report.run_id,
        "run_ids": json.dumps(report.run_ids) if report.run_ids else "",
        "run_url": report.run_url,
        "legs": json.dumps([_leg(leg)._asdict() for leg in legs]),
        "planned_simulations": _planned(legs),
        "status": judgement.status,
        "verdict": judgement.verdict or "",
        "passed": "true" if judgement.verdict == "passed" else "false",
        "reason": reason(judgement),
        "total_simulations": str(totals.total) if totals else "",
        "completed_simulations": str(totals.completed) if totals else "",
        "failed_simulations": _ids(judged.unpassed) if judged else "",
        "pass_rate": f"{judged.pass_rate:.6g}" if judged else "",
        "failed_criteria": _failed_criteria(legs) if judged else "",
        "metric_failures": _ids(metric_failure for leg in legs for metric_failure in leg.judgement.metric_failures),
        "metrics": _metrics(legs),
        "baseline_run_id": _baseline_run_id(legs),
        "comment_url": report.comment_url,
        **{file.input: report.files.get(file.input, "") for file in formats(Surface.FILE)},
        "duration_seconds": str(round(report.seconds)),
    }


def totals_of(legs: Sequence[LegReport]) -> Totals | None:
    """Return the totals of all legs together."""
    from coval_gate.gate.checks import sum_of

    return sum_of([totals for leg in legs if (totals := leg.totals)])


def _planned(legs: Sequence[LegReport]) -> str:
    """Return how many simulations the runs of all legs were to have; empty where that is not known."""
    bases = {leg.base.name: leg.base.planned for leg in legs if leg.base}
    sizes = [*(leg.planned for leg in legs), *bases.values()]
    return "" if None in sizes or not sizes else str(sum(size or 0 for size in sizes))


def _leg(leg: LegReport) -> LegFacts:
    from coval_gate.report.wording.judgements import reason

    judgement = leg.judgement
    return LegFacts(
        name=leg.name,
        run_id=leg.run_id,
        base_run_id=leg.base.run_id if leg.base else "",
        run_url=leg.run_url,
        status=judgement.status,
        verdict=judgement.verdict or "",
        reason=reason(judgement, LONGEST_LEG_REASON),
        simulations=leg.totals.total if leg.totals else None,
        pass_rate=leg.pass_rate,
    )


def _baseline_run_id(legs: Sequence[LegReport]) -> str:
    judgement = legs[0].judgement if legs else None
    if judgement is None or judgement.baseline is None:
        return ""
    compares = any(
        check.reference == "baseline" and check.measure and check.measure.comparison for check in judgement.checks
    )
    runs = (run.run.run_id for run in judgement.baseline.runs if not run.changed_persona)
    return next(runs, "") if compares else ""


def _metrics(legs: Sequence[LegReport]) -> str:
    if not legs or legs[0].result is None:
        return ""
    from coval_gate.report.metrics import aggregates

    return aggregates(legs[0].result.metrics, legs[0].variants)


def _failed_criteria(legs: Sequence[LegReport]) -> str:
    missed = [(check, leg.name) for leg in legs for check in leg.judgement.missed]
    if not missed:  # as before the launch, when the imports below would take time
        return "[]"
    from coval_gate.report.compose.criteria import criterion_of
    from coval_gate.report.wording.checks import mention

    shown = list[str]()
    room = MOST_OUTPUT
    for check, leg in missed:
        facts = criterion_of(check).model_dump(include=set(CRITERION_FIELDS))
        text = json.dumps(facts | {"criterion": mention(check.criterion), "leg": leg})
        if len(text) + len(", ") <= room:
            room -= len(text) + len(", ")
            shown.append(text)
    return f"[{', '.join(shown)}]"


def _ids(ids: Iterable[str]) -> str:
    return json.dumps(list(islice(ids, LIST_LIMIT)))
