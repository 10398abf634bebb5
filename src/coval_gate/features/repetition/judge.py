"""Judges a run that failed together with its repetitions. Pure and total.

All conversations together decide what is sampled, such as a rate or an average. Everything else must be met in each
run, because a rule that was broken once was broken. Everything is repeated, not only the test cases that failed:
otherwise good luck would replace bad luck, but never the other way round.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from coval_gate.gate.checks import Check, Criterion
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import CaseStability, Judgement, Repetition, SingleRun, with_checks
from coval_gate.gate.measure import Baseline
from coval_gate.gate.population import SAME_CASES
from coval_gate.gate.problems import OTHER_CASES
from coval_gate.gate.variants import Variant, pooled
from coval_gate.gate.verdict import GRAVITY, ON_AGENT, Completed, Verdict


def is_usable(judgement: Judgement) -> bool:
    broken = any(check.criterion.about_run and not check.passed for check in judgement.checks)
    return isinstance(judgement.cause, Completed) and judgement.verdict in ON_AGENT and not broken


def repeats(run: Judgement, first: Judgement) -> Judgement:
    """Return its judgement: an error if it has other test cases, or fewer conversations, than the first run.

    A conversation with an unknown test case may belong to one that seems to be missing.
    """
    now, then = (
        Counter(simulation.test_case_id for variant in own.variants for simulation in variant.simulations)
        for own in (run, first)
    )
    new = 0 if then[""] else len(now.keys() - then.keys() - {""})
    gone = max(0, len(then.keys() - now.keys() - {""}) - now[""])
    if (now[""] or then[""]) and now.total() < then.total():
        gone = max(gone, 1)
    if not (new or gone):
        return run
    problem = OTHER_CASES.of(whose="Its", those="the first run's", new=f"{new:,}", gone=f"{gone:,}")
    return with_checks(run, (Check(criterion=SAME_CASES, verdict=Verdict.ERROR, problem=problem), *run.checks))


def beyond_saving(judgement: Judgement) -> Check | None:
    """Return a check that fails the run whatever a repetition shows; None if each can still pass."""
    missed = (
        check for check in judgement.missed if check.verdict is Verdict.FAILED or not check.criterion.doubt_passes
    )
    return next((check for check in missed if _is_lost(check, judgement)), None)


def _is_lost(check: Check, judgement: Judgement) -> bool:
    """With a confidence, only a comparison may turn out better: a number would have a second chance to be shown.

    Without one, a rate is lost if it misses even where all conversations of the repetition meet it.
    """
    threshold, measure = check.threshold, check.measure
    if not _is_sampled(check.criterion) or threshold is None or measure is None:
        return True
    if check.criterion.confidence is not None or check.reference:
        return not check.reference
    samples = filter(None, (variant.find_sample(check.metric) for variant in judgement.variants))
    if any(sample.metric.summary is not None for sample in samples):
        return True  # summaries cannot be pooled
    if not threshold.aggregate.is_rate or not (threshold.wants_less or threshold.wants_more):
        return False
    least = (measure.hits if threshold.wants_less else measure.total - measure.hits) / (2 * measure.total)
    return not threshold.holds(least if threshold.wants_less else 1.0 - least)


def _is_sampled(criterion: Criterion) -> bool:
    """Return whether all conversations of a run and its repetitions decide it together."""
    if (threshold := criterion.threshold) is None:
        return criterion.is_target and not criterion.user_defined
    return threshold.takes_confidence or threshold.aggregate.kind.pools_runs


def judge_together(runs: Sequence[SingleRun], criteria: Criteria) -> Judgement:
    judgements = [run.judgement for run in runs]
    result = pooled([own.cause.result for own in judgements if isinstance(own.cause, Completed)])
    together = judge(result, criteria, baseline=judgements[0].baseline, base=base_of(judgements))
    judgement = with_checks(together, tuple(decide(runs, together)))
    failing = _failing((*judgements, judgement), together.variants)
    cases = [
        CaseStability(test_case_id=case, variant=variant.name, failed=failed, total=len(ids))
        for variant in together.variants
        for case, ids in variant.by_case.items()
        if case and (failed := sum(simulation in failing for simulation in ids))
    ]
    cases.sort(key=lambda case: -case.failed / case.total)
    return judgement._replace(repetition=Repetition(runs=tuple(runs), cases=tuple(cases), failing=failing))


def decide(runs: Sequence[SingleRun], together: Judgement) -> Iterator[Check]:
    """`together`: the judgement of pooled results. What each run fails alone, both fail: neither clears the other.

    The lowest share of a test case is over both: two runs may each miss it in another test case.
    """
    alone = [_by_place(replace(check, run_id=run.run_id) for check in run.judgement.checks) for run in runs]
    pool = _by_place(together.checks)
    for place in dict.fromkeys(chain.from_iterable(alone)):
        common, first = pool.get(place), alone[0].get(place)
        own = [checks[place] for checks in alone if place in checks]
        failed = all(check.verdict is Verdict.FAILED for check in own)
        pools = common and common.threshold and common.threshold.aggregate.kind.is_lowest
        settling = (Verdict.FAILED,) if failed and not pools else ON_AGENT
        if common and _is_sampled(common.criterion) and common.verdict in settling:
            yield replace(common, runs=len(runs), first=first.measure if first and not first.passed else None)
        else:
            gravest = min(own, key=lambda check: (GRAVITY.index(check.verdict), check.margin or 0.0))
            yield replace(gravest, runs=len(runs))


def _by_place(checks: Iterable[Check]) -> dict[tuple[Criterion, str], Check]:
    return {(check.criterion, check.variant): check for check in checks}


def _failing(judgements: Sequence[Judgement], variants: Sequence[Variant]) -> frozenset[str]:
    """Return the ids of the simulations that miss a criterion that any of these judgements failed."""
    missed = (check for judgement in judgements for check in judgement.missed)
    failed = _by_place(check for check in missed if check.verdict is Verdict.FAILED)
    return frozenset(
        simulation
        for variant in variants
        for check in failed.values()
        if check.variant == variant.name
        for simulation in check.criterion.missing_it(
            variant.about(check.metric), variant.find_sample(check.metric), check.measure
        )
    )


def base_of(judgements: Sequence[Judgement]) -> Baseline | None:
    bases = [judgement.base for judgement in judgements if judgement.base]
    if lacking := next((base for base in bases if base.missing), None):
        return lacking
    return bases[0]._replace(runs=tuple(run for base in reversed(bases) for run in base.runs)) if bases else None
