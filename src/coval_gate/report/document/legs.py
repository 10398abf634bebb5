"""What a step evaluates: a leg with its runs, criteria, metrics and simulations."""

from collections.abc import Sequence
from typing import Final

from coval_gate.gate.checks import Check
from coval_gate.gate.findings import findings_of
from coval_gate.gate.variants import variants_of
from coval_gate.gate.verdict import GRAVITY, Verdict
from coval_gate.history.standing import Standing, standing_text
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import ALL_AT_ONCE, CONNECTION, FILE, GATE, LAUNCH_IDS, WHAT, effective
from coval_gate.report import MOST_CRITERIA
from coval_gate.report.document.base import (
    JudgedFacts,
    Model,
    Parts,
    SentencePart,
    Stability,
    Text,
    VerdictWord,
    judged_facts,
    missed_text,
    variant_key,
)
from coval_gate.report.document.criteria import CriterionFacts, criteria_of
from coval_gate.report.document.metrics import (
    Chart,
    MetricFacts,
    TrendRunFacts,
    charts_of,
    metrics_of,
)
from coval_gate.report.document.provenance import (
    WITHHELD,
    RunFacts,
    configuration,
    provenance,
    run_page,
    subject_in_words,
    what_ran,
)
from coval_gate.report.document.references import BaselineFacts, CriteriaGroup, baseline_facts, groups_of
from coval_gate.report.document.simulations import SimulationFacts, case_names, simulations_of
from coval_gate.report.model import UNFOUND, LegReport, Report, RunReport
from coval_gate.report.wording.checks import in_figures, notes_title, stability

UNSET: Final = {  # inputs that test_case_ids excludes, or that only make sense for the whole test set
    "sub_sample_size": "0",
    "sub_sample_seed": "",
    "spend": ALL_AT_ONCE,
}
NOT_COPIED: Final = ("display_name", "tags", "created_by", "on_missing_api_key", "accept")


class SingleRunFacts(Model):
    """One of the runs of a leg, judged alone."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported."""
    verdict: VerdictWord | None
    """Null for a slice, which decides nothing alone."""


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
    """All inputs of a command for the image, but the key; empty where one is unknown, or may hold a secret."""


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
    trend: list[TrendRunFacts]
    """Earlier runs with averages of the metrics, the newest first."""
    metrics: list[MetricFacts]
    simulations: list[SimulationFacts]
    """In this order: those that fail the gate, tolerated ones, others; within each kind, the worst first."""

    def group_criteria(self, group: CriteriaGroup) -> list[CriterionFacts]:
        return [criterion for criterion in self.criteria if criterion.compared_with == group.compared_with]

    def named(self, text: str) -> str:
        """Return a text about the leg, with the leg's title if it has one."""
        return f"{self.title}: {text}" if self.title else text


def whole(leg: LegReport, *, brief: bool = False) -> LegReport:
    """Return the leg with its variants, runs and findings, even if it is not judged. `brief`: without simulations."""
    judgement, status = leg.judgement, leg.run.status if leg.run else ""
    if leg.result and not judgement.variants:
        judgement = judgement._replace(variants=variants_of(leg.result))
    alone = RunReport(id=leg.run_id, url=leg.run_url, status=status, verdict=judgement.verdict)
    return leg._replace(
        judgement=judgement,
        findings=findings_of(judgement, None if brief else leg.result) if leg.findings is UNFOUND else leg.findings,
        runs=leg.runs or ((alone,) if leg.run_id else ()),
    )


def leg_facts(report: Report, leg: LegReport, places: Sequence[int]) -> LegFacts:
    judgement, repetition, findings = leg.judgement, leg.judgement.repetition, leg.findings
    cases, slices = repetition.cases if repetition else (), judgement.slices
    case_name = case_names(leg.details.labels)
    names = {f"{name.removesuffix('_id')}_name": leg.names.get(name, "") for name in LAUNCH_IDS}
    status = leg.run.status if leg.run else ""
    own, shared = provenance(report, leg), provenance(report)
    return LegFacts(
        name=leg.name,
        title=leg.title or leg.name,
        **judged_facts(judgement, [leg]),
        run=RunFacts(id=leg.run_id, url=leg.run_url, status=status, **what_ran(report, leg), **names),
        facts={} if len(report.legs) == 1 else {name: fact for name, fact in own.items() if shared.get(name) != fact},
        repeat=_repeat(report, leg),
        runs=[SingleRunFacts(**run._asdict()) for run in leg.runs],
        slices=SlicesFacts(called=slices.look.called, cap=slices.look.cap, is_clear=slices.is_clear)
        if slices
        else None,
        failing_cases=[
            CaseFacts(
                test_case_id=case.test_case_id,
                name=case_name(case.test_case_id),
                variant=variant_key(case.variant),
                stability=stability(case),
                failed=case.failed,
                total=case.total,
            )
            for case in cases
        ],
        failing_cases_text=in_figures(cases),
        baseline=baseline_facts(leg, judgement.baseline),
        tested=subject_in_words(report, leg),
        base_run_id=leg.base.run_id if leg.base else "",
        base=baseline_facts(leg, judgement.base),
        standing=_standing(leg.standing) if leg.standing else None,
        variants=_variants(leg),
        groups=groups_of(findings, leg),
        notes=notes_title(findings.checks.checks),
        flips=findings.failing + findings.passing,
        flipped_criteria=sum(bool(one.newly_failing or one.newly_passing) for one in findings.checks.comparisons),
        criteria=criteria_of(findings, case_name),
        criteria_left_out=max(0, len(judgement.checks) - MOST_CRITERIA),
        charts=charts_of(leg),
        trend=[TrendRunFacts(url=run_page(leg, run), **run._asdict()) for run in leg.trend],
        metrics=metrics_of(leg),
        simulations=simulations_of(leg, places, case_name),
    )


def _standing(standing: Standing) -> StandingFacts:
    parts = Parts()
    text = standing_text(standing, code=parts.code)
    return StandingFacts(accepted=standing.accepted, tag=standing.tag, parts=parts.of(text))


def _variants(leg: LegReport) -> list[VariantFacts]:
    ids = {name: members[0].mutation_id for name, members in (leg.result.variants if leg.result else {}).items()}
    checks: dict[str, list[Check]] = {name: [] for name in ids}
    for check in leg.judgement.checks:
        if check.several:
            checks.setdefault(check.variant, []).append(check)
    shown = [variant for variant in leg.judgement.variants if variant.name in ids]
    decided = {name: [check.verdict for check in own if check.decides] for name, own in checks.items()}
    return [
        VariantFacts(
            variant=variant_key(variant.name),
            mutation_id=ids[variant.name],
            verdict=min(decided[variant.name], key=GRAVITY.index, default=Verdict.PASSED).value,
            completed=len(variant.completed),
            total=variant.total,
            missed_text=missed_text(checks[variant.name]),
        )
        for variant in shown
    ]


def _repeat(report: Report, leg: LegReport) -> RepeatFacts:
    inputs = leg.inputs or report.inputs
    given = configuration(inputs) if inputs else {}
    return RepeatFacts(
        file=report.inputs.config_path if report.inputs and leg.inputs else "",
        unset={name: value for name, value in UNSET.items() if name in given},
        command=_command(given, what_ran(report, leg)),
    )


def _command(given: dict[str, str], ids: dict[str, str]) -> dict[str, str]:
    ran = {name: value for name, value in ids.items() if IDENTIFIER.fullmatch(value)}
    if len(ran) < len(LAUNCH_IDS) or any(name in given for name in WITHHELD):
        return {}
    kept = {declaration.name for declaration in effective() if declaration.group in (CONNECTION, WHAT, GATE)}
    kept -= {*ran, *UNSET, *NOT_COPIED, "test_case_ids", FILE}
    return ran | {name: text for name, text in given.items() if name in kept}
