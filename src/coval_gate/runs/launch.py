"""Prepares a launch, and launches a run exactly once.

A run whose response was lost is adopted, and the run of an earlier attempt is resumed. Checking names and noting what
later comparisons need costs calls that delay the launch, so a step makes them only if its inputs need them, and side by
side.

A launch starts phone calls that cost money, so it is sent again only if it surely had no effect: if it never left, if
Coval itself said so, or if Coval has not listed the run for a while after the connection was closed without a response.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.errors import CovalError, InputError, LaunchUncertain, RunnerError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.text import duration
from coval_gate.base.times import preparing
from coval_gate.ci.host import AGENT_TYPE, BRANCH, COMMIT, IS_BASE, LEG, MATRIX, PULL_REQUEST, REPETITION, REPOSITORY
from coval_gate.coval.launch import LaunchRequest
from coval_gate.inputs.inputs import ids_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS, RunMetadata, read_metadata
from coval_gate.runs.tags import tags_as_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.coval.model import Run
    from coval_gate.coval.resources import TestCase
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.runs.earlier import EarlierRuns
    from coval_gate.runs.legs import Leg, Session, Trial
    from coval_gate.runs.tags import Tags

DISPLAY_NAME_LIMIT: Final = 200  # characters
FALLBACK_CREATOR: Final = "coval-gate"
SETTLING: Final = 60.0  # s after the end of a launch; a run that Coval does not list by then was not launched
CHECKING: Final = 30.0  # s to check for a second run right after the launch; the step checks again at its end
SERVERS_SKEW: Final = 10.0  # s by which the clocks of Coval's own servers may differ
MOST_LAUNCHES: Final = 3  # of one run, each of which was lost without a trace


def launch_request(inputs: Inputs, context: Context) -> LaunchRequest:
    """Return the request, with the provenance in `context` as metadata."""
    return LaunchRequest(
        **ids_of(inputs),
        metric_ids=inputs.metric_ids,
        persona_metrics=inputs.persona_metrics,
        mutation_ids=inputs.mutation_ids,
        iteration_count=inputs.iteration_count,
        concurrency=inputs.concurrency,
        sub_sample_size=inputs.sub_sample_size,
        sub_sample_seed=inputs.sub_sample_seed,
        test_case_ids=inputs.test_case_ids,
        config_overrides=inputs.config_overrides,
        metadata=_metadata(inputs, context),
    )


def with_leg(request: LaunchRequest, leg: Leg, repetition: int, branch: str) -> LaunchRequest:
    """Add what a step in mode wait must know: the leg, and the repetition's number."""
    again = {REPETITION: repetition, **({BRANCH: branch} if branch else {})} if repetition else {}
    base = {IS_BASE: True} if leg.is_base else {}
    customer = {**request.metadata.customer, LEG: leg.key, **base, **again}
    return request._replace(metadata=request.metadata._replace(customer=customer))


def with_tags(request: LaunchRequest, tags: Sequence[str]) -> LaunchRequest:
    """Add tags, the most important first. Only the customer's metadata contain those without room."""
    metadata = request.metadata
    own = (*metadata.tags, *tags)[:MOST_RUN_TAGS]
    customer = {**metadata.customer, **tags_as_metadata(tags)}
    return request._replace(metadata=metadata._replace(tags=own, customer=customer))


def _metadata(inputs: Inputs, context: Context) -> RunMetadata:
    metadata = read_metadata(inputs.metadata)
    return RunMetadata(
        display_name=inputs.display_name or metadata.display_name or _display_name(context),
        created_by=inputs.created_by or metadata.created_by or context.actor or FALLBACK_CREATOR,
        template_name=metadata.template_name,
        tags=inputs.tags or metadata.tags,
        customer={**_provenance(context), **metadata.customer},  # the user's override the provenance
    )


def _display_name(context: Context) -> str:
    pull_request = f"#{context.pull_request}" if context.pull_request else ""
    where = " ".join(part for part in (context.repository, pull_request) if part)
    sha = context.sha[:7] if context.sha_is_known else ""
    workflow = context.matrix.after(context.workflow)
    return " · ".join(part for part in (where, sha, workflow) if part)[:DISPLAY_NAME_LIMIT]


def _provenance(context: Context) -> dict[str, Any]:
    """A prefix distinguishes these metadata from the user's own."""
    provenance = {
        REPOSITORY: context.repository,
        COMMIT: context.sha if context.sha_is_known else "",
        PULL_REQUEST: context.pull_request,
        MATRIX: context.matrix.label,
        "github_run_url": context.run_url,
        "github_run_attempt": context.run_attempt,
        "github_actor": context.actor,
    }
    return {name: value for name, value in provenance.items() if value}


def noun(name: str) -> str:
    """Return what the id in an input is of: "test set" for test_set_id."""
    return name.removesuffix("_id").replace("_", " ")


def is_compared(inputs: Inputs) -> bool:
    """Return whether the run is compared with earlier runs, or later runs with it."""
    return inputs.accept or (inputs.baseline is not None and inputs.baseline.kind != "base")


def prepare(session: Session, trial: Trial, context: Context) -> Procedure[None]:
    """Check the metrics and the baseline that the criteria name, and add to the request what later steps need.

    A repetition needs neither: its first run was checked, and it is never a baseline. Raises InputError.
    """
    if trial.repetition:
        return
    inputs, clock = session.inputs, session.clock
    session = session._replace(deadline=preparing(clock.now(), session.deadline))
    work: list[Procedure[None]] = []
    if any(threshold.metric for threshold in inputs.thresholds):
        from coval_gate.runs.lookups import check_names

        work.append(check_names(session))
    source = inputs.baseline
    if source and source.kind != "base" and _looks_up(inputs):
        from coval_gate.runs.lookups import check_baseline

        work.append(check_baseline(session, source, trial.ids, context))
    if inputs.mode == "launch":
        work.append(_add_agent_type(session, trial))
    if is_compared(inputs):
        work.append(_add_fingerprint(session, trial))
    all_or_first_error((yield from together(work, clock)))


def _looks_up(inputs: Inputs) -> bool:
    """In mode launch, a later step may compare the run with its baseline."""
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    return not inputs.accept and (inputs.mode == "launch" or compares)


def _add_fingerprint(session: Session, trial: Trial) -> Procedure[None]:
    from coval_gate.coval.resources import Persona
    from coval_gate.runs.comparable import fingerprint_of

    if trial.request is None:
        return
    request = trial.request
    reading_persona = session.client.get_persona(request.persona_id, until=session.deadline)
    cases, persona = yield from together([_cases(session, request), reading_persona], session.clock)
    read = {"test cases": cases, "persona": persona}
    unread = {what: result for what, result in read.items() if isinstance(result, CovalError)}
    if unread:
        why = next(iter(unread.values())).what
        session.log(
            f"The {' and the '.join(unread)} could not be read, so later comparisons cannot see changes there: {why}"
        )
    fingerprint = fingerprint_of(
        request.parameters,
        cases if isinstance(cases, list) else (),
        persona if isinstance(persona, Persona) else None,
    )
    _add_metadata(trial, fingerprint.as_metadata())


def _add_agent_type(session: Session, trial: Trial) -> Procedure[None]:
    """Note the agent's type for the step that waits: a job may have to answer the run. Costs no launch if it fails."""
    if trial.request is None:
        return
    agent_id = trial.request.agent_id
    try:
        model_type = yield from session.client.get_agent_type(agent_id, until=session.deadline, once=True)
    except CovalError:
        return  # the step that waits looks itself
    if model_type:
        _add_metadata(trial, {AGENT_TYPE: model_type})


def _add_metadata(trial: Trial, more: Mapping[str, Any]) -> None:
    """Metadata added here are no part of what the tags are made of."""
    if trial.request:
        metadata = trial.request.metadata
        metadata = metadata._replace(customer={**metadata.customer, **more})
        trial.request = trial.request._replace(metadata=metadata)


def _cases(session: Session, request: LaunchRequest) -> Procedure[list[TestCase]]:
    """Return the test cases that the run may have. Raises CovalError."""
    cases = yield from session.client.list_test_cases(request.test_set_id, until=session.deadline)
    return [case for case in cases if not request.test_case_ids or case.id in request.test_case_ids]


class Launcher(NamedTuple):
    """`check` raises InputError if a launch would be useless. `record` writes down the run's id."""

    session: Session
    trial: Trial
    tags: Tags
    check: Callable[[], Procedure[None]]
    record: Callable[[str], None]

    def launch_guarded(self, *, resume: bool, supersede: bool, cancel: bool) -> Procedure[bool]:
        """Return whether the run is an earlier attempt's. Raises as `launch`, RunnerError, InputError.

        `resume`: take over such a run. `supersede`: cancel older ones first. `cancel`: the post step may cancel it.
        """
        trial, clock = self.trial, self.session.clock
        resumes = resume and self.tags.has_earlier_attempt
        earlier = (yield from self._earlier_runs().to_resume()) if resumes else None
        if earlier:
            trial.identify(earlier.run_id, at=clock.now())
            trial.resumed = True
            trial.arm(cancel=cancel)
            self.record(earlier.run_id)
        else:
            yield from self._check()
        if supersede:
            yield from self._earlier_runs().supersede(keep=earlier.run_id if earlier else "")
        if earlier:
            return True
        try:
            trial.arm(cancel=cancel)
        except RunnerError:
            trial.release()  # nothing was launched
            raise
        try:
            run = yield from self.launch()
        except LaunchUncertain:
            raise
        except CovalError:
            trial.release()  # nothing was launched
            raise
        trial.identify(run.run_id, at=clock.now())
        self.record(run.run_id)
        yield from self._end_other_launches()
        return False

    def launch_instead(self, *, gone: bool, cancel: bool) -> Procedure[bool]:
        """Launch a run in place of one that was taken over, and turned out to be cancelled. Raises as `launch_guarded`.

        `gone`: Coval answers 404. Returns False, without a launch, if it lists that run as unfinished all the same.
        """
        if gone:
            listed = yield from self._earlier_runs().to_resume()
            if listed and listed.run_id == self.trial.run_id:
                return False
        self.session.log(f"An earlier attempt had cancelled run {self.trial.run_id}, so the step launches another.")
        self.trial.forget()
        yield from self.launch_guarded(resume=False, supersede=False, cancel=cancel)
        return True

    def launch(self) -> Procedure[Run]:
        """Raises Rejected, Unavailable (no run exists), RunnerError or LaunchUncertain (one may)."""
        session, trial = self.session, self.trial
        began = session.clock.now()
        for left in reversed(range(MOST_LAUNCHES)):
            try:
                return (
                    yield from session.client.launch_run(
                        self._request, until=session.deadline, sent=trial.launches.append
                    )
                )
            except LaunchUncertain as lost:
                session.log(f"{lost.what} {self._what_to_check()}")
                if run := (yield from self._find_lost(lost, partial(self._created_since, began))):
                    session.log("The run began, so the step takes it over.")
                    return run
                if lost.rejection:
                    raise lost.rejection from None
                if not left:
                    raise
                session.log("The run did not begin, so the step launches it again.")
                trial.expect_another()
        raise AssertionError  # the last round returns or raises

    @property
    def _request(self) -> LaunchRequest:
        if self.trial.request is None:
            raise ValueError("the run was launched elsewhere")
        return self.trial.request

    def _check(self) -> Procedure[None]:
        try:
            yield from self.check()
        except InputError:
            self.trial.release()  # nothing was launched
            raise

    def _end_other_launches(self) -> Procedure[None]:
        from coval_gate.runs.cancel import end_other_launches

        session = self.session
        try:
            until = min(session.deadline, session.clock.now() + CHECKING)
            yield from end_other_launches(session._replace(deadline=until), self.trial)
        except CovalError as error:
            session.log(
                f"Could not check whether another launch began a run: {error.what} The step checks again later."
            )

    def _earlier_runs(self) -> EarlierRuns:
        from coval_gate.runs.earlier import EarlierRuns  # most launches need none, and the start is measured

        return EarlierRuns(session=self.session, tags=self.tags, ids=self.trial.ids)

    def _what_to_check(self) -> str:
        if self.trial.open_calls:
            return "The connection stays open. Checking meanwhile whether the run began."
        left = self.session.deadline - self.session.clock.now()
        return f"Checking for up to {duration(min(SETTLING, left))} whether the run began."

    def _created_since(self, began: float) -> float:
        """Return the earliest time on Coval's clock; any, as long as Coval does not tell it."""
        shown = self.session.client.server_time(began)
        return -math.inf if shown is None else shown - SERVERS_SKEW

    def _find_lost(self, lost: LaunchUncertain, since: Callable[[], float]) -> Procedure[Run | None]:
        """Return None if the launch surely had no effect. Raises LaunchUncertain, or the launch's rejection."""
        from coval_gate.runs.find import find_launched

        try:
            return (yield from find_launched(self.session, self.trial, settling=SETTLING, since=since))
        except LaunchUncertain as error:
            launch, search = lost.rejection, error.rejection
            if launch and search and launch.status == search.status:
                raise launch from None
            what = f"{lost.what} {error.what}"
            advice = "\n".join(text for text in (lost.advice, error.advice) if text)
            raise LaunchUncertain(lost.title, what, advice=advice) from None
