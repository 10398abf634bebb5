"""Finds out how earlier runs differ from the run that is compared with them.

What Coval does not show in a short time is noted as unchecked: the comparison goes on without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.errors import CovalError
from coval_gate.runs.find import created_at, moment_of
from coval_gate.runs.fingerprint import (
    changed_cases,
    changed_options,
    changed_persona,
    fingerprint_of,
    read_fingerprint,
)
from coval_gate.runs.schedule import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coval_gate.ci.context import Context
    from coval_gate.config.thresholds import Threshold
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.model.baseline import BaselineRun, Unchecked
    from coval_gate.model.results import Metric, RunResult
    from coval_gate.model.run import Run
    from coval_gate.runs.fingerprint import Fingerprint
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

CHECKING_TIME: Final = 15.0  # s for all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The run that is compared: what it showed last, its result, and the context and the `request` of its launch.

    `request` is None for a run that was launched elsewhere. `thresholds` are the step's.
    """

    run: Run
    result: RunResult
    request: LaunchRequest | None
    context: Context
    thresholds: tuple[Threshold, ...]

    @property
    def ids(self) -> dict[str, str]:
        """The agent, persona and test set; empty ones are not known."""
        return {name: getattr(self.run, name) or getattr(self.request, name, "") for name in LAUNCH_IDS}

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint of the launch; None if it is not known."""
        sent = self.request.metadata.customer if self.request else {}
        return read_fingerprint(sent) or read_fingerprint(self.run.metadata)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that thresholds compare with the baseline, by name or by their targets."""
        compared = [threshold for threshold in self.thresholds if threshold.bound.reference == "baseline"]
        by_target = any(threshold.aggregate.name == "pass_rate" for threshold in compared)
        named = [threshold.metric for threshold in compared if threshold.metric]
        metrics = [metric for name in named for metric in self.result.find_metrics(name)]
        metrics += [metric for metric in self.result.metrics if by_target and metric.target]
        return tuple({metric.id: metric for metric in metrics}.values())


class PersonaNow(NamedTuple):
    """The digest of the current persona, and the time of its last change, in seconds since the epoch."""

    digest: str
    updated: float


def distinguish(session: Session, runs: Sequence[BaselineRun], subject: Subject) -> Procedure[tuple[BaselineRun, ...]]:
    """Return the runs with their differences from the subject, as far as Coval shows them."""
    session = session._replace(deadline=min(session.deadline, session.clock.now() + CHECKING_TIME))
    results = [subject.result, *(run.result for run in runs)]
    calls = [_versions(session, result, subject.metrics) for result in results]
    if any(_cases_in(run, subject) is None for run in runs):
        calls.append(_change_times(session, subject))
    read = [_or_nothing(result) for result in (yield from together(calls, session.clock))]
    ours, *theirs = read[: len(results)]
    (times,) = read[len(results) :] or ({},)
    persona = yield from _persona(session, runs, subject)
    return tuple(
        _distinguished(run, subject, times, ours, versions, persona) for run, versions in zip(runs, theirs, strict=True)
    )


def _distinguished(
    run: BaselineRun,
    subject: Subject,
    times: Mapping[str, str],
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    persona_now: PersonaNow | None,
) -> BaselineRun:
    """Return a run with its differences. `times`: when test cases changed; `ours`, `theirs`: versions of metrics."""
    now, then = subject.fingerprint, read_fingerprint(run.run.metadata)
    unsure: dict[Unchecked, bool] = {}
    cases = _cases_in(run, subject)
    if cases is None:
        cases, unsure["test_cases"] = _changed_since(run.run, _shared(run, subject), times)
    changed = changed_persona(now, then) and not (persona_now and _is_same(run.run, then, persona_now))
    persona = _other_persona(run.run, subject) or changed
    unsure["persona"] = persona is None
    metrics, unsure["metrics"] = _other_judges(subject.metrics, run.result, ours, theirs)
    return replace(
        run,
        changed_cases=cases,
        changed_metrics=metrics,
        changed_persona=bool(persona),
        changed_options=changed_options(now, then),
        unchecked=tuple(what for what, is_unsure in unsure.items() if is_unsure),
    )


def _cases_in(run: BaselineRun, subject: Subject) -> frozenset[str] | None:
    """Return the test cases in both runs whose contents differ by their fingerprints; None if these do not show it."""
    shared = _shared(run, subject)
    return changed_cases(subject.fingerprint, read_fingerprint(run.run.metadata), shared) if shared else shared


def _shared(run: BaselineRun, subject: Subject) -> frozenset[str]:
    """Return the ids of the test cases that are in both runs."""
    ours, theirs = ({simulation.test_case_id for simulation in of.simulations} for of in (subject.result, run.result))
    return frozenset(filter(None, ours & theirs))


def _or_nothing(result: dict[str, str] | Exception) -> dict[str, str]:
    """Return the result of a call; nothing if the call failed."""
    if isinstance(result, Exception) and not isinstance(result, CovalError):
        raise result
    return {} if isinstance(result, CovalError) else result


def _is_same(run: Run, then: Fingerprint | None, persona: PersonaNow) -> bool:
    """Return whether a run had the current persona. What its launch read of the persona may have been damaged."""
    launched = created_at(run)
    unchanged = launched is not None and persona.updated < launched
    return unchanged or (then is not None and then.persona == persona.digest)


def _persona(session: Session, runs: Sequence[BaselineRun], subject: Subject) -> Procedure[PersonaNow | None]:
    """Return the persona if the fingerprints differ in it, and it has not changed since the launch.

    What the launch read may have been damaged. None if it does not matter, or if Coval does not show it.
    """
    now, launched = subject.fingerprint, created_at(subject.run)
    if launched is None or not any(changed_persona(now, read_fingerprint(run.run.metadata)) for run in runs):
        return None
    try:
        persona = yield from session.client.get_persona(subject.ids["persona_id"], until=session.deadline)
    except CovalError:
        return None
    updated = moment_of(persona.update_time)
    if updated is None or updated >= launched:
        return None
    return PersonaNow(fingerprint_of({}, persona=persona).persona, updated)


def _change_times(session: Session, subject: Subject) -> Procedure[dict[str, str]]:
    """Return when each test case of the set was changed last, by its id. Raises CovalError."""
    cases = yield from session.client.list_test_cases(subject.ids["test_set_id"], until=session.deadline)
    return {case.id: case.update_time for case in cases}


def _changed_since(run: Run, cases: Iterable[str], times: Mapping[str, str]) -> tuple[frozenset[str], bool]:
    """Return the test cases that were changed after the run was launched, and whether any of them may have been."""
    launched = created_at(run)
    changed, unsure = set(), False
    for case in cases:
        moment = moment_of(times.get(case, ""))
        if launched is None or moment is None:
            unsure = True
        elif moment > launched:
            changed.add(case)
    return frozenset(changed), unsure


def _other_persona(run: Run, subject: Subject) -> bool:
    ours = subject.ids["persona_id"]
    return bool(ours and run.persona_id and ours != run.persona_id)


def _versions(session: Session, result: RunResult, metrics: Sequence[Metric]) -> Procedure[dict[str, str]]:
    """Return the versions of the metrics by which a simulation of a run was judged, by metric id. Raises CovalError."""
    compared = [
        same for metric in metrics for same in (result.find_metrics(metric.id) or result.find_metrics(metric.name))
    ]
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    if not (compared and completed):
        return {}
    judged = max(completed, key=lambda simulation_id: sum(simulation_id in metric.values for metric in compared))
    outputs = yield from session.client.list_metric_outputs(judged, until=session.deadline)
    return {output.metric_id: output.version for output in outputs if output.version}


def _other_judges(
    metrics: Sequence[Metric], result: RunResult, ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[frozenset[str], bool]:
    """Return the metrics (ids) that another version evaluated in `result`, and whether any of them may be one."""
    changed, unsure = set(), False
    for metric in metrics:
        same = result.find_metrics(metric.id) or result.find_metrics(metric.name)
        if not same:
            continue  # there is nothing to compare with
        if same[0].is_identified and metric.is_identified and same[0].id != metric.id:
            changed.add(metric.id)  # another metric of that name
        elif not (ours.get(metric.id) and theirs.get(metric.id)):
            unsure = True
        elif ours[metric.id] != theirs[metric.id]:
            changed.add(metric.id)
    return frozenset(changed), unsure
