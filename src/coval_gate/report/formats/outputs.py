"""The step's outputs, and its reports as files: the only place that names and describes them."""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from coval_gate.base.text import in_words, shortened
from coval_gate.gate.verdict import UNFINISHED_TEXT, Verdict
from coval_gate.inputs.inputs import effective
from coval_gate.report import LONGEST_MENTION, MOST_SIMULATIONS
from coval_gate.report.document import Document
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.document.metrics import MetricFacts

MOST_OUTPUT: Final = 64 * 1024  # characters; all outputs of a job together may have about half a million
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


# The entries of the output `legs`; a number is None where it is unknown.
LEG_FIELDS: Final[Mapping[str, Callable[[LegFacts], object]]] = {
    "name": lambda leg: leg.name,
    "run_id": lambda leg: leg.run.id,
    "base_run_id": lambda leg: leg.base_run_id,
    "run_url": lambda leg: leg.run.url,
    "status": lambda leg: leg.status,
    "verdict": lambda leg: leg.verdict or "",
    "reason": lambda leg: leg.short_reason(LONGEST_LEG_REASON),
    "simulations": lambda leg: leg.total_simulations,
    "pass_rate": lambda leg: leg.pass_rate,
}
HISTORIES: Final = ("html", "json")  # formats of a history
SUFFIXES: Final = {"junit": "xml", "digest": "md"}  # those that are not the format's name


class File(NamedTuple):
    """A report as a file in the workspace, at the path in the input. An output of that name has the path."""

    input: str
    what: str

    @property
    def name(self) -> str:
        return self.input.removesuffix("_path")

    @property
    def example(self) -> str:
        return f"reports/coval.{SUFFIXES.get(self.name, self.name)}"

    @property
    def output(self) -> str:
        return f"Path of the {self.what} in the workspace."

    def is_written_in(self, mode: str) -> bool:
        return self.name in HISTORIES if mode == "history" else mode != "plan"


FILES: Final = tuple(File(one.name, one.field.report) for one in effective() if one.field.report)
OUTPUTS: Final = {
    "run_id": "Id of the first leg's run, set right after the launch.",
    "run_ids": "All ids, as a JSON list: each leg's run, then base agents' runs, then repetitions or further slices. "
    "After `mode: launch`, it is the `run_id` for `mode: wait`.",
    "run_url": "Page of the first leg's run in Coval.",
    "legs": f"JSON list of legs with {in_words([f'`{field}`' for field in LEG_FIELDS])}.",
    "planned_simulations": "How many simulations the step meant to launch, without repetitions; with "
    "`spend: until clear`, at most.",
    "status": "How the run ended: `COMPLETED`, `COMPLETED_WITH_FAILURES` (completed, but the gate failed), "
    "`FAILED`, `CANCELLED`, `DELETED`, `TIMEOUT`, `ERROR`, `LAUNCHED`, `PLANNED`, `HISTORY` or `SKIPPED`.",
    "verdict": "`passed`, `failed`, `inconclusive`, `error`, `timed_out`, `cancelled` or `skipped`. Empty if nothing "
    "is judged.",
    "passed": "`true` if the verdict is `passed`, else `false`.",
    "reason": "The verdict's reason, in one sentence.",
    "total_simulations": "How many simulations all runs had.",
    "completed_simulations": "How many of them completed.",
    "failed_simulations": "Ids of simulations that did not complete or, where targets count, missed one: a JSON list, "
    f"at most {MOST_SIMULATIONS:,}. Thresholds do not count: see `failed_criteria`.",
    "pass_rate": "Share of simulations, from 0 to 1, that completed and, where targets count, met them. Thresholds "
    "do not count.",
    "failed_criteria": "Criteria that are not met, the gravest first: a JSON list of objects with "
    f"{', '.join(f'`{field}`' for field in CRITERION_FIELDS)} and `leg`. As many as fit in "
    f"{MOST_OUTPUT // 1024} KiB.",
    "metric_failures": "Ids of simulations with a value that `count(…) == 0` forbids: a JSON list, at most "
    f"{MOST_SIMULATIONS:,}.",
    "known_failures": "How many test cases `known_failures` now leaves out.",
    "metrics": "Aggregates of the first leg's metrics, for the agent and each mutation, as JSON.",
    "baseline_run_id": "Newest run that the first leg was compared with.",
    "comment_url": "URL of the comment on the pull request.",
    **{file.input: file.output for file in FILES},
    "duration_seconds": "Duration of the step in seconds.",
}


def unfinished() -> dict[str, str]:
    """Return every output of a step that has only begun. If the step is killed, the workflow sees these."""
    values = {"status": Verdict.ERROR.upper(), "verdict": Verdict.ERROR, "passed": "false", "reason": UNFINISHED_TEXT}
    return dict.fromkeys(OUTPUTS, "") | values | {"duration_seconds": "0"}


def render(
    document: Document, comment_url: str = "", files: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return every output; empty where its value is unknown. `files`: their paths by input."""
    legs, run_ids, is_judged = document.legs, document.run_ids, document.pass_rate is not None
    criteria, baseline = (legs[0].criteria, legs[0].baseline) if legs else ([], None)
    compares = any(one.compared_with == "baseline" and one.baseline_value is not None for one in criteria)
    baseline_runs = baseline.runs if baseline and compares else []
    return {
        "run_id": legs[0].run.id if legs else "",
        "run_ids": json.dumps(run_ids) if run_ids else "",
        "run_url": document.run_url,
        "legs": json.dumps([{field: value(leg) for field, value in LEG_FIELDS.items()} for leg in legs]),
        "planned_simulations": _number(document.planned_simulations),
        "status": document.status,
        "verdict": document.verdict or "",
        "passed": "true" if document.passed else "false",
        "reason": document.reason,
        "total_simulations": _number(document.total_simulations),
        "completed_simulations": _number(document.completed_simulations),
        "failed_simulations": json.dumps(document.failed_simulation_ids) if is_judged else "",
        "pass_rate": "" if document.pass_rate is None else f"{document.pass_rate:.6g}",
        "failed_criteria": _failed_criteria(document.judged) if is_judged else "",
        "metric_failures": json.dumps(document.forbidden_simulation_ids),
        "known_failures": str(document.known_failures) if is_judged else "",
        "metrics": _metrics(legs[0].metrics) if legs and (legs[0].metrics or legs[0].variants) else "",
        "baseline_run_id": next((run.id for run in baseline_runs if not run.changed_persona), ""),
        "comment_url": comment_url,
        **{file.input: files.get(file.input, "") for file in FILES},
        "duration_seconds": str(round(document.step.duration_seconds)),
    }


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _metrics(metrics: Sequence[MetricFacts]) -> str:
    """Return `{name: {"id": …, "variants": {variant: figures}}}` as JSON, of as many metrics as fit an output."""
    entries: dict[str, Any] = {}
    room = MOST_OUTPUT - len("{}")
    for metric in metrics:
        name = metric.name
        while name in entries:
            name = f"{name} ({metric.id})"
        variants = {
            variant: {
                name: float(f"{value:.6g}") if isinstance(value, float) else value
                for name, value in figures.model_dump(exclude_unset=True).items()
            }
            for variant, figures in metric.variants.items()
        }
        entry = {"id": metric.id, "variants": variants}
        if (size := len(json.dumps({name: entry}))) <= room:
            room -= size
            entries[name] = entry
    return json.dumps(entries)


def _failed_criteria(legs: Sequence[LegFacts]) -> str:
    shown, room = list[str](), MOST_OUTPUT
    for criterion, name in [(one, leg.name) for leg in legs for one in leg.criteria if one.is_missed]:
        facts = criterion.model_dump(include=set(CRITERION_FIELDS))
        text = json.dumps(facts | {"criterion": shortened(criterion.criterion, LONGEST_MENTION), "leg": name})
        if len(text) + len(", ") <= room:
            room -= len(text) + len(", ")
            shown.append(text)
    return f"[{', '.join(shown)}]"
