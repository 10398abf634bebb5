"""Leaves known failures out of a run, and of the runs beside it, before anything is counted. Pure and total.

An entry without a metric leaves out whole simulations, as if the run did not have them. One with a metric leaves out
their values of it, as if it was not computed for them: neither a miss nor missing.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from coval_gate.base.text import quoted
from coval_gate.coval.model import RunResult, Summary
from coval_gate.features.comparisons.judge import comparable_result
from coval_gate.features.known_failures.entries import KNOWN_KEY, KnownFailure, excess_text
from coval_gate.gate.checks import Check, Problem
from coval_gate.gate.measure import Baseline
from coval_gate.gate.population import Judged, Rule
from coval_gate.gate.variants import pooled, variants_of
from coval_gate.gate.verdict import Verdict

ENTRIES_APPLY: Final = Rule(kind=KNOWN_KEY, sentence=f"every entry of {KNOWN_KEY} applies to the run")
UNUSABLE_ENTRY: Final = Problem(kind="unusable_entry", short="{short}", sentence=f"{KNOWN_KEY} {{what}}")
Missed = Sequence[tuple[str, frozenset[str]]]  # ids by the metric of a check


class KnownCase(NamedTuple):
    """What an entry leaves out: `simulations` (ids); none in slices, which do not call known test cases.

    `passes`: all conversations of the test case met what is asked of each, in this run and in the baseline.
    """

    failure: KnownFailure
    simulations: tuple[str, ...] = ()
    passes: bool = False


def without_known(
    result: RunResult, baseline: Baseline | None, base: Baseline | None, known: Sequence[KnownFailure]
) -> tuple[RunResult, Baseline | None, Baseline | None]:
    """Return a run, and what it is compared with, without known failures. A second time changes nothing."""

    def beside(other: Baseline | None) -> Baseline | None:
        runs = [run._replace(result=leave_out(run.result, known)) for run in other.runs] if other else []
        return other and other._replace(runs=tuple(runs))

    return leave_out(result, known), beside(baseline), beside(base)


def leave_out(result: RunResult, known: Sequence[KnownFailure]) -> RunResult:
    whole = {entry.test_case for entry in known if not entry.metric}
    cases = {metric.id: set(whole) for metric in result.metrics}
    for entry in known:
        for metric in result.find_metrics(entry.metric) if entry.metric else ():
            cases[metric.id].add(entry.test_case)
    metrics = []
    for metric in result.metrics:
        ids = {one.id for one in result.simulations if one.test_case_id in cases[metric.id]}
        if ids:
            metric = metric._replace(
                values={id_: value for id_, value in metric.values.items() if id_ not in ids},
                elsewhere=metric.texts,  # they stay possible values
                left_out={**{id_: metric.values.get(id_) for id_ in ids}, **metric.left_out},
                summary=metric.summary and Summary(),  # which nothing can be left out of
            )
        metrics.append(metric)
    kept = tuple(one for one in result.simulations if one.test_case_id not in whole)
    out = tuple(one for one in result.simulations if one.test_case_id in whole)
    expected = max(0, result.expected - len(out))
    left_out = (*result.left_out, *out)
    return result._replace(expected=expected, simulations=kept, metrics=tuple(metrics), left_out=left_out)


def unusable_entries(run: Judged) -> Iterator[Check]:
    """Yield a check for each entry that is wrong, as far as only the run shows it.

    Without the name of a leg, another leg may have what this one lacks.
    """

    def check(short: str, what: str) -> Check:
        problem = UNUSABLE_ENTRY.of(what=what.rstrip("."), short=short)
        return Check(criterion=ENTRIES_APPLY, verdict=Verdict.ERROR, problem=problem)

    result, criteria = run.result, run.criteria
    known, checked, alone = criteria.known, criteria.known_checks, criteria.legs == 1
    first: dict[tuple[str, str], KnownFailure] = {}  # by test case and metric
    for entry in known if "twice" in checked else ():
        own = [metric.id for metric in (result.find_metrics(entry.metric) if entry.metric else result.metrics)]
        places = [(entry.test_case, id_) for id_ in (own if entry.metric else ["", *own])]
        if lines := {other.line for place in places if (other := first.setdefault(place, entry)) is not entry}:
            what = f"excuses {entry.test_case} in line {entry.line}, and in line {min(lines)}, too; keep one of the two"
            yield check("the same twice", what)
    cases = {one.test_case_id for one in (*result.simulations, *result.left_out)}
    if what := excess_text([entry.test_case for entry in known], cases):
        yield check("more than a tenth", what)
    read = {metric.id for metric in result.metrics if criteria.needs_targets and metric.target is not None}
    read.update(metric.id for one in criteria.thresholds for metric in result.find_metrics(one.metric))
    for entry in (one for one in known if one.leg or alone):
        if "case" in checked and entry.test_case not in cases:
            yield check("no such test case", f"names {entry.test_case}, which the test set does not have")
        metrics = [metric.id for metric in result.find_metrics(entry.metric)]
        if "metric" in checked and entry.metric and read.isdisjoint(metrics):
            what = f"names the metric {quoted(entry.metric)}, which no threshold and no target reads"
            yield check("an unread metric", what)


def known_cases(run: Judged, checks: Sequence[Check]) -> tuple[KnownCase, ...]:
    """Return the entries that have an effect on a run. `checks`: of it."""
    now, earlier = _restored(run.result), run.baseline.runs if run.baseline else ()
    alike = [one._replace(result=_restored(one.result)) for one in earlier if not one.changed_persona]
    then = [pooled([comparable_result(now, one) for one in alike])] if alike else []
    sides = [(result, _missed(result, checks)) for result in (now, *then)]
    cases = []
    for entry in run.criteria.known:
        metrics = {metric.id for metric in now.find_metrics(entry.metric)} if entry.metric else None
        ids = tuple(one.id for one in now.simulations if one.test_case_id == entry.test_case)
        if run.criteria.look or (ids and metrics != set()):
            passes = len(sides) > 1 and all(_passes(entry, metrics, *side) for side in sides)
            cases.append(KnownCase(entry, ids, passes))
    return tuple(cases)


def _restored(result: RunResult) -> RunResult:
    """Return a run with its known failures."""
    metrics = tuple(
        metric._replace(
            values={**metric.values, **{id_: value for id_, value in metric.left_out.items() if value is not None}},
            left_out={},
        )
        for metric in result.metrics
    )
    return result._replace(simulations=(*result.simulations, *result.left_out), left_out=(), metrics=metrics)


def _missed(result: RunResult, checks: Sequence[Check]) -> Missed:
    """Return the ids of the simulations that miss each check about single ones, with the id of its metric."""
    named = {variant.name: variant for variant in variants_of(result)}
    return [
        (check.metric, frozenset(check.criterion.missing_it(variant, variant.find_sample(check.metric), check.measure)))
        for check in checks
        if check.measure and check.criterion.about_each and (variant := named.get(check.variant))
    ]


def _passes(entry: KnownFailure, metrics: Collection[str] | None, result: RunResult, missed: Missed) -> bool:
    """Return whether all conversations completed, and met what is asked of each, of which there is something."""
    own = [one for one in result.simulations if one.test_case_id == entry.test_case]
    about = [ids for metric, ids in missed if metrics is None or metric in metrics]
    return bool(own and about) and all(one.completed and not any(one.id in ids for ids in about) for one in own)
