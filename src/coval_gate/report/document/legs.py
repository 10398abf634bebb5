"""What a step evaluates: a leg with its runs, criteria, metrics and simulations."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from coval_gate.base.text import plural
from coval_gate.gate.checks import Check
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Totals
from coval_gate.gate.variants import variants_of
from coval_gate.gate.verdict import GRAVITY, Verdict
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import ALL_AT_ONCE, CONNECTION, FILE, GATE, LAUNCH_IDS, WHAT, effective
from coval_gate.report import MOST_CRITERIA, wording
from coval_gate.report.document.base import (
    JudgedFacts,
    Model,
    SentencePart,
    SingleRunFacts,
    Stability,
    Text,
    VerdictWord,
    variant_key,
)
from coval_gate.report.document.criteria import CriterionFacts, criteria_of
from coval_gate.report.document.metrics import MOST_DRAWN, Chart, MetricFacts, charts_of, metrics_of
from coval_gate.report.document.model import UNFOUND, LegReport, Report
from coval_gate.report.document.provenance import (
    MAY_HOLD_SECRETS,
    RunFacts,
    configuration,
    provenance,
    subject_in_words,
    what_ran,
)
from coval_gate.report.document.references import BaselineFacts, CriteriaGroup, groups_of
from coval_gate.report.document.simulations import SimulationFacts, case_names, simulations_of
from coval_gate.report.wording.checks import counts_text, doubts, notes_title, stability

UNSET: Final = {  # inputs that test_case_ids excludes, or that only make sense for the whole test set
    "sub_sample_size": "0",
    "sub_sample_seed": "",
    "spend": ALL_AT_ONCE,
}
ABOUT_ANOTHER_RUN: Final = ("display_name", "tags", "created_by", "on_missing_api_key", "accept")


class SlicesFacts(Model):
    """The slices of a leg that were called, in each of which a part of its test cases had a conversation."""

    called: int
    """How many test cases they had."""
    cap: int
    """How many test cases the leg would have had at the most."""
    is_clear: bool
    """Whether every threshold was decided, or could not be any more; false where time ended the leg."""


class CaseFacts(Model):
    """A test case that failed in any of several runs, with the agent or one of its mutations."""

    test_case_id: Text
    name: Text
    """The test case in words, if the API key may read them, with its id if several have the same words; otherwise the
    id."""
    variant: Text
    stability: Stability
    """consistent: each of its conversations failed; flaky: only some of them."""
    failed: int
    """How many of its conversations failed, over all runs."""
    total: int
    """How many conversations it had."""


class KnownFailureFacts(Model):
    """An entry of `known_failures` that left out something of this leg."""

    test_case_id: Text
    name: Text
    """The test case in words, as in `simulations`."""
    metric: Text
    """As the entry names it; empty if it leaves out the whole conversation."""
    reason: Text
    until: Text
    """The last day (UTC) on which it has an effect, such as "2027-01-31"."""
    simulations: int
    """How many conversations it left out; 0 in slices, which do not call known test cases."""
    passes: bool
    """Whether all of them met what is asked of each, in this run and in the baseline, so that the entry can go."""


class VariantFacts(Model):
    """The agent itself or a mutation, as named in `variant` and `variants` everywhere else."""

    variant: Text
    """The mutation's name, with its id if several have that name. `agent` is the agent itself."""
    mutation_id: Text
    """Empty for the agent itself, and if Coval does not report it."""
    verdict: VerdictWord
    """The gravest verdict of the criteria that are about it alone."""
    completed: int
    total: int
    missed_text: Text
    """How many of these criteria are missed."""


class StandingFacts(Model):
    """What the step made of the run for later ones."""

    accepted: bool
    """Whether a person accepted it."""
    tag: Text
    """The tag of the baseline that it has now; empty for a baseline of a branch."""
    parts: list[SentencePart]
    """All of this in a sentence."""


class RepeatFacts(Model):
    """How to run some test cases of a leg again."""

    file: Text
    """The configuration file that defines the leg; empty where the step's inputs do."""
    unset: dict[Text, Text]
    """Inputs to change beside `test_case_ids`."""
    command: dict[Text, Text]
    """All inputs of a command for the image, but the key; empty where one is unknown, or may contain a secret."""


class LegFacts(JudgedFacts):
    """A run that the step launched or waited for, and its result."""

    name: Text
    """What distinguishes it from other legs; empty where there is only one."""
    title: Text
    """The same for people: names in place of ids, as far as the API key may read them."""
    run: RunFacts
    facts: dict[Text, Text]
    """What is known of its run, and not of the step."""
    repeat: RepeatFacts
    runs: list[SingleRunFacts]
    """The run and its repetitions (`repeat_on_failure`), or all slices (`spend`); everything else is about the runs
    that count."""
    slices: SlicesFacts | None
    """With `spend: until clear`: how much of the cap was called; null otherwise, before the first slice ended, and
    where an error or a signal ended the leg."""
    failing_cases: list[CaseFacts]
    """Where there are several runs: the test cases that failed in any of them, consistent ones first."""
    failing_cases_text: Text
    """How many of them are consistent, and how many flaky."""
    known_failures: list[KnownFailureFacts]
    """What every criterion leaves out, in the order of the configuration file."""
    baseline: BaselineFacts | None
    """The earlier runs that thresholds refer to; null where none do."""
    tested: Text
    """What its run tested, in words, such as "this commit (attached)" or "agent X as deployed"; empty without a run."""
    base_run_id: Text
    """The run of the agent that base_agent_id names, beside which this one was tested; empty without one."""
    base: BaselineFacts | None
    """That run, as thresholds refer to it; null where none do."""
    standing: StandingFacts | None
    """Null where the step changed nothing for later runs."""
    variants: list[VariantFacts]
    """The variants that have simulations, by name."""
    groups: list[CriteriaGroup]
    """The criteria by what they compare with; groups with missed ones first."""
    notes: Text
    """The title of a column with `note_text` or `shown_text` of all criteria."""
    flips: int
    """How many test cases flipped."""
    flipped_criteria: int
    """How many criteria have flipped test cases."""
    criteria: list[CriterionFacts]
    """The gravest first, those that only inform last; if there are too many, only the first."""
    criteria_left_out: int
    """How many more there are."""
    charts: list[Chart]
    """Of the first metrics with missed criteria or, if there are none, with any criteria."""
    metrics: list[MetricFacts]
    simulations: list[SimulationFacts]
    """In this order: those that fail the gate, tolerated ones, others; within each kind, the worst first."""

    def group_criteria(self, group: CriteriaGroup) -> list[CriterionFacts]:
        return [criterion for criterion in self.criteria if criterion.compared_with == group.compared_with]

    def named(self, text: str) -> str:
        """Return a text about the leg, with the leg's title if it has one."""
        return f"{self.title}: {text}" if self.title else text


def whole(leg: LegReport, *, brief: bool = False) -> LegReport:
    """Return the leg with its variants and findings, even if it is not judged. `brief`: without simulations."""
    judgement = leg.judgement
    if leg.result and not judgement.variants:
        judgement = judgement._replace(variants=variants_of(leg.result))
    shown = findings_of(judgement, None if brief else leg.result) if leg.findings is UNFOUND else leg.findings
    return leg._replace(judgement=judgement, findings=shown)


def leg_facts(report: Report, leg: LegReport, places: Sequence[int] = (), *, brief: bool = False) -> LegFacts:
    """`places`: of simulations. `brief`: without charts."""
    judgement, repetition, findings = leg.judgement, leg.judgement.repetition, leg.findings
    cases, slices = repetition.cases if repetition else (), judgement.slices
    stabilities = Counter(map(stability, cases))
    case_name = case_names(leg.details.labels)
    names = {f"{name.removesuffix('_id')}_name": leg.names.get(name, "") for name in LAUNCH_IDS}
    status = leg.run.status if leg.run else ""
    kept = leg.runs[0].kept_from if leg.runs else None
    own, shared = provenance(report, leg), provenance(report)
    is_drawn = report.inputs.html_path or report.inputs.json_path
    return LegFacts(
        name=leg.name,
        title=leg.title or leg.name,
        **judged_facts(judgement, [leg]),
        run=RunFacts(id=leg.run_id, url=leg.run_url, status=status, kept_from=kept, **what_ran(report, leg), **names),
        facts={} if len(report.legs) == 1 else {name: fact for name, fact in own.items() if shared.get(name) != fact},
        repeat=_repeat(report, leg),
        runs=[*leg.runs],
        slices=SlicesFacts(called=slices.look.called, cap=slices.look.cap, is_clear=slices.is_clear)
        if slices
        else None,
        failing_cases=[
            CaseFacts(
                **case._replace(variant=variant_key(case.variant))._asdict(),
                name=case_name(case.test_case_id),
                stability=stability(case),
            )
            for case in cases
        ],
        failing_cases_text=", ".join(f"{count:,} {word}" for word, count in sorted(stabilities.items())),
        known_failures=[
            KnownFailureFacts(
                test_case_id=(entry := case.failure).test_case,
                name=case_name(entry.test_case),
                metric=entry.metric,
                reason=entry.reason,
                until=str(entry.until),
                simulations=len(case.simulations),
                passes=case.passes,
            )
            for case in judgement.known
        ],
        tested=subject_in_words(report, leg),
        base_run_id=leg.base.run_id if leg.base else "",
        **_comparison(leg),
        variants=_variants(leg),
        groups=groups_of(findings, leg),
        notes=notes_title(findings.checks.checks),
        flips=findings.failing + findings.passing,
        flipped_criteria=sum(bool(one.newly_failing or one.newly_passing) for one in findings.checks.comparisons),
        criteria=criteria_of(findings, case_name),
        criteria_left_out=max(0, len(judgement.checks) - MOST_CRITERIA),
        charts=[] if brief else charts_of(leg),
        metrics=metrics_of(leg, most_drawn=MOST_DRAWN if is_drawn and not brief else 0),
        simulations=simulations_of(leg, places, case_name),
    )


def _comparison(leg: LegReport) -> dict[str, Any]:
    """Return what a leg is compared with, and what it is to later runs."""
    if not (leg.judgement.baseline or leg.judgement.base or leg.standing):
        return dict.fromkeys(("baseline", "base", "standing"))
    from coval_gate.features.comparisons.document import facts_of_comparison

    return facts_of_comparison(leg)


def judged_facts(judgement: Judgement, legs: Sequence[LegReport], *, named: bool = False) -> dict[str, Any]:
    """Return the fields of JudgedFacts for a judgement of legs. `named`: what is missed is a criterion.

    A leg that was not judged counts as its last poll showed it, with no simulation passed.
    """
    reasons, doubtful = wording.reasons(judgement), doubts(judgement)
    counts = [count for leg in legs if (count := leg.judgement.totals or (leg.run.progress if leg.run else None))]
    total = sum(count.total for count in counts)
    unpassed = sum(len(one.unpassed) + one.unlisted if isinstance(one, Totals) else one.total for one in counts)
    is_judged = any(leg.judgement.totals for leg in legs)
    failing, passing = (sum(getattr(leg.findings, name) for leg in legs) for name in ("failing", "passing"))
    flips = [f"{plural(failing, 'fails', 'fail')} now"] * bool(failing)
    flips += [f"{plural(passing, 'passes', 'pass')} now"] * bool(passing)
    rows = [(row, leg.findings.reference) for leg in legs for row in leg.findings.simulations]
    return {
        "verdict": judgement.verdict,
        "passes": judgement.passes_gate,
        "heading": wording.heading(judgement),
        "status": judgement.status,
        "reason": wording.reason(judgement, reasons),
        "others_text": wording.others_text(judgement, len(reasons) - 1),
        "reasons": list(reasons),
        "advice": wording.advice(judgement, doubtful),
        "is_doubtful": bool(doubtful),
        "link": wording.link(judgement),
        "total_simulations": total if counts else None,
        "completed_simulations": sum(count.completed for count in counts) if counts else None,
        "unpassed_simulations": unpassed if is_judged else None,
        "pass_rate": (max(0, total - unpassed) / total if total else 0.0) if is_judged else None,
        "missed_text": missed_text([check for leg in legs for check in leg.findings.checks.checks], named=named),
        "flips_text": f"Test cases that flipped: {', '.join(flips)}" if flips else "",
        "causes_text": counts_text((row, reference) for row, reference in rows if row.is_to_look_at),
        "failing_causes_text": counts_text((row, reference) for row, reference in rows if row.fails),
    }


def missed_text(checks: Sequence[Check], *, named: bool = False) -> str:
    """Return how many criteria that decide are missed: "1 of 3 missed", "3 met"; empty without any."""
    checks = [check for check in checks if not check.informs]
    total = plural(len(checks), "criterion", "criteria") if named else f"{len(checks):,}"
    doubtful = sum(check.verdict is Verdict.INCONCLUSIVE for check in checks)
    counts = {"missed": sum(not check.passed for check in checks) - doubtful, "inconclusive": doubtful}
    unmet = [f"{count:,} of {total} {word}" for word, count in counts.items() if count]
    return ", ".join(unmet) or (f"{total} met" if checks else "")


def _variants(leg: LegReport) -> list[VariantFacts]:
    ids = {name: members[0].mutation_id for name, members in (leg.result.variants if leg.result else {}).items()}
    checks: dict[str, list[Check]] = defaultdict(list)
    for check in leg.judgement.checks:
        if check.several:
            checks[check.variant].append(check)
    return [
        VariantFacts(
            variant=variant_key(variant.name),
            mutation_id=ids[variant.name],
            verdict=min(
                (check.verdict for check in checks[variant.name] if check.decides),
                key=GRAVITY.index,
                default=Verdict.PASSED,
            ).value,
            completed=len(variant.completed),
            total=variant.total,
            missed_text=missed_text(checks[variant.name]),
        )
        for variant in leg.judgement.variants
        if variant.name in ids
    ]


def _repeat(report: Report, leg: LegReport) -> RepeatFacts:
    given, ran = configuration(leg.inputs or report.inputs), what_ran(report, leg)
    kept = {declaration.name for declaration in effective() if declaration.group in (CONNECTION, WHAT, GATE)}
    kept -= {*ran, *UNSET, *ABOUT_ANOTHER_RUN, "test_case_ids", FILE}
    is_complete = all(map(IDENTIFIER.fullmatch, ran.values())) and not any(name in given for name in MAY_HOLD_SECRETS)
    return RepeatFacts(
        file=report.inputs.config_path if leg.inputs else "",
        unset={name: value for name, value in UNSET.items() if name in given},
        command=ran | {name: text for name, text in given.items() if name in kept} if is_complete else {},
    )
