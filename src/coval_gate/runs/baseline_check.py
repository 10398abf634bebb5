"""Looks a baseline up before the launch: a mistake in its name would cost a run that can be compared with nothing.

The check is short, and must not stop a good run. A named run is an error only if Coval certainly does not have it, or
if it ended without completing. A tag or a branch that no run has yet is a warning, as on the first night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import LAUNCH_IDS, Problem
from coval_gate.coval.filters import RunFilter
from coval_gate.errors import CovalError, InputError, NotFound, Rejected
from coval_gate.model.statuses import COMPLETED
from coval_gate.runs.tags import BRANCH, FAILED, PREFIX, branch_tag, is_marked, pull_request_of, tags_of
from coval_gate.text import in_words, most_similar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.ci.context import Context
    from coval_gate.model.baseline_source import BaselineSource
    from coval_gate.model.run import Run
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

TAGS_SHOWN: Final = 5  # tags or branches that runs have, if none is similar


def check_baseline(
    session: Session, source: BaselineSource, ids: Mapping[str, str], context: Context
) -> Procedure[None]:
    """Check that there is something to compare a run of this agent, persona and test set (`ids`) with.

    Raises InputError for a named run that can be no baseline.
    """
    try:
        if source.kind == "run":
            yield from _check_named(session, source.name)
        else:
            yield from _check_listed(session, source, ids, context)
    except CovalError as error:
        session.log(f"Could not look up the baseline before the launch: {error.what}")


def _check_named(session: Session, run_id: str) -> Procedure[None]:
    problem = ""
    for _ in range(2):  # a response may be damaged
        problem, failed = yield from _problem_of(session, run_id)
        if not problem:
            if failed:
                session.warn(
                    f"The gate failed the run {run_id}, which baseline names; this run is compared with it anyway."
                )
            return
    raise InputError([Problem("baseline", f"names the run {run_id}, {problem}.")])


def _problem_of(session: Session, run_id: str) -> Procedure[tuple[str, bool]]:
    """Return why a run can be no baseline, empty if it can, and whether the gate failed it. Raises CovalError."""
    try:
        run = yield from session.client.get_run(run_id, until=session.deadline, once=True)
    except NotFound as error:
        if not error.by_coval:
            raise
        return "which Coval does not have", False
    if run.is_over and run.status != COMPLETED:
        return f"which did not complete: its status is {run.status}", False
    return "", is_marked(run, FAILED)


def _check_listed(
    session: Session, source: BaselineSource, ids: Mapping[str, str], context: Context
) -> Procedure[None]:
    """Warn if no run has the tag, or is from the branch, as far as Coval's lists show. Raises CovalError."""
    tag = branch_tag(context, source.name) if source.kind == "branch" else source.name.lower()
    if not tag:
        return
    client, until = session.client, session.deadline
    alike = RunFilter(**{name: ids[name] for name in LAUNCH_IDS}, status=COMPLETED)
    listed = yield from client.list_runs(alike, until=until)
    if _may_have(listed, tag):
        return
    try:
        if _may_have((yield from client.list_runs(alike._replace(tag=tag), until=until)), tag):
            return
    except Rejected:
        if len(listed) > TAGS_SHOWN:  # older runs may have it
            return
    session.warn(_nothing_text(source, _names(listed, source)))


def _may_have(runs: Iterable[Run], tag: str) -> bool:
    """Return whether a run has the tag, or may have it because it hides its tags."""
    return any(not run.tags or (tag in map(str.lower, tags_of(run)) and pull_request_of(run) is None) for run in runs)


def _names(runs: Iterable[Run], source: BaselineSource) -> list[str]:
    """Return the tags or branches of runs, without runs of pull requests."""
    tags = [tag.lower() for run in runs if pull_request_of(run) is None for tag in tags_of(run)]
    if source.kind == "branch":
        names = [tag.split("/")[2] for tag in tags if BRANCH.fullmatch(tag)]
    else:
        names = [tag for tag in tags if not tag.startswith(PREFIX)]
    return [name for name in dict.fromkeys(names) if name != source.name]


def _nothing_text(source: BaselineSource, names: list[str]) -> str:
    what = f"is from the branch {source.name}" if source.kind == "branch" else f"has the tag {source.name}"
    text = (
        f"No earlier run of this agent, persona and test set {what}, so there is nothing to compare this run with yet"
    )
    if similar := most_similar(source.name, names):
        return f"{text}; did you mean {similar}?"
    kind = "branches" if source.kind == "branch" else "tags"
    return f"{text}; {kind} that runs have: {in_words(names, most=TAGS_SHOWN)}." if names else f"{text}."
