"""Looks up before the launch what the criteria name: metrics, their values, and the baseline.

A misspelt name would cost the whole run. But a look-up is short, and must not stop a good run: it reports only what is
certain. Where Coval does not say in time, or not for certain, which metrics the run will have, it is launched without a
check; likewise where a metric's definition does not list its values.

Of baselines, only a named run that Coval certainly does not have, or that is over without having completed, is an
error. A tag or a branch that no run has yet is a warning, as on the first night.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from coval_gate import step as later
from coval_gate.base.errors import CovalError, InputError, NotFound, Rejected
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.text import folded, in_words, most_similar, quoted
from coval_gate.base.times import preparing
from coval_gate.ci.host import AGENT_TYPE, Context
from coval_gate.coval.model import COMPLETED, LaunchRequest, Run
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, MetricDefinition, Persona, TestCase, cases_of
from coval_gate.coval.session import Session
from coval_gate.gate.values import Vocabulary
from coval_gate.history.search import Sought, search
from coval_gate.history.tags import BRANCH, FAILED, PREFIX, branch_tag, is_marked, pull_request_of, tags_of
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import Inputs, Problem, ids_of
from coval_gate.step.step import LegRun

AT_ONCE: Final = 10  # definitions
NAMES_SHOWN: Final = 8  # metrics that the run will have, if none is similar
VALUES_SHOWN: Final = 12  # that a metric can have

ALSO_ENDS_LAUNCH: Final = (401, 404)  # the key or the agent is wrong, which the launch reports with advice

Names = dict[str, str]  # of metrics, by id
TAGS_SHOWN: Final = 5  # tags or branches that runs have, if none is similar


class MetricReference(NamedTuple):
    """A name or an id of a metric, the input that has it, its place there, and the values named with it."""

    text: str
    source: str
    place: str = ""
    values: tuple[str, ...] = ()

    def means(self, names: Mapping[str, str]) -> list[str]:
        """Return the ids that it can mean, as in `RunResult.find_metrics`."""
        if self.text in names:
            return [self.text]
        text = folded(self.text)
        return sorted(metric_id for metric_id, name in names.items() if folded(name) == text)


def references_in(inputs: Inputs) -> list[MetricReference]:
    return [
        MetricReference(
            threshold.metric,
            threshold.source,
            f" in line {threshold.line}" if threshold.line else "",
            threshold.aggregate.values,
        )
        for threshold in inputs.thresholds
        if threshold.metric and not threshold.advisory
    ]


def check_names(session: Session) -> Procedure[None]:
    """Raise InputError if the run will certainly lack a metric that the criteria name, or have several of its name."""
    inputs = session.inputs
    references = references_in(inputs)
    if not references or inputs.persona_metrics:  # those are further metrics, whose names in the run are not known
        return
    check = _Check(session)
    try:
        problems = yield from check.problems(references)
    except CovalError as error:
        if isinstance(error, Rejected) and error.status in ALSO_ENDS_LAUNCH:
            return
        session.log(f"Could not check before the launch which metrics and values the run will have: {error.what}")
        return
    if problems:
        raise InputError(problems)


class _Check:
    """A method raises CovalError if a call fails; none is repeated."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client
        self._inputs = session.inputs
        self._texts: dict[str, tuple[str, ...]] = {}  # values that metrics can have, by id; none if unknown

    def problems(self, references: list[MetricReference]) -> Procedure[list[Problem]]:
        ids = yield from self._ids()
        if not ids:
            return []
        first = list({reference.text: reference for reference in reversed(references)}.values())[::-1]
        listed = yield from self._list_names(first, ids)
        problems = self._wrong_names(first, listed, ids)
        try:
            return problems + (yield from self._wrong_values(references, listed, ids))
        except CovalError:
            if not problems:
                raise
            return problems

    def _wrong_names(self, references: list[MetricReference], listed: Names, ids: tuple[str, ...]) -> list[Problem]:
        if not all(listed.get(metric_id) for metric_id in ids):  # one of the others may have that name
            return []
        own = {metric_id: listed[metric_id] for metric_id in ids}
        return [
            Problem(
                reference.source,
                f"names the metric {quoted(reference.text)}{reference.place}, {self._trouble(reference, own, listed)}",
            )
            for reference in self._wrong(references, listed, ids)
        ]

    def _wrong_values(
        self, references: list[MetricReference], listed: Names, ids: tuple[str, ...]
    ) -> Procedure[list[Problem]]:
        own = {metric_id: listed.get(metric_id, "") for metric_id in ids}
        candidates = [(reference, reference.means(own)) for reference in references if reference.values]
        pairs = [(reference, ids_meant[0]) for reference, ids_meant in candidates if len(ids_meant) == 1]
        yield from self._define({metric_id for _, metric_id in pairs} - self._texts.keys())
        return [
            Problem(reference.source, self._value_trouble(reference, metric_id))
            for reference, metric_id in pairs
            if self._impossible(reference, metric_id)
        ]

    def _define(self, ids: Collection[str]) -> Procedure[None]:
        client, until = self._client, self._session.deadline
        calls = (client.get(METRIC, metric_id, until=until, once=True) for metric_id in ids)
        definitions = all_or_first_error((yield from together(calls, self._session.clock, at_once=AT_ONCE)))
        self._texts |= {metric_id: definition.texts for metric_id, definition in zip(ids, definitions, strict=True)}

    def _impossible(self, reference: MetricReference, metric_id: str) -> tuple[str, ...]:
        return Vocabulary(seen=(), allowed=self._texts[metric_id]).impossible(reference.values)

    def _value_trouble(self, reference: MetricReference, metric_id: str) -> str:
        """Return what is wrong with the values of a reference, as the end of a sentence."""
        wrong, texts = self._impossible(reference, metric_id), self._texts[metric_id]
        similar = Vocabulary(seen=(), allowed=texts).meant_by(wrong[0])
        meant = f"; did you mean {similar}?" if similar else "."
        values = f"value{'s' if len(wrong) > 1 else ''} {in_words([quoted(value) for value in wrong], 'and')}"
        return (
            f"names the {values} of {quoted(reference.text)}{reference.place}, which the metric never has: its values "
            f"are {in_words(texts, 'and', VALUES_SHOWN)}{meant}"
        )

    def _ids(self) -> Procedure[tuple[str, ...]]:
        """Return the ids of all metrics that the run will have; none if that is not certain."""
        if self._inputs.metric_ids:
            return tuple(dict.fromkeys(self._inputs.metric_ids))
        if self._inputs.config_overrides:  # they may concern the agent's metrics
            return ()
        agent_id, until = ids_of(self._inputs)["agent_id"], self._session.deadline
        agent = yield from self._client.get(AGENT, agent_id, until=until, once=True)
        return agent.metric_ids

    def _list_names(self, references: list[MetricReference], ids: Collection[str]) -> Procedure[Names]:
        """List the names of metrics until they include all of the run's, and each reference means one of these."""
        listed: Names = {}

        def go_on(metrics: Sequence[MetricDefinition]) -> bool:
            metric = metrics[-1]
            listed[metric.id], self._texts[metric.id] = metric.name, metric.texts
            return not listed.keys() >= set(ids) or bool(self._wrong(references, listed, ids))

        if self._wrong(references, listed, ids):
            yield from self._client.list(METRIC, until=self._session.deadline, go_on=go_on, once=True)
        return listed

    def _wrong(self, references: list[MetricReference], listed: Names, ids: Collection[str]) -> list[MetricReference]:
        """Return the references that do not mean exactly one of the run's metrics, as far as names are known."""
        own = {metric_id: listed.get(metric_id, "") for metric_id in ids}
        return [reference for reference in references if len(reference.means(own)) != 1]

    def _trouble(self, reference: MetricReference, own: Names, listed: Names) -> str:
        """Return what is wrong with a reference, as the end of a sentence."""
        if several := reference.means(own):
            ids = in_words(several, "or", NAMES_SHOWN)
            return f"but the run will have {len(several)} metrics of that name; use the id of one: {ids}."
        lacking = "which the run will not have"
        if elsewhere := reference.means(listed):
            return f"{lacking}; {self._how_to_add(elsewhere)}."
        names = list(dict.fromkeys(own.values()))
        if similar := most_similar(reference.text, names):
            return f"{lacking}; did you mean {similar}?"
        if similar := most_similar(reference.text, listed.values()):
            ids_of_similar = sorted(metric_id for metric_id, name in listed.items() if name == similar)
            return f"{lacking}; did you mean {similar}? Then {self._how_to_add(ids_of_similar)}."
        return f"{lacking}; it will have {in_words(names, 'and', NAMES_SHOWN)}."

    def _how_to_add(self, ids: list[str]) -> str:
        which = f"its id {ids[0]}" if len(ids) == 1 else f"one of the ids {in_words(ids, 'or', NAMES_SHOWN)}"
        if self._inputs.metric_ids:
            return f"add {which} to metric_ids"
        return f"add it to the agent's metrics in Coval, or set metric_ids to all that the run needs, with {which}"


def check_baseline(
    session: Session, source: BaselineSource, ids: Mapping[str, str], context: Context
) -> Procedure[None]:
    """`ids`: of agent, persona and test set. Raises InputError for a named run that can be no baseline."""
    try:
        if source.kind == "run":
            yield from _check_named(session, source.name)
        else:
            yield from _check_listed(session, source, ids, context)
    except CovalError as error:
        session.log(f"Could not look up the baseline before the launch: {error.what}")


def _check_named(session: Session, run_id: str) -> Procedure[None]:
    try:
        run = yield from session.client.get_run(run_id, until=session.deadline, once=True)
    except NotFound as error:
        if not error.by_coval:
            raise
        raise InputError([Problem("baseline", f"names the run {run_id}, which Coval does not have.")]) from None
    if run.is_over and run.status != COMPLETED:
        text = f"names the run {run_id}, which did not complete: its status is {run.status}."
        raise InputError([Problem("baseline", text)])
    if is_marked(run, FAILED):
        session.warn(
            f"The baseline, run {run_id}, failed a comparison or lacks data. This run is compared with it anyway."
        )


def _check_listed(
    session: Session, source: BaselineSource, ids: Mapping[str, str], context: Context
) -> Procedure[None]:
    """Warn if no run has the tag, or is from the branch, as far as Coval's lists show. Raises CovalError."""
    tag = branch_tag(context, source.name) if source.kind == "branch" else source.name
    if not tag:
        return
    sought = Sought(ids, tag, COMPLETED, fits=lambda run: pull_request_of(run) is None, enough=bool)
    found = yield from search(session, sought)
    if not (found.runs or found.hidden):
        session.warn(_nothing_text(source, _names(found.seen, source)))


def _names(runs: Iterable[Run], source: BaselineSource) -> list[str]:
    """Leave out runs of pull requests."""
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


def prepare(session: LegRun, request: LaunchRequest) -> Procedure[LaunchRequest]:
    """Check the metrics and the baseline that the criteria name. Return the request with what later steps need.

    Raises InputError.
    """
    inputs, clock = session.inputs, session.clock
    session = session.until(preparing(clock.now(), session.deadline))
    work: list[Procedure[Mapping[str, Any] | None]] = []
    if any(threshold.metric for threshold in inputs.thresholds):
        work.append(check_names(session))
    earlier = inputs.baseline if inputs.baseline and inputs.baseline.kind != "base" else None
    if earlier and _looks_up(inputs):
        work.append(check_baseline(session, earlier, request.ids, session.step.context))
    if inputs.mode == "launch":
        work.append(_agent_type(session, request))
    if inputs.accept or earlier:  # the run is compared with earlier runs, or later runs with it
        work.append(_fingerprint(session, request))
    noted = all_or_first_error((yield from together(work, clock)))
    # Metadata added here are no part of what the tags are made of.
    customer = {
        name: value for more in (request.metadata.customer, *filter(None, noted)) for name, value in more.items()
    }
    return request._replace(metadata=request.metadata._replace(customer=customer))


def _looks_up(inputs: Inputs) -> bool:
    """In mode launch, a later step may compare the run with its baseline."""
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    return not inputs.accept and (inputs.mode == "launch" or compares)


def _fingerprint(session: Session, request: LaunchRequest) -> Procedure[Mapping[str, Any]]:
    """Return metadata."""
    reading_persona = session.client.get(PERSONA, request.persona_id, until=session.deadline)
    cases, persona = yield from together([_cases(session, request), reading_persona], session.clock)
    read = {"test cases": cases, "persona": persona}
    unread = {what: result for what, result in read.items() if isinstance(result, CovalError)}
    if unread:
        why = next(iter(unread.values())).what
        session.log(
            f"The {' and the '.join(unread)} could not be read, so later comparisons cannot see changes there: {why}"
        )
    fingerprint = later.comparable.fingerprint_of(
        request.parameters,
        cases if isinstance(cases, list) else (),
        persona if isinstance(persona, Persona) else None,
    )
    return fingerprint.as_metadata()


def _agent_type(session: Session, request: LaunchRequest) -> Procedure[Mapping[str, Any]]:
    """Return metadata for the step that waits: a job may have to answer the run. Costs no launch if it fails."""
    try:
        agent = yield from session.client.get(AGENT, request.agent_id, until=session.deadline, once=True)
    except CovalError:
        return {}  # the step that waits looks itself
    return {AGENT_TYPE: agent.model_type} if agent.model_type else {}


def _cases(session: Session, request: LaunchRequest) -> Procedure[list[TestCase]]:
    """Return the test cases that the run may have. Raises CovalError."""
    cases = yield from session.client.list(cases_of(request.test_set_id), until=session.deadline)
    return [case for case in cases if not request.test_case_ids or case.id in request.test_case_ids]
