"""What runs tested: agents, personas and test sets by their names, and what was changed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import in_words, one_line, plural
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import LAUNCH_IDS
from coval_gate.report.document.step import EvaluatedFacts
from coval_gate.report.model import BASE_AGENT

if TYPE_CHECKING:
    from coval_gate.report.model import LegReport, Report

UNTESTED: Final = (None, Verdict.CANCELLED, Verdict.SKIPPED)  # verdicts of steps that tested nothing
MOST_IN_HEADING: Final = 2  # different names of a kind
MOST_TESTED: Final = 3  # different agents in a line, or mutations of one
LONGEST_NAME: Final = 60  # characters of an agent's, a persona's or a test set's name
NAMED: Final = {"agent_id": "agent", "test_set_id": "test set", "persona_id": "persona"}  # in a heading


def what_ran(report: Report, leg: LegReport | None = None) -> dict[str, str]:
    """Return the ids of agent, persona and test set, from the leg's run or else from the inputs."""
    if leg is None or not any(leg.ids.values()):
        asked = {name: ", ".join(getattr(report.inputs, name, ())) for name in LAUNCH_IDS}
    else:
        asked = {**leg.ids}
    return {name: getattr(leg and leg.run, name, "") or asked[name] for name in LAUNCH_IDS}


class Called(NamedTuple):
    """What a report calls an agent, a persona or a test set: its name or, if Coval does not show it, its id."""

    text: str
    is_name: bool


def called(leg: LegReport | None, kind: str, id_: str) -> Called:
    """Return what to call the agent, persona or test set with this id. `kind`: its input, such as agent_id."""
    name = one_line(leg.names.get(kind, ""), LONGEST_NAME) if leg else ""
    return Called(name or id_, bool(name))


def with_id(leg: LegReport | None, kind: str, id_: str) -> str:
    """Return the name with the id in brackets, where both are needed: "Front desk (agent1)"."""
    name = called(leg, kind, id_)
    return f"{name.text} ({id_})" if name.is_name else id_


def base_name(leg: LegReport, source: object) -> str:
    """Return the source of a comparison; the name in place of the base agent's id."""
    is_base = leg.base is not None and source == leg.base.agent_id
    return called(leg, BASE_AGENT, str(source)).text if is_base else str(source)


def named_in_heading(report: Report) -> list[EvaluatedFacts]:
    """Return what to call agents, test sets and personas, unless the matrix shows them."""
    in_matrix = report.context.matrix.label.split(", ")
    ran = [(leg, what_ran(report, leg)) for leg in report.legs or (None,)]
    named: list[EvaluatedFacts] = []
    for name, word in NAMED.items():
        ids = {ids[name]: leg for leg, ids in ran if ids[name] and ids[name] not in in_matrix}
        if names := dict.fromkeys(called(leg, name, id_) for id_, leg in ids.items()):
            text = in_words([one.text for one in names], most=MOST_IN_HEADING)
            words = f"{word}s" if len(names) > 1 else word
            named.append(EvaluatedFacts(word=words, text=text, is_name=all(one.is_name for one in names)))
    return named


def subject_in_words(report: Report, leg: LegReport, *, with_ids: bool = False) -> str:
    """Return what a leg's run tested; empty without a verdict on it, or if its agent is unknown.

    `with_ids`: name agents with their ids, because another one has the same name.
    """
    agent = what_ran(report, leg)["agent_id"]
    if report.judgement.verdict in UNTESTED or not (leg.run and agent):
        return ""
    text, base = called(leg, "agent_id", agent).text, ""
    if leg.base:
        base = called(leg, BASE_AGENT, leg.base.agent_id).text
    if with_ids or base == text:  # two agents may share a name
        text = with_id(leg, "agent_id", agent)
        base = with_id(leg, BASE_AGENT, leg.base.agent_id) if leg.base else ""
    changed = _changed(report, leg)
    as_deployed = " as deployed" if leg.agent_type_is_known and not base else ""
    what = f"agent {text} {changed}" if changed else f"agent {text}{as_deployed}"
    if leg.attached is not None:
        what = "this commit (attached)" if leg.attached else f"agent {text} (not attached)"
    return f"{what} beside {base}" if base else what


def _changed(report: Report, leg: LegReport) -> str:
    """Return what a run changes in its agent, as far as the inputs or its simulations show it; empty if nothing."""
    inputs = leg.inputs or report.inputs
    asked = len(set(inputs.mutation_ids)) if inputs else 0
    names = [one_line(variant.name, LONGEST_NAME) for variant in leg.judgement.variants if variant.name]
    mutations = max(asked, len(names))
    named = f"the mutation{'s' if mutations > 1 else ''} {in_words(names)}"
    overrides = "config_overrides" if inputs and inputs.config_overrides else ""
    is_named = mutations == len(names) <= MOST_TESTED
    counted = named if is_named else plural(mutations, "mutation")
    parts = [*([counted] if mutations else []), *([overrides] if overrides else [])]
    return f"with {in_words(parts)}" if parts else ""


def all_subjects(report: Report) -> str:
    """Return what the runs of a step tested, in words; the first of several different texts, and how many more."""
    texts = dict.fromkeys(filter(None, (_told_apart(report, leg) for leg in report.legs)))
    return in_words([*texts], most=MOST_TESTED)


def _told_apart(report: Report, leg: LegReport) -> str:
    """Return what the run of a leg tested, with the agent's id where another leg's agent has the same name."""
    agent = what_ran(report, leg)["agent_id"]
    name = called(leg, "agent_id", agent).text
    others = ((other, what_ran(report, other)["agent_id"]) for other in report.legs)
    shares = any(id_ != agent and called(other, "agent_id", id_).text == name for other, id_ in others)
    return subject_in_words(report, leg, with_ids=shares)


def all_called(report: Report, leg: LegReport | None) -> dict[str, str]:
    """Return names with ids, by the inputs of the ids."""
    return {name: with_id(leg, name, id_) for name, id_ in what_ran(report, leg).items()}
