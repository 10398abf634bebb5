"""Checks before the launch whether a step may promote or accept its run, and which tags it then gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import Problem
from coval_gate.config.metadata import MOST_RUN_TAGS, read_metadata

if TYPE_CHECKING:
    from coval_gate.ci.context import Context
    from coval_gate.config.inputs import Inputs

HOW_TO_ACCEPT: Final = """Let the workflow have that input, and pass it on:
    on:
      workflow_dispatch:
        inputs:
          accept:
            type: boolean
    ...
        accept: ${{ inputs.accept }}"""
PULL_REQUEST: Final = "pull_request"
OURS: Final = 3  # tags that the step itself may give to a run: its key, its group and its branch


def tags_to_give(inputs: Inputs) -> tuple[str, ...]:
    """Return the tags that the run gets if it is promoted, or accepted."""
    accepted = inputs.drift.name if inputs.drift and inputs.accept else ""
    return tuple(filter(None, (inputs.promote, accepted)))


def promotion_problems(inputs: Inputs, context: Context) -> list[Problem]:
    """Return the problems that rule out a promotion or an acceptance, before anything is launched."""
    if inputs.accept and not context.started_by_person:
        return [Problem("accept", f"must be false here: {_not_by_hand(context)}.\n{HOW_TO_ACCEPT}")]
    tags = {"promote": (inputs.promote, inputs.promote)} if inputs.promote else {}
    if inputs.drift:
        tags["drift"] = (inputs.drift.name, str(inputs.drift))
    own = tuple(map(str.lower, inputs.tags or read_metadata(inputs.metadata).tags))
    most = MOST_RUN_TAGS - OURS - len(tags)
    problems = []
    for name, (tag, written) in tags.items():
        if context.of_pull_request:
            condition = f"${{{{ github.event_name != '{context.event or PULL_REQUEST}' && '{written}' || '' }}}}"
            what = "the baseline" if name == "promote" else "the reference"
            text = (
                f"must be empty if a pull request or a merge queue started the workflow: neither may move {what}."
                f"\nIf other events start the workflow too, write:\n    {name}: {condition}"
            )
        elif tag in own:
            text = f"must not be one of tags: the run would have the tag {tag} before its verdict."
        elif len(own) > most:
            text = f"adds a tag, so there may be at most {most} other tags; got {len(own)}."
        else:
            continue
        problems.append(Problem(name, text))
    return problems


def _not_by_hand(context: Context) -> str:
    if not context.event:
        return "only a person who starts a workflow by hand (workflow_dispatch) accepts a run"
    return (
        f"a person accepts a run by starting the workflow by hand (workflow_dispatch), but {context.event} started it"
    )
