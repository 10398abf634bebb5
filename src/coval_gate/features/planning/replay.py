"""Replays earlier nights in mode plan: how many of them the thresholds would have failed.

A night is a run that a CI job of a branch launched. It is judged as the gate would have: beside the runs with the tag,
or beside the runs of the branch before it that the replay did not fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev
from typing import Final, NamedTuple

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import all_or_first_error, beside, together
from coval_gate.base.text import difference, one_line, plural, points
from coval_gate.base.times import REPLAYING
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.features.advice.ids import Looked
from coval_gate.features.comparisons.comparable import Subject, distinguish
from coval_gate.features.comparisons.find import LOADS_AT_ONCE, baseline_candidates, load_listed
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.measure import Baseline, BaselineRun
from coval_gate.gate.verdict import Verdict
from coval_gate.history.search import Sought, has_tag, search
from coval_gate.history.tags import branch_tag, branch_tag_of
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.inputs.thresholds import Threshold
from coval_gate.step.step import LegRun, StepRun

MOST_REPLAYED: Final = 5  # legs
MOST_NIGHTS: Final = 20  # of a leg
FEWEST_NIGHTS: Final = 3  # that show something
MARGINS: Final = {"share": (0.02, 0.05, 0.1, 0.15), "metric": (0.05, 0.1, 0.2, 0.5)}  # of metrics, relative ones


class Nights(NamedTuple):
    """What is `judged`, oldest first, and the runs `before`, newest first, with which the first night is compared."""

    criteria: Criteria  # whose thresholds compare with a baseline
    source: BaselineSource
    judged: Sequence[BaselineRun]
    before: Sequence[BaselineRun]


def replay_lines(nights: Nights, units: Mapping[str, str]) -> list[str]:
    """Return a line for each threshold. `units`: of metrics, by id."""
    lines = []
    for threshold in nights.criteria.thresholds:
        red, compared = compare_nights(nights, threshold)
        text = f"{'? ' if threshold.advisory else ''}{threshold.text}"
        if len(compared) < FEWEST_NIGHTS:
            lines.append(f"{text}: only {plural(len(compared), 'comparable night')} so far.")
            continue
        margin = _margin_text(nights, threshold, compared) if red else ""
        spread = stdev(check.measure.value for check in compared if check.measure)
        unit = units.get(compared[0].metric, "") if threshold.aggregate.is_numeric else ""
        varying = points(spread) if threshold.aggregate.is_rate else difference(spread, unit)
        what = "would have missed it" if threshold.advisory else "would have been red"
        counts = f"of the last {len(compared)} nights, {red or 'none'} {what}{margin}."
        lines.append(f"{text}: {counts} They vary by {varying}.")
    return lines


def compare_nights(nights: Nights, threshold: Threshold) -> tuple[int, list[Check]]:
    """Return how many nights the threshold fails, and the check of the agent itself in each that can be compared."""
    before, red, compared = list(nights.before), 0, list[Check]()
    for night in nights.judged:
        runs = tuple(before[: nights.source.last])
        judgement = judge(night.result, nights.criteria, baseline=Baseline(nights.source, runs))
        if nights.source.kind == "branch" and not judgement.is_barred:
            before.insert(0, night)
        checks = [check for check in judgement.checks if check.threshold == threshold and check.comparison]
        compared.extend(checks[:1])
        doubts = (Verdict.INCONCLUSIVE,) if checks and checks[0].criterion.doubt_passes else ()
        red += any(check.verdict not in (Verdict.PASSED, *doubts) for check in checks)
    return red, compared


def _margin_text(nights: Nights, threshold: Threshold, compared: Sequence[Check]) -> str:
    """Return with which larger margin no night would have been red, as a clause; empty if no larger one is tried."""
    criteria, bound, is_share, text = nights.criteria, threshold.bound, threshold.aggregate.is_rate, ""
    earlier = fmean(check.comparison.value for check in compared if check.comparison)
    if not (threshold.guards and (threshold.wants_less or threshold.wants_more) and earlier > 0.0):
        return text
    own = abs(bound.change(earlier)) / (1.0 if is_share else earlier)
    for margin in (one for one in MARGINS.get(threshold.aggregate.kind.unit, ()) if round(one - own, 9) > 0.0):
        change = margin if threshold.wants_less else -margin
        wider = bound._replace(number=change if is_share else 0.0, factor=1.0 if is_share else 1.0 + change)
        other = threshold._replace(bound=wider)
        thresholds = tuple(other if one == threshold else one for one in criteria.thresholds)
        red, _ = compare_nights(nights._replace(criteria=replace(criteria, thresholds=thresholds)), other)
        name = f"a margin of {points(margin)}" if is_share else f"a factor of {wider.factor:g}"
        if not red:
            return f"; with {name}, none"
        text = f"; even with {name}, {red}"
    return text


async def replay(session: StepRun, looked: Looked) -> list[str]:
    """Return the plan's lines. What Coval does not show is unchecked."""
    step, session = session.step, session.within(REPLAYING)
    lines, replayed = list[str](), 0
    for leg in step.legs:
        own, source = session.of(leg), leg.inputs.baseline
        thresholds = tuple(one for one in own.criteria.thresholds if one.bound.reference == "baseline")
        if leg.inputs.accept or not thresholds or source is None or source.kind not in ("tag", "branch"):
            continue
        if (replayed := replayed + 1) > MOST_REPLAYED:
            looked.unchecked.append(f"the earlier nights of more than {MOST_REPLAYED} legs.")
            break
        # Earlier nights may have been launched with other options.
        criteria = replace(own.criteria, thresholds=thresholds, use_metric_targets=False, metric_ids=(), mutations=0)
        criteria = replace(criteria, known_checks=())  # other thresholds may read their metrics
        which = f" of {one_line(step.title_of(leg))}" if len(step.legs) > 1 else ""
        try:
            nights = await _load_nights(own, source, criteria)
        except CovalError as error:
            looked.unchecked.append(f"the earlier nights{which}: {one_line(error.what)}")
            continue
        if nights.judged:
            found = await beside(partial(replay_lines, nights, session.client.shown.units))
            lines.extend([f"Replayed on the nights so far{which}:", *(f"  {line}" for line in found)])
    return lines


async def _load_nights(session: LegRun, source: BaselineSource, criteria: Criteria) -> Nights:
    """Leave out runs that lack data, and nights with another persona or judge than the newest. Raises CovalError."""
    listed, before = await _list_nights(session, source)
    calls = (load_listed(session, run, criteria) for run in [*listed, *before])
    loaded = all_or_first_error(await together(calls, session.clock, at_once=LOADS_AT_ONCE))
    runs: Sequence[BaselineRun] = [run for run in loaded if isinstance(run, BaselineRun)]
    if runs:
        newest = Subject(runs[0].run, runs[0].result, None, session.step.context, criteria)
        runs = await distinguish(session, runs, newest)
    ids = [run.run_id for run in listed]
    nights = [run for run in runs if run.run.run_id in ids and not (run.changed_metrics or run.changed_persona)]
    return Nights(criteria, source, nights[::-1], [run for run in runs if run.run.run_id not in ids])


async def _list_nights(session: LegRun, source: BaselineSource) -> tuple[Sequence[Run], Sequence[Run]]:
    """Return the nights, and the runs with which the first of them is compared, both newest first. Raises CovalError.

    The nights are younger than the oldest run that may be a baseline, such as one that a person accepted.
    """
    ids, is_branch = ids_of(session.inputs), source.kind == "branch"
    tag = branch_tag(session.step.context, source.name) if is_branch else source.name
    most = source.last + (MOST_NIGHTS if is_branch else 0)
    sought = Sought(ids, tag, COMPLETED, since=0.0, enough=lambda runs: len(baseline_candidates(runs)) >= most)
    tagged = (await search(session, sought)).runs if tag else ()
    candidates = baseline_candidates(tagged)[:most]
    if not candidates:
        return (), ()
    oldest = candidates[-1].created or 0.0

    def is_night(run: Run) -> bool:
        is_younger = (run.created or 0.0) > oldest
        return is_younger and bool(branch_tag_of(run)) and (is_branch or not has_tag(run, tag))

    if is_branch:
        nights = [*filter(is_night, tagged)][:MOST_NIGHTS]
        return nights, [run for run in candidates if run not in nights][: source.last]
    untagged = sought._replace(tag="", since=oldest, fits=is_night, enough=lambda runs: len(runs) >= MOST_NIGHTS)
    return (await search(session, untagged)).runs[:MOST_NIGHTS], candidates
