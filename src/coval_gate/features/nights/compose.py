"""Builds the history of a step's legs: judges each run as counted, and groups its conversations by test case. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import quote

from coval_gate.base.text import symbol
from coval_gate.coval.model import BASE
from coval_gate.features.known_failures.entries import KNOWN_KEY, SHARE
from coval_gate.features.nights import document as history
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import judgement_with_words
from coval_gate.gate.measure import BaselineRun
from coval_gate.gate.variants import Variant
from coval_gate.inputs.aggregates import in_quotes
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.thresholds import Bound, Threshold
from coval_gate.report.wording.checks import actual_text

NO_CASE: Final = "conversations without a test case"
NEWEST: Final = 5  # runs; a test case that failed in most of them may be excused
FLIPPING_SHARES: Final = (0.2, 0.9)  # shares of its conversations that meet, of a test case that flips
FLIPPING_RUNS: Final = 5  # that show it, at least


class LegPast(NamedTuple):
    """The `runs` of a leg, the oldest first, and those that were `read`, by id.

    `labels`: of test cases. `has_pages`: simulations have pages, too.
    """

    name: str
    title: str
    criteria: Criteria
    runs: Sequence[history.HistoryRun] = ()
    read: Mapping[str, BaselineRun] = MappingProxyType({})
    labels: Mapping[str, str] = MappingProxyType({})
    has_pages: bool = False
    trouble: str = ""


class _Night(NamedTuple):
    """A run's checks by threshold and variant. `cases`: by variant and test case, what each conversation misses.

    That is the metrics of thresholds, or "" for what is about no metric.
    """

    checks: Mapping[tuple[Threshold, str], Check]
    cases: Mapping[tuple[str, str], Mapping[str, set[str]]]


_Nights = Sequence[_Night | None]  # for each run; None if it was not read


def history_document(
    legs: Sequence[LegPast], title: str, made: str, until: str, dashboard_url: str
) -> history.HistoryDocument:
    """`until`: the last day of the known failures that it proposes."""
    facts, entries = list[history.HistoryLeg](), list[str]()
    for leg in legs:
        texts: dict[str, frozenset[str]] = defaultdict(frozenset)
        for metric in (metric for one in leg.read.values() for metric in one.result.metrics):
            texts[metric.id] |= metric.texts
        nights = [_night(leg, leg.read[run.id], texts) if run.id in leg.read else None for run in leg.runs]
        facts.append(_leg(leg, nights))
        entries += _known_failures(facts[-1], nights, until, several=len(legs) > 1)
    return history.HistoryDocument(
        schema_version=history.HISTORY_VERSION,
        title=title,
        made=made,
        legs=facts,
        known_failures="\n".join([f"{KNOWN_KEY}:", *entries, ""]) if entries else "",
        dashboard_url=dashboard_url,
    )


def _leg(leg: LegPast, nights: _Nights) -> history.HistoryLeg:
    shown = [night for night in nights if night]
    series = dict.fromkeys((one, BASE) for one in leg.criteria.thresholds)
    series |= dict.fromkeys(key for night in shown for key in night.checks)
    cases = [_case(leg, nights, key) for key in dict.fromkeys(key for night in shown for key in night.cases)]
    return history.HistoryLeg(
        name=leg.name,
        title=leg.title,
        runs=list(leg.runs),
        thresholds=[_threshold(nights, *key) for key in series],
        cases=sorted(cases, key=lambda case: (-case.failed, case.met / case.conversations, case.name)),
        trouble=leg.trouble,
    )


def _night(leg: LegPast, read: BaselineRun, texts: Mapping[str, frozenset[str]]) -> _Night:
    """Judge a run as counted; known failures are among its cases. Where a threshold compares, only the value counts.

    `texts`: of each metric in all runs, which are possible values.
    """
    originals = leg.criteria.thresholds
    absolute = tuple(one._replace(bound=Bound(0.0)) if one.bound.reference else one for one in originals)
    named = dict(zip(absolute, originals, strict=True))
    criteria = replace(leg.criteria, thresholds=absolute, known_checks=())
    metrics = tuple(metric._replace(elsewhere=texts[metric.id]) for metric in read.result.metrics)
    result = read.result._replace(metrics=metrics)
    judgement = judge(result, criteria)
    whole = judge(result, replace(criteria, known=())) if criteria.known else judgement
    judgement = judgement_with_words(judgement, {metric.id: metric.unit for metric in metrics}, leg.labels)
    checks, every = (
        {(named[check.threshold], check.variant): check for check in one.checks if check.threshold}
        for one in (judgement, whole)
    )
    cases: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(dict)
    for variant in whole.variants:
        missed = _missed(leg.criteria, variant, every)
        for simulation in variant.simulations if missed else ():
            cases[simulation.conversation][simulation.id] = missed[simulation.id]
    return _Night(checks, cases)


def _missed(criteria: Criteria, variant: Variant, checks: Mapping[tuple[Threshold, str], Check]) -> dict[str, set[str]]:
    """Return what each simulation misses by itself; nothing if a value that decides this is missing."""
    missed: dict[str, set[str]] = {one.id: set() if one.completed else {""} for one in variant.simulations}
    for criterion in map(criteria.threshold_criterion, criteria.thresholds):
        check = checks.get((criterion.threshold, variant.name))
        if criterion.advisory or not criterion.about_each:
            continue
        if check is None or check.problem:
            return {}
        for id_ in criterion.missing_it(variant, variant.find_sample(check.metric), check.measure):
            missed[id_].add(criterion.threshold.metric)
    for id_ in missed.keys() - variant.passing if criteria.use_metric_targets else ():
        missed[id_].add("")
    return missed


def _threshold(nights: _Nights, threshold: Threshold, variant: str) -> history.HistoryThreshold:
    checks = [night.checks.get((threshold, variant)) if night else None for night in nights]
    bound = threshold.bound
    return history.HistoryThreshold(
        text=threshold.text,
        advisory=threshold.advisory,
        variant=variant,
        unit=threshold.aggregate.kind.unit,
        sign=next((symbol(check.metric_unit) for check in checks if check and check.metric_unit), ""),
        bound=None if bound.reference else bound.number,
        required="".join(threshold.text.rpartition(threshold.operator)[1:]),
        values=[
            history.HistoryValue(
                value=check.measure.value if check.measure else None,
                text=actual_text(check),
                met=None if bound.reference or check.problem else check.passed,
            )
            if check
            else None
            for check in checks
        ],
    )


def _case(leg: LegPast, nights: _Nights, key: tuple[str, str]) -> history.HistoryCase:
    cells = [_cell(leg, run.url, night, key) for run, night in zip(leg.runs, nights, strict=True)]
    shown = [cell for cell in cells if cell]
    met, total = sum(cell.met for cell in shown), sum(cell.conversations for cell in shown)
    variant, id_ = key
    return history.HistoryCase(
        id=id_,
        title=leg.labels.get(id_) or id_ or NO_CASE,
        variant=variant,
        cells=cells,
        runs=len(shown),
        failed=sum(cell.failed for cell in shown),
        conversations=total,
        met=met,
        is_flipping=len(shown) >= FLIPPING_RUNS and FLIPPING_SHARES[0] <= met / total <= FLIPPING_SHARES[1],
        known=next((entry.reason for entry in leg.criteria.known if entry.test_case == id_), ""),
    )


def _cell(leg: LegPast, run_url: str, night: _Night | None, key: tuple[str, str]) -> history.HistoryCell | None:
    if not (conversations := night.cases.get(key) if night else None):
        return None
    opened = max(conversations, key=lambda id_: bool(conversations[id_]))  # the first that misses something
    url = f"{run_url}/results/{quote(opened, safe='')}" if leg.has_pages and run_url else ""
    met = sum(not missed for missed in conversations.values())
    return history.HistoryCell(conversations=len(conversations), met=met, url=url)


def _known_failures(leg: history.HistoryLeg, nights: _Nights, until: str, *, several: bool) -> Iterator[str]:
    """Yield entries for as many test cases as may be excused; with the metric, if each misses only one."""
    recent = [(place, night) for place, night in enumerate(nights) if night][-NEWEST:]

    def may_be_excused(case: history.HistoryCase) -> bool:
        failed = [cell for cell in (case.cells[place] for place, _ in recent) if cell and cell.failed]
        return 2 * len(failed) > NEWEST and not case.known and bool(IDENTIFIER.fullmatch(case.id))

    cases = {case.id: case for case in leg.cases if may_be_excused(case)}
    known = {case.id for case in leg.cases if case.known}
    most = max(0, max(1, len({id_ for _, id_ in recent[-1][1].cases}) // SHARE) - len(known)) if recent else 0
    for id_, case in [*cases.items()][:most]:
        own = [conversations for _, night in recent for key, conversations in night.cases.items() if key[1] == id_]
        missed = set[str]().union(*chain.from_iterable(conversations.values() for conversations in own))
        yield f"  - test_case: {id_}  # {case.title}: failed in {case.failed_text}"
        yield from (f"    metric: {in_quotes(metric)}" for metric in missed if metric and len(missed) == 1)
        yield from [f"    leg: {in_quotes(leg.name)}"] * several
        yield "    reason:"
        yield f"    until: {until}"
    if most and (more := len(cases) - most) > 0:
        yield f"  # At most a tenth of the test cases may be excused: {more:,} more failed as often."
