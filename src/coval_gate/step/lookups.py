"""Looks up before the launch what the criteria name: metrics and their values.

A misspelt name would cost the whole run. But a look-up is short, and must not stop a good run: it reports only what is
certain. Where Coval does not show in time, or not for certain, which metrics the run will have, it is launched without
a check; likewise where a metric's definition does not list its values.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from coval_gate.base.errors import CovalError, InputError, Rejected
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.text import folded, in_words, most_similar, quoted
from coval_gate.base.times import preparing
from coval_gate.coval.client import Session
from coval_gate.coval.model import LaunchRequest
from coval_gate.coval.resources import AGENT, METRIC, MetricDefinition
from coval_gate.gate.values import Vocabulary
from coval_gate.inputs.inputs import InvalidInput, ids_of
from coval_gate.inputs.thresholds import Threshold
from coval_gate.step.own_build import note_agent_type, refuse_own_builds
from coval_gate.step.step import LegRun

DEFINITIONS_AT_ONCE: Final = 10  # definitions
MOST_METRICS_NAMED: Final = 8  # metrics that the run will have, if none is similar
MOST_VALUES_NAMED: Final = 12  # that a metric can have

ALSO_ENDS_LAUNCH: Final = (400, 401, 404, 422)  # the key or the agent is wrong, which the launch reports with advice

NamesById = dict[str, str]  # of metrics, by id


async def check_names(session: Session) -> None:
    """Raise InputError if the run will certainly lack a metric that the criteria name, or have several of its name."""
    inputs = session.inputs
    naming = [threshold for threshold in inputs.thresholds if threshold.metric and not threshold.advisory]
    if not naming or inputs.persona_metrics:  # those are further metrics, whose names in the run are not known
        return
    try:
        problems = await _Check(session).problems(naming)
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
        self._ids: tuple[str, ...] = ()  # of all metrics that the run will have
        self._listed: NamesById = {}
        self._texts: dict[str, tuple[str, ...]] = {}  # values that metrics can have, by id; none if unknown

    @property
    def _own(self) -> NamesById:
        return {metric_id: self._listed.get(metric_id, "") for metric_id in self._ids}

    async def problems(self, naming: Sequence[Threshold]) -> list[InvalidInput]:
        """Return none if it is not certain which metrics the run will have."""
        inputs, client, until = self._session.inputs, self._session.client, self._session.deadline
        self._ids = tuple(dict.fromkeys(inputs.metric_ids))
        if not (inputs.metric_ids or inputs.config_overrides):  # which may concern the agent's metrics
            self._ids = (await client.get(AGENT, ids_of(inputs)["agent_id"], until=until, once=True)).metric_ids
        if not self._ids:
            return []
        first = list({threshold.metric: threshold for threshold in reversed(naming)}.values())[::-1]
        if self._wrong(first):
            await self._list_names(first)
        # Without all names, one of the others may be the one that is meant.
        wrong = self._wrong(first) if all(self._own.values()) else []
        problems = [
            _problem_of(threshold, f"metric {quoted(threshold.metric)}", self._trouble(threshold))
            for threshold in wrong
        ]
        try:
            return problems + await self._wrong_values(naming)
        except CovalError:
            if not problems:
                raise
            return problems

    async def _wrong_values(self, naming: Sequence[Threshold]) -> list[InvalidInput]:
        meant = [(threshold, _meant_ids(threshold, self._own)) for threshold in naming if threshold.aggregate.values]
        pairs = [(threshold, ids[0]) for threshold, ids in meant if len(ids) == 1]
        client, until = self._session.client, self._session.deadline
        unread = {metric_id for _, metric_id in pairs} - self._texts.keys()
        calls = (client.get(METRIC, metric_id, until=until, once=True) for metric_id in unread)
        definitions = all_or_first_error(await together(calls, self._session.clock, at_once=DEFINITIONS_AT_ONCE))
        self._texts |= {metric_id: definition.texts for metric_id, definition in zip(unread, definitions, strict=True)}
        problems = []
        for threshold, metric_id in pairs:
            vocabulary = Vocabulary(seen=(), allowed=self._texts[metric_id])
            if wrong := vocabulary.impossible(threshold.aggregate.values):
                similar = vocabulary.meant_by(wrong[0])
                hint = f"; did you mean {similar}?" if similar else "."
                values = f"value{'s' if len(wrong) > 1 else ''} {in_words([quoted(value) for value in wrong], 'and')}"
                allowed = in_words(self._texts[metric_id], "and", MOST_VALUES_NAMED)
                never = f"which the metric never has: its values are {allowed}{hint}"
                problems.append(_problem_of(threshold, f"{values} of {quoted(threshold.metric)}", never))
        return problems

    async def _list_names(self, naming: Sequence[Threshold]) -> None:
        """List the names of metrics until they include all of the run's, and each threshold means one of these."""

        def go_on(metrics: Sequence[MetricDefinition]) -> bool:
            metric = metrics[-1]
            self._listed[metric.id], self._texts[metric.id] = metric.name, metric.texts
            return not self._listed.keys() >= set(self._ids) or bool(self._wrong(naming))

        await self._session.client.list(METRIC, until=self._session.deadline, go_on=go_on, once=True)

    def _wrong(self, naming: Sequence[Threshold]) -> list[Threshold]:
        """Return those that do not mean exactly one of the run's metrics, as far as names are known."""
        own = self._own
        return [threshold for threshold in naming if len(_meant_ids(threshold, own)) != 1]

    def _trouble(self, threshold: Threshold) -> str:
        """Return what is wrong with the metric that a threshold names, as the end of a sentence."""
        if several := _meant_ids(threshold, self._own):
            ids = in_words(several, "or", MOST_METRICS_NAMED)
            return f"but the run will have {len(several)} metrics of that name; use the id of one: {ids}."
        lacking = "which the run will not have"
        if elsewhere := _meant_ids(threshold, self._listed):
            return f"{lacking}; {self._how_to_add(elsewhere)}."
        names = list(dict.fromkeys(self._own.values()))
        if similar := most_similar(threshold.metric, names):
            return f"{lacking}; did you mean {similar}?"
        if similar := most_similar(threshold.metric, self._listed.values()):
            ids_of_similar = sorted(metric_id for metric_id, name in self._listed.items() if name == similar)
            return f"{lacking}; did you mean {similar}? Then {self._how_to_add(ids_of_similar)}."
        return f"{lacking}; it will have {in_words(names, 'and', MOST_METRICS_NAMED)}."

    def _how_to_add(self, ids: list[str]) -> str:
        which = f"its id {ids[0]}" if len(ids) == 1 else f"one of the ids {in_words(ids, 'or', MOST_METRICS_NAMED)}"
        if self._session.inputs.metric_ids:
            return f"add {which} to metric_ids"
        return f"add it to the agent's metrics in Coval, or set metric_ids to all that the run needs, with {which}"


def _meant_ids(threshold: Threshold, names: NamesById) -> list[str]:
    """Return the ids that the name or id of a metric can mean, as in `RunResult.find_metrics`."""
    if threshold.metric in names:
        return [threshold.metric]
    text = folded(threshold.metric)
    return sorted(metric_id for metric_id, name in names.items() if folded(name) == text)


def _problem_of(threshold: Threshold, what: str, trouble: str) -> InvalidInput:
    line = f" in line {threshold.line}" if threshold.line else ""
    return InvalidInput(threshold.source, f"names the {what}{line}, {trouble}")


async def prepare(session: LegRun, request: LaunchRequest) -> LaunchRequest:
    """Check the metrics and the baseline that the criteria name. Return the request with what later steps need.

    Raises InputError, and GateError for an agent that nothing could answer.
    """
    inputs, clock = session.inputs, session.clock
    session = session.until(preparing(clock.now(), session.deadline))
    work: list[Procedure[Mapping[str, Any] | None]] = []
    if any(threshold.metric for threshold in inputs.thresholds):
        work.append(check_names(session))
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    if not inputs.accept and (compares or inputs.mode == "launch"):  # then, a later step may compare it
        from coval_gate.features.comparisons.step import check_baseline

        work.append(check_baseline(session))
    work.append(note_agent_type(session, request) if inputs.mode == "launch" else refuse_own_builds(session, request))
    if inputs.accept or (inputs.baseline and inputs.baseline.kind != "base"):
        from coval_gate.features.comparisons.step import note_fingerprint

        work.append(note_fingerprint(session, request))
    noted = all_or_first_error(await together(work, clock))
    # Metadata added here are no part of what the tags are made of.
    customer = {**request.metadata.customer}
    for more in filter(None, noted):
        customer |= more
    return request._replace(metadata=request.metadata._replace(customer=customer))
