"""What a step ran and tested, by ids and names; where, with which inputs; and the pages with more."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from coval_gate import __version__
from coval_gate.base.secret import Secret
from coval_gate.base.text import duration, in_words, one_line, plural
from coval_gate.coval.model import Run
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import IDENTIFIER, Age, Allowance, BaselineSource
from coval_gate.inputs.inputs import CONNECTION, LAUNCH_IDS, Inputs, effective
from coval_gate.report.document.base import Link, Model, Text
from coval_gate.report.document.model import BASE_AGENT, LegReport, Report

UNTESTED: Final = (None, Verdict.CANCELLED, Verdict.SKIPPED)  # verdicts of steps that tested nothing
MOST_IN_HEADING: Final = 2  # different names of a kind
MOST_TESTED: Final = 3  # different agents in a line, or mutations of one
NAME_IN_TEXT: Final = 60  # characters of an agent's, a persona's or a test set's name
NAMED: Final = {"agent_id": "agent", "test_set_id": "test set", "persona_id": "persona"}  # in a heading
SHORT_COMMIT: Final = 7  # characters
UNCOMMITTED: Final = ", with changes that are not committed"
HTML_REPORT: Final = "HTML report (if the workflow uploads it)"
MOST_SIDE_BY_SIDE: Final = 50  # runs on the page that compares them
MAY_HOLD_SECRETS: Final = ("metadata", "config_overrides")  # JSON objects, which may contain secrets


class EvaluatedFacts(Model):
    """Agents, test sets or personas that a heading names."""

    word: Text
    """What they are, such as "test set"."""
    text: Text
    is_name: bool
    """Whether these are names, not ids."""


class PlaceFacts(Model):
    """What the step tested: a pull request, a branch, a commit, or only some of its legs."""

    word: Text
    text: Text
    url: Text
    is_code: bool
    note: Text
    """What follows the text."""


class StepFacts(Model):
    """Where and when the step ran."""

    repository: Text
    commit: Text
    pull_request: int | None
    workflow: Text
    job: Text
    matrix: Text
    """What distinguishes the job from others with the same name; empty without a matrix."""
    url: Text
    attempt: Text
    later_attempt: Text
    """The attempt, if it is not the first."""
    actor: Text
    began: Text
    """ISO 8601, UTC."""
    duration_seconds: float
    coval_gate: Text
    """Version of this action."""

    def after(self, text: str) -> str:
        """Return a text with what distinguishes the job after it."""
        return f"{text} ({self.matrix})".lstrip() if self.matrix else text


class RunFacts(Model):
    """The run in Coval; empty where the step did not get that far."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported: COMPLETED, FAILED and so on."""
    kept_from: int | None
    """The attempt that launched it, if a later one of the same job kept it; null otherwise."""
    agent_id: Text
    persona_id: Text
    test_set_id: Text
    agent_name: Text
    """As Coval shows it; empty where the API key may not read it, and likewise for the others."""
    persona_name: Text
    test_set_name: Text


def step_facts(report: Report) -> StepFacts:
    context = report.context
    return StepFacts(
        repository=context.repository,
        commit=context.sha,
        pull_request=context.pull_request,
        workflow=context.workflow,
        job=context.job,
        matrix=context.matrix.label,
        url=context.run_url,
        attempt=context.run_attempt,
        later_attempt=context.later_attempt,
        actor=context.actor,
        began=report.began,
        duration_seconds=round(report.seconds, 3),
        coval_gate=__version__,
    )


def what_ran(report: Report, leg: LegReport | None = None) -> dict[str, str]:
    """Return the ids of agent, persona and test set, from the leg's run or else from the inputs."""
    step_ids = {name: ", ".join(getattr(report.inputs, name)) for name in LAUNCH_IDS}
    ids = leg.ids if leg and any(leg.ids.values()) else step_ids
    return {name: getattr(leg and leg.run, name, "") or ids[name] for name in LAUNCH_IDS}


def name_of(leg: LegReport | None, kind: str) -> str:
    """Return what Coval calls the agent, persona or test set; empty if Coval shows no name. `kind`: its input."""
    return one_line(leg.names.get(kind, ""), NAME_IN_TEXT) if leg else ""


def called(leg: LegReport | None, kind: str, id_: str) -> str:
    return name_of(leg, kind) or id_


def with_id(leg: LegReport | None, kind: str, id_: str) -> str:
    """Return the name with the id in brackets, where both are needed: "Front desk (agent1)"."""
    name = name_of(leg, kind)
    return f"{name} ({id_})" if name else id_


def named_in_heading(report: Report) -> list[EvaluatedFacts]:
    """Return what to call agents, test sets and personas, unless the matrix shows them."""
    in_matrix = report.context.matrix.label.split(", ")
    ran = [(leg, what_ran(report, leg)) for leg in report.legs or (None,)]
    named: list[EvaluatedFacts] = []
    for name, word in NAMED.items():
        ids = {ids[name]: leg for leg, ids in ran if ids[name] and ids[name] not in in_matrix}
        if names := dict.fromkeys((called(leg, name, id_), bool(name_of(leg, name))) for id_, leg in ids.items()):
            text = in_words([text for text, _ in names], most=MOST_IN_HEADING)
            words = f"{word}s" if len(names) > 1 else word
            named.append(EvaluatedFacts(word=words, text=text, is_name=all(is_name for _, is_name in names)))
    return named


def subject_in_words(report: Report, leg: LegReport, *, with_ids: bool = False) -> str:
    """Return what a leg's run tested; empty without a verdict on it, or if its agent is unknown.

    `with_ids`: name agents with their ids, because another one has the same name.
    """
    agent = what_ran(report, leg)["agent_id"]
    if report.judgement.verdict in UNTESTED or not (leg.run and agent):
        return ""
    text = called(leg, "agent_id", agent)
    base = called(leg, BASE_AGENT, leg.base.ids["agent_id"]) if leg.base else ""
    if with_ids or base == text:  # two agents may share a name
        text = with_id(leg, "agent_id", agent)
        base = with_id(leg, BASE_AGENT, leg.base.ids["agent_id"]) if leg.base else ""
    changed = _changed(report, leg)
    as_deployed = " as deployed" if leg.agent_type_is_known and not base else ""
    what = f"agent {text} {changed}" if changed else f"agent {text}{as_deployed}"
    if leg.attached is not None:
        what = "this commit (attached)" if leg.attached else f"agent {text} (not attached)"
    return f"{what} beside {base}" if base else what


def _changed(report: Report, leg: LegReport) -> str:
    """Return what a run changes in its agent, as far as the inputs or its simulations show it; empty if nothing."""
    inputs = leg.inputs or report.inputs
    names = [one_line(variant.name, NAME_IN_TEXT) for variant in leg.judgement.variants if variant.name]
    mutations = max(len(set(inputs.mutation_ids)), len(names))
    parts = ["config_overrides"] if inputs.config_overrides else []
    if mutations == len(names) <= MOST_TESTED and names:
        parts.insert(0, f"the mutation{'s' if mutations > 1 else ''} {in_words(names)}")
    elif mutations:
        parts.insert(0, plural(mutations, "mutation"))
    return f"with {in_words(parts)}" if parts else ""


def all_subjects(report: Report) -> str:
    """Return what the runs of a step tested, in words; the first of several different texts, and how many more."""
    agents = [what_ran(report, leg)["agent_id"] for leg in report.legs]
    names = [called(leg, "agent_id", agent) for leg, agent in zip(report.legs, agents, strict=True)]
    namesakes = Counter(name for name, _ in set(zip(names, agents, strict=True)))
    subjects = (
        subject_in_words(report, leg, with_ids=namesakes[name] > 1)
        for leg, name in zip(report.legs, names, strict=True)
    )
    return in_words([*dict.fromkeys(filter(None, subjects))], most=MOST_TESTED)


def configuration(inputs: Inputs, wrong: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return inputs that differ from their defaults, as users write them; `wrong`: what they wrote that is not valid.

    Secrets are left out, and so are the values of JSON objects, and of wrong addresses, which may contain some.
    """
    written = {}
    for declaration in effective():
        value = getattr(inputs, declaration.name)
        if declaration.name in wrong and declaration.group != CONNECTION and declaration.name not in MAY_HOLD_SECRETS:
            written[declaration.name] = wrong[declaration.name]
        elif value != declaration.default_value and not isinstance(value, Secret):
            written[declaration.name] = declaration.field.write(value) if declaration.field.write else _written(value)
    return written


def places(report: Report) -> list[PlaceFacts]:
    """Return the pull request, branch, commit and part of the legs that a step tested; the first word begins a line."""
    context = report.context
    change = f"{context.web.mark}{context.pull_request}" if context.pull_request else ""
    commit = context.sha[:SHORT_COMMIT] if context.sha_is_known else ""
    note = UNCOMMITTED if context.is_changed else ""
    known_places = [
        (context.web.change, change, context.change_url, False, ""),
        ("branch", context.shown_branch, "", True, ""),
        ("commit", commit, context.commit_url, True, note),
        ("only", str(report.selected) if report.selected and report.selected.legs else "", "", False, ""),
    ]
    shown = [place for place in known_places if place[1]]
    return [
        PlaceFacts(word=word if nth else word.capitalize(), text=text, url=url, is_code=is_code, note=note)
        for nth, (word, text, url, is_code, note) in enumerate(shown)
    ]


def provenance(report: Report, leg: LegReport | None = None) -> dict[str, str]:
    """Return where the step ran, and the leg's run; only what is known."""
    context, run, ran = report.context, leg.run if leg else None, what_ran(report, leg)
    baseline = leg.judgement.baseline if leg else None
    runs = [one.run.run_id for one in baseline.runs] if baseline else []
    facts = {
        "run": leg.run_id if leg else "",
        "status in Coval": run.status if run else "",
        "baseline": f"{baseline.source}: {', '.join(runs) or 'none'}" if baseline else "",
        "base agent": with_id(leg, BASE_AGENT, leg.base.ids["agent_id"]) if leg and leg.base else "",
        "base run": leg.base.run_id if leg and leg.base else "",
        **{name.removesuffix("_id").replace("_", " "): with_id(leg, name, id_) for name, id_ in ran.items()},
        "repository": context.repository,
        "commit": f"{context.sha}{UNCOMMITTED}" if context.is_changed else context.sha,
        context.web.change: f"{context.web.mark}{context.pull_request}" if context.pull_request else "",
        "workflow": context.workflow,
        "job": context.job,
        "matrix": context.matrix.label,
        "attempt": f"{report.attempt} of this commit" if report.attempt else context.run_attempt,
        "started by": context.actor,
        "began": report.began,
        "took": duration(report.seconds),
        "Coval Gate": __version__,
    }
    return {name: value for name, value in facts.items() if value}


def links(report: Report, run_ids: Sequence[str], read_more: str) -> list[Link]:
    """Return the pages with more; `read_more` is the one about the verdict."""
    runs = [(leg, run) for leg in report.legs for run in leg.runs]
    named = [(f"{leg.title or leg.name} ({run.id})" if leg.name else f"run {run.id}", run.url) for leg, run in runs]
    pages = {"Open the run in Coval" if len(runs) == 1 else f"Open {name}": url for name, url in named}
    home = report.legs[0].dashboard_url if report.legs else ""
    # Its page that compares runs is below the organization's name.
    compares = 1 < len(run_ids) <= MOST_SIDE_BY_SIDE and urlsplit(home).path.strip("/")
    has_page = report.judgement.verdict and report.inputs.html_path
    ids = ",".join(quote(id_, safe="") for id_ in run_ids)
    others = {
        "Open the runs side by side": f"{home}/reports/new?run_ids={ids}" if compares else "",
        "Workflow run": report.context.run_url,
        HTML_REPORT: report.context.artifacts_url if has_page else "",
        "Read more": read_more,
    }
    return [
        Link(text=text, url=url, is_run=text in pages, is_html_report=text == HTML_REPORT)
        for text, url in (pages | others).items()
        if url
    ]


def run_page(leg: LegReport, run: Run) -> str:
    """Return the page of another run in Coval's dashboard; empty where it is unknown, or the id is unusual."""
    return f"{leg.dashboard_url}/runs/{run.run_id}" if leg.dashboard_url and IDENTIFIER.fullmatch(run.run_id) else ""


def _written(value: Any) -> str:
    """Return a value as in a workflow file; a list takes several lines."""
    match value:
        case bool():
            return str(value).lower()
        case Age() | Allowance() | BaselineSource():
            return str(value)
        case tuple():
            lines = (one if isinstance(one, str) else f"{'? ' if one.advisory else ''}{one.text}" for one in value)
            return "\n".join(lines)
        case dict():
            return f"{{{', '.join(value)}}}"
        case float():
            return f"{value:g}"
    return str(value)
