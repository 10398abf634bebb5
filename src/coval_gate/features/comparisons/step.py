"""What a step does about baselines: checks the named one before the launch, and gives judged runs their standing.

Of baselines, only a named run that Coval certainly does not have, or that is over without having completed, is an
error. A tag or a branch that no run has yet is a warning, as on the first night. A judged run is accepted, or fills a
tag, or is marked as no baseline.
"""

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, InputError, NotFound, RunnerError, Unavailable
from coval_gate.base.schedule import together
from coval_gate.base.text import in_words, most_similar, one_line
from coval_gate.base.times import ACCEPTING, MARKING
from coval_gate.ci.host import Context
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, LaunchRequest, RunResult
from coval_gate.coval.resources import PERSONA, Persona, cases_of
from coval_gate.features.comparisons.comparable import Subject, fingerprint_of
from coval_gate.features.comparisons.find import baseline_of, check_spelling
from coval_gate.features.comparisons.standing import (
    accept,
    mark,
    not_accepted_text,
    not_marked_text,
    standing_text,
    take_tag,
)
from coval_gate.gate.judgement import Judgement, errored, gravest
from coval_gate.gate.measure import Baseline
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.history.search import Sought, search
from coval_gate.history.tags import (
    ACCEPTED_TAG,
    BRANCH,
    FAILED_TAG,
    PART_USES,
    branch_tag,
    is_marked,
    part_of,
    pull_request_of,
    tags_of,
    user_tags,
)
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import InvalidInput, ids_of
from coval_gate.step.leg import Duty, Leg, Trial
from coval_gate.step.step import LegRun, Step

HOW_TO_ACCEPT: Final = """Add that input to the workflow, and pass it on:
    on:
      workflow_dispatch:
        inputs:
          accept:
            type: boolean
    ...
        accept: ${{ inputs.accept }}"""


def acceptance_problems(context: Context) -> list[InvalidInput]:
    """Return why this step cannot accept a run. Nothing has been launched yet."""
    if context.started_by_person and not context.for_pull_request:  # a manual job of a pull request is its author's
        return []
    starts_workflow = context.start_by_hand is None
    if context.is_local:
        why = "only the runs of a CI system are compared with later ones."
    elif context.for_pull_request and (context.started_by_person or not starts_workflow):
        why = "only a run of a branch can be accepted."
    elif context.start_by_hand == "":
        why = (
            "only a person accepts a run, and this CI system does not show whether one started the job.\n"
            f"In Coval, add {ACCEPTED_TAG} and the baseline's tag to the run instead, and remove {FAILED_TAG} from it."
        )
    else:
        what = "the workflow by hand (workflow_dispatch)" if starts_workflow else "the job by hand"
        started = f", but {context.event} started it" if context.event else ""
        why = f"a person accepts a run by starting {what}{started}.\n{context.start_by_hand or HOW_TO_ACCEPT}"
    return [InvalidInput("accept", f"must be false here: {why}")]


async def check_baseline(session: LegRun) -> None:
    """Raises InputError for a named run that can be no baseline."""
    source = session.inputs.baseline
    if source is None or source.kind == "base":
        return
    try:
        if source.kind == "run":
            await _check_named(session, source.name)
        else:
            await _check_listed(session, source)
    except CovalError as error:
        session.log(f"Could not look up the baseline before the launch: {error.what}")


async def _check_named(session: Session, run_id: str) -> None:
    try:
        run = await session.client.get_run(run_id, until=session.deadline, once=True)
    except NotFound as error:
        if not error.by_coval:
            raise
        raise InputError([InvalidInput("baseline", f"names the run {run_id}, which Coval does not have.")]) from None
    if run.is_over and run.status != COMPLETED:
        text = f"names the run {run_id}, which did not complete: its status is {run.status}."
        raise InputError([InvalidInput("baseline", text)])
    if part := part_of(run):
        raise InputError(
            [InvalidInput("baseline", f"names the run {run_id}, which is {PART_USES[part]}. Name a whole run.")]
        )
    if is_marked(run, FAILED_TAG):
        session.warn(
            f"The baseline, run {run_id}, failed a comparison or lacks data. This run is compared with it anyway."
        )


async def _check_listed(session: LegRun, source: BaselineSource) -> None:
    """Warn if no run has the tag or is from the branch, as far as lists show. Raises CovalError, InputError."""
    tag = branch_tag(session.step.context, source.name) if source.kind == "branch" else source.name
    if not tag:
        return
    sought = Sought(ids_of(session.inputs), tag, COMPLETED, fits=lambda run: pull_request_of(run) is None, enough=bool)
    found = await search(session, sought)
    if found.runs or found.hidden:
        return
    if source.kind == "tag":
        check_spelling(tag, found.seen)
        kind, has, names = "tags", f"has the tag {source.name}", user_tags(found.seen)
    else:
        kind, has = "branches", f"is from the branch {source.name}"
        tags = (tag.lower() for run in found.seen if pull_request_of(run) is None for tag in tags_of(run))
        names = [tag.split("/")[2] for tag in tags if BRANCH.fullmatch(tag)]
        names = [name for name in dict.fromkeys(names) if name != source.name]
    none = f"No earlier run of this agent, persona and test set {has}, so there is nothing to compare this run with yet"
    if similar := most_similar(source.name, names):
        session.warn(f"{none}; did you mean {similar}?")
    else:
        session.warn(f"{none}; {kind} that runs have: {in_words(names, most=5)}." if names else f"{none}.")


async def find_baseline(session: LegRun, result: RunResult) -> Baseline | None:
    """Return None if nothing is compared with a baseline."""
    inputs, trial = session.inputs, session.leg.first
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    if not (compares and inputs.baseline) or inputs.accept or trial.run is None:
        return None
    subject = Subject(
        run=trial.run,
        result=result,
        request=trial.request,
        context=session.step.context,
        criteria=session.criteria,
        drawn=frozenset(chain.from_iterable(session.leg.slices)),
    )
    return await baseline_of(session, inputs.baseline, subject, over_since=trial.over_since)


async def note_fingerprint(session: LegRun, request: LaunchRequest) -> Mapping[str, Any]:
    listing = session.client.list(cases_of(request.test_set_id), until=session.deadline)
    reading_persona = session.client.get(PERSONA, request.persona_id, until=session.deadline)
    cases, persona = await together([listing, reading_persona], session.clock)
    own = [*chain.from_iterable(session.leg.slices)] or request.test_case_ids  # those of the slices after it, too
    read = {"test cases": cases, "persona": persona}
    unread = {what: result for what, result in read.items() if isinstance(result, CovalError)}
    if unread:
        why = next(iter(unread.values())).what
        session.log(
            f"The {' and the '.join(unread)} could not be read, so later comparisons cannot see changes there: {why}"
        )
    fingerprint = fingerprint_of(
        request.parameters,
        [case for case in cases if not own or case.id in own] if isinstance(cases, tuple) else (),
        persona if isinstance(persona, Persona) else None,
    )
    return fingerprint.as_metadata()


def owe_mark(step: Step, trial: Trial, judgement: Judgement) -> None:
    """Note that a run must be marked as no baseline. If the step is killed, the post step marks it."""
    context, run = step.context, trial.run
    is_judged_again = context.is_local and step.inputs.mode == "wait"  # on a laptop
    is_whole = run is not None and run.status == COMPLETED and bool(trial.run_id) and not trial.is_slice
    on_branch = run is not None and context.pull_request is None and pull_request_of(run) is None
    if judgement.is_barred and is_whole and on_branch and not is_judged_again:
        with suppress(RunnerError):
            trial.owe(Duty.MARK)
    else:
        trial.settle(Duty.MARK)


async def settle_standing(step: Step, judgement: Judgement) -> Judgement:
    """Return the step's judgement, or the error of a run that could not be accepted. Raises Interrupted."""
    judged = [(leg, leg.judgement) for leg in step.legs if leg.judgement]
    for leg, own in judged:
        inputs, run = leg.inputs, leg.first.run
        by_branch = inputs.baseline is not None and inputs.baseline.kind == "branch"  # a run gets a tag by its verdict
        is_left = step.judgement_of(leg, judgement).verdict is Verdict.TIMED_OUT and not inputs.cancel_on_timeout
        goes_on = is_left and not leg.slices and run is not None and not run.is_over
        if by_branch and goes_on and run and step.context.pull_request is None and pull_request_of(run) is None:
            _session_of(step, leg).warn(
                f"Run {leg.first.run_id} continues in Coval, but this step does not judge it. Once it completes, a "
                "baseline given by branch may use it, even if the agent got worse.\n"
                "Set cancel_on_timeout: true, or raise max_wait_time."
            )
        for trial in leg.trials:
            owe_mark(step, trial, own)
    owing = [(leg, trial) for leg, _ in judged for trial in leg.trials if Duty.MARK in trial.duties]
    await _mark(step, owing)
    works = [_settle(step, leg, own) for leg, own in judged]
    judgements = [judgement]
    for (leg, _), result in zip(judged, await together(works, step.clock), strict=True):
        if isinstance(result, CovalError):
            leg.error = errored(result)
            judgements.append(leg.error)
    return gravest(judgements)


async def _settle(step: Step, leg: Leg, judgement: Judgement) -> None:
    """Accept the leg's first run, or give it the tag of the baseline. Raises CovalError if it is not accepted."""
    source, trial = leg.inputs.baseline, leg.first
    session, context = _session_of(step, leg, ACCEPTING if leg.inputs.accept else MARKING), step.context
    is_branch_run = not (context.is_local or context.for_pull_request or context.pull_request is not None)
    if leg.slices or source is None or not (leg.inputs.accept or (source.kind == "tag" and is_branch_run)):
        return
    has_all = isinstance(judgement.cause, Completed) and not judgement.is_barred
    if leg.inputs.accept and has_all:
        accepted = [other.first.run_id for other in step.legs if other.trials]
        leg.standing = await accept(session, trial.run_id, source, step.context, accepted, sent=trial.sent_tags)
    elif leg.inputs.accept and trial.run_id:
        if judgement.passes_gate:
            raise CovalError(titles.NOT_ACCEPTED, not_accepted_text(trial.run_id))
        session.warn(not_accepted_text(trial.run_id))
    elif has_all:
        try:
            leg.standing = await take_tag(session, trial.run_id, source, sent=trial.sent_tags)
        except CovalError as error:
            what = f"Run {one_line(trial.run_id)} could not get the tag {source.name}: {error.what}"
            session.warn("\n".join(filter(None, (what, _warning_advice(error)))))
    if leg.standing:
        session.log(f"Run {leg.standing.run_id}: {standing_text(leg.standing)}")


async def _mark(step: Step, owing: list[tuple[Leg, Trial]]) -> None:
    """Warn once of failures. The post step retries transient ones."""
    marks = (mark(_session_of(step, leg), trial.run_id, FAILED_TAG, sent=trial.sent_tags) for leg, trial in owing)
    results = await together(marks, step.clock)
    problems: dict[str, CovalError] = {}
    for (leg, trial), result in zip(owing, results, strict=True):
        if isinstance(result, CovalError):
            problems[trial.run_id] = result
        if not isinstance(result, Unavailable):
            trial.settle(Duty.MARK)
        if result is True:
            _session_of(step, leg).log(f"Marked run {trial.run_id}: no later run is compared with it.")
    if problems:
        first = next(iter(problems.values()))
        step.warn(not_marked_text(list(problems), first.what, _warning_advice(first)))


def _session_of(step: Step, leg: Leg, most: float = MARKING) -> Session:
    """`most`: seconds that changes of tags may take."""
    session = step.session().of(leg)
    now = session.clock.now()
    return session.until(min(now + most, max(now, session.deadline)))


def _warning_advice(error: CovalError) -> str:
    """Return a warning's advice: none about an outage, which the step's error may be about, too."""
    return "" if isinstance(error, Unavailable) else error.advice
