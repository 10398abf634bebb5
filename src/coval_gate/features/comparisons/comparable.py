"""Finds the differences between a run and the earlier runs that it is compared with.

Coval does not show with which contents of its test cases, which version of its persona and which options a run was
launched. So the launch writes digests of them into the metadata, the fingerprint, from which a later run learns what
has changed since. What Coval does not show in a short time is noted as unchecked: the comparison goes on without it.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import MOST_AT_ONCE, together
from coval_gate.ci.host import Context
from coval_gate.coval.client import Client, Session
from coval_gate.coval.model import LaunchRequest, Metric, Run, RunResult, moment_of
from coval_gate.coval.resources import Persona, TestCase, cases_of
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.measure import BaselineRun, Unchecked

FINGERPRINT: Final = "coval_gate_fingerprint"  # in the metadata; further parts have a number behind it
FINGERPRINT_VERSION: Final = "1"
PART_LIMIT: Final = 200  # characters of a text in the metadata
MOST_COMPARED_CASES: Final = 250  # that are compared one by one
DIGEST: Final = 3  # bytes of the digest of an id, and of a content
PAIR: Final = 2 * DIGEST
OPTIONS: Final = ("iteration_count", "sub_sample_size", "sub_sample_seed", "config_overrides")  # names of inputs
COMPARED: Final = OPTIONS[1:]  # more iterations make the same conversations only more certain
CHECKING_TIME: Final = 15.0  # s for all of it


class Fingerprint(NamedTuple):
    """An empty digest is not known. `cases`: digests of id and content; none of more than MOST_COMPARED_CASES.

    `all_cases`: a digest over all of them in that case. `options`: by the names of inputs.
    """

    cases: frozenset[bytes] = frozenset()
    all_cases: str = ""
    persona: str = ""
    options: Mapping[str, str] = MappingProxyType({})

    def as_metadata(self) -> dict[str, str]:
        """Return texts of at most PART_LIMIT characters."""
        pairs = base64.urlsafe_b64encode(b"".join(sorted(self.cases))).decode()
        content = ".".join([self.persona, *(self.options.get(name, "") for name in OPTIONS), self.all_cases, pairs])
        whole = ".".join([FINGERPRINT_VERSION, _short_digest(content), content])
        parts = [whole[begin : begin + PART_LIMIT] for begin in range(0, len(whole), PART_LIMIT)]
        return {_part_name(number): part for number, part in enumerate(parts)}


def fingerprint_of(
    parameters: Mapping[str, Any], cases: Iterable[TestCase] = (), persona: Persona | None = None
) -> Fingerprint:
    pairs = frozenset(_hashed(_json(case.id))[:DIGEST] + _hashed(case.content)[:DIGEST] for case in cases)
    is_small = len(pairs) <= MOST_COMPARED_CASES
    values = {**parameters, **parameters.get("options", {})}
    return Fingerprint(
        cases=pairs if is_small else frozenset(),
        all_cases="" if is_small else _short_digest([pair.hex() for pair in sorted(pairs)]),
        persona=_hashed(persona.content)[:4].hex() if persona else "",
        options={name: _short_digest(values.get(name)) for name in OPTIONS},
    )


def read_fingerprint(metadata: Mapping[str, Any]) -> Fingerprint:
    """Return an empty one if it is absent, damaged, or of another version."""
    parts: list[str] = []
    while isinstance(part := metadata.get(_part_name(len(parts))), str):
        parts.append(part)
    version, _, rest = "".join(parts).partition(".")
    check, _, content = rest.partition(".")
    fields = content.split(".")
    if version != FINGERPRINT_VERSION or check != _short_digest(content) or len(fields) != len(OPTIONS) + 3:
        return Fingerprint()
    persona, *options, all_cases, pairs = fields
    try:
        raw = base64.b64decode(pairs, altchars=b"-_", validate=True)
    except ValueError:
        return Fingerprint()
    cases = frozenset(raw[begin : begin + PAIR] for begin in range(0, len(raw), PAIR))
    return Fingerprint(
        cases=cases, all_cases=all_cases, persona=persona, options=dict(zip(OPTIONS, options, strict=True))
    )


def changed_cases(now: Fingerprint, then: Fingerprint, cases: Iterable[str]) -> frozenset[str] | None:
    """Return the ids of test cases that differ, or that one fingerprint lacks; None if that is not known."""
    if now.cases and then.cases:
        same = {pair[:DIGEST] for pair in now.cases & then.cases}
        return frozenset(case for case in cases if _hashed(_json(case))[:DIGEST] not in same)
    return frozenset() if now.all_cases and now.all_cases == then.all_cases else None


def changed_test_set(now: Fingerprint, then: Fingerprint) -> bool:
    """Return whether test cases are others, or have other contents, as far as both fingerprints show it."""
    pairs = ((now.cases, then.cases), (now.all_cases, then.all_cases))
    return any(ours and theirs and ours != theirs for ours, theirs in pairs)


def changed_persona(now: Fingerprint, then: Fingerprint) -> bool | None:
    """Return None if the fingerprints do not show it."""
    return now.persona != then.persona if now.persona and then.persona else None


def changed_options(now: Fingerprint, then: Fingerprint) -> tuple[str, ...]:
    """Return the options that differ and matter to a comparison, as far as both fingerprints show them."""
    pairs = {name: (now.options.get(name), then.options.get(name)) for name in COMPARED}
    return tuple(name for name, (ours, theirs) in pairs.items() if ours and theirs and ours != theirs)


def _part_name(number: int) -> str:
    return f"{FINGERPRINT}_{number + 1}" if number else FINGERPRINT


def _short_digest(value: object) -> str:
    return _hashed(_json(value))[:4].hex()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Subject(NamedTuple):
    """The run that is compared. `request`: of its launch; None if the run was launched elsewhere.

    `drawn`: the test cases of all slices, of which the run is the first.
    """

    run: Run
    result: RunResult
    request: LaunchRequest | None
    context: Context
    criteria: Criteria
    drawn: frozenset[str] = frozenset()

    @property
    def ids(self) -> dict[str, str]:
        """By the names of inputs; empty ids are not known."""
        return {name: own or (self.request.ids[name] if self.request else "") for name, own in self.run.ids.items()}

    @property
    def fingerprint(self) -> Fingerprint:
        sent = self.request.metadata.customer if self.request else {}
        return read_fingerprint(sent if FINGERPRINT in sent else self.run.metadata)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that thresholds compare with the baseline, by name or by their targets."""
        compared = [threshold for threshold in self.criteria.thresholds if threshold.bound.reference == "baseline"]
        by_target = any(threshold.aggregate.kind.uses_targets for threshold in compared)
        named = [threshold.metric for threshold in compared if threshold.metric]
        return tuple(_metrics_of(self.result, named, by_target=by_target))


async def distinguish(session: Session, runs: Sequence[BaselineRun], subject: Subject) -> tuple[BaselineRun, ...]:
    """Return the runs with their differences from the subject, as far as Coval shows them."""

    async def change_times() -> dict[str, str]:  # of test cases, by their ids
        cases = await session.client.list(cases_of(subject.ids["test_set_id"]), until=until)
        return {case.id: case.update_time for case in cases}

    until = min(session.deadline, session.clock.now() + CHECKING_TIME)
    results = [subject.result, *(run.result for run in runs)]
    calls = [_versions(session.client, result, subject.metrics, until) for result in results]
    if any(_cases_in(run, subject) is None for run in runs):
        calls.append(change_times())
    found = await together(calls, session.clock, at_once=MOST_AT_ONCE)
    read = [{} if isinstance(one, CovalError) else one for one in found]
    ours, *theirs = read[: len(results)]
    (times,) = read[len(results) :] or ({},)
    return tuple(
        _distinguished(run, subject, times, ours, versions) for run, versions in zip(runs, theirs, strict=True)
    )


async def changes_in_turn(session: Session, runs: Sequence[BaselineRun], references: Iterable[str]) -> list[list[str]]:
    """Return in words what changed at each run, the oldest first, since the last one that shows it.

    `references`: the metrics whose versions matter, beside those with a target.
    """
    until = min(session.deadline, session.clock.now() + CHECKING_TIME)
    names = dict.fromkeys(references)
    metrics = [_metrics_of(run.result, names, by_target=True) for run in runs]
    calls = (_versions(session.client, run.result, own, until) for run, own in zip(runs, metrics, strict=True))
    found = await together(calls, session.clock, at_once=MOST_AT_ONCE)
    versions = [{} if isinstance(one, CovalError) else one for one in found]
    changes, then, judges = list[list[str]](), Fingerprint(), dict[str, tuple[str, str]]()
    for run, own, shown in zip(runs, metrics, versions, strict=True):
        now = read_fingerprint(run.run.metadata)
        parts = ["test set"] * changed_test_set(now, then) + ["persona"] * bool(changed_persona(now, then))
        cases = now if now.cases or now.all_cases else then
        then = Fingerprint(cases.cases, cases.all_cases, now.persona or then.persona)
        for metric in own:
            id_, version = metric.id * metric.is_identified, shown.get(metric.id, "")
            last_id, last_version = judges.get(metric.name, ("", ""))
            is_other = bool(id_ and last_id and id_ != last_id)
            if is_other or (version and last_version and version != last_version):
                parts.append(f"version of {metric.name}")
            judges[metric.name] = (id_ or last_id, version or last_version * (not is_other))
        changes.append(parts)
    return changes


def _metrics_of(result: RunResult, references: Iterable[str], *, by_target: bool) -> list[Metric]:
    """Return the metrics with these names or ids; `by_target`: and those with a target."""
    metrics = [metric for name in references for metric in result.find_metrics(name)]
    metrics += [metric for metric in result.metrics if by_target and metric.target]
    return [*{metric.id: metric for metric in metrics}.values()]


def _distinguished(
    run: BaselineRun, subject: Subject, times: Mapping[str, str], ours: Mapping[str, str], theirs: Mapping[str, str]
) -> BaselineRun:
    """`times`: when test cases changed; `ours`, `theirs`: versions of metrics."""
    now, then = subject.fingerprint, read_fingerprint(run.run.metadata)
    unsure: dict[Unchecked, bool] = {}
    cases = _cases_in(run, subject)
    if cases is None:
        cases, unsure["test_cases"] = _changed_since(run.run, _shared_cases(run, subject), times)
    ours_id, theirs_id = subject.ids["persona_id"], run.run.persona_id
    persona = bool(ours_id and theirs_id and ours_id != theirs_id) or changed_persona(now, then)
    unsure["persona"] = persona is None
    metrics, unsure["metrics"] = _other_judges(subject.metrics, run.result, ours, theirs)
    return run._replace(
        changed_cases=cases,
        changed_metrics=metrics,
        changed_persona=bool(persona),
        changed_options=changed_options(now, then),
        unchecked=tuple(what for what, is_unsure in unsure.items() if is_unsure),
    )


def _cases_in(run: BaselineRun, subject: Subject) -> frozenset[str] | None:
    """Return the test cases in both runs whose contents differ by their fingerprints; None if these do not show it."""
    shared = _shared_cases(run, subject)
    return changed_cases(subject.fingerprint, read_fingerprint(run.run.metadata), shared) if shared else shared


def _shared_cases(run: BaselineRun, subject: Subject) -> frozenset[str]:
    """Return the ids of the test cases in both runs."""
    ours, theirs = ({simulation.test_case_id for simulation in of.simulations} for of in (subject.result, run.result))
    return frozenset(filter(None, (ours | subject.drawn) & theirs))


def _changed_since(run: Run, cases: Iterable[str], times: Mapping[str, str]) -> tuple[frozenset[str], bool]:
    """Return the test cases that were changed after the run was launched, and whether any of them may have been."""
    launched = run.created
    changed, unsure = set(), False
    for case in cases:
        moment = moment_of(times.get(case, ""))
        if launched is None or moment is None:
            unsure = True
        elif moment > launched:
            changed.add(case)
    return frozenset(changed), unsure


async def _versions(client: Client, result: RunResult, metrics: Sequence[Metric], until: float) -> dict[str, str]:
    """Return the versions of the metrics by which a simulation of a run was judged, by metric id. Raises CovalError."""
    compared = [
        same for metric in metrics for same in (result.find_metrics(metric.id) or result.find_metrics(metric.name))
    ]
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    if not (compared and completed):
        return {}
    judged = max(completed, key=lambda simulation_id: sum(simulation_id in metric.values for metric in compared))
    outputs = await client.list_metric_outputs(judged, until=until)
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
