"""The step as a JUnit report, which most tools that show test results can read.

The agent and each of its mutations have a suite with a case for each simulation. Another suite has the gate's criteria,
with their numbers as properties, and always at least one case, even if the step failed early. Each of several legs has
such suites of its own, named after it; what is about the step as a whole has one more. A `failure` is about the
agent, an `error` about anything else, and `skipped` does not count. The message of a simulation begins with its cause,
by which the cases are grouped. A case has a `time` only where Coval reports how long the conversation was. A suite
without any has the step's. Suites overlap in time, so the whole has the time of the longest one.

Readers split a class name into package and class (Jenkins), show it as a heading unless it equals the suite's name
(dorny/test-reporter), or search the workspace for a file named like its last part (mikepenz/action-junit-report). So
it has one dot, equals the suite's name, and is a phrase that is no file's name.

Source: the schema of Jenkins' xUnit plugin (junit-10.xsd), the strictest one in use.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.xunit2 import FlakyFailure

from coval_gate.base.text import one_line, plural, shortened
from coval_gate.ci.host import NAME
from coval_gate.judge.claims import CHANCE, difference_text, earlier_text, noticeable_text, shown_text
from coval_gate.judge.clauses import NAMES, stability_text
from coval_gate.judge.findings import comparison_of
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import length
from coval_gate.report.limits import LONGEST_MENTION, MOST_CRITERIA
from coval_gate.report.metrics import variant_key
from coval_gate.report.provenance import all_provenance, of_leg, own_provenance, provenance
from coval_gate.report.wording import judgements
from coval_gate.report.wording.causes import counts_text, with_cause
from coval_gate.report.wording.checks import actual_text, check_reason, check_text, miss_text, shown_verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.measure import Measure
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

PACKAGE: Final = "Coval"
DOT: Final = "·"  # in place of a dot that would split a class name again
GATE: Final = "criteria of the gate"
EVALUATION: Final = "evaluation"
TARGET: Final = "missed: a target"  # an unusable one
# All but what XML 1.0 allows (its production 2, Char), which would make the whole file unreadable.
FORBIDDEN: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
KINDS: Final[dict[Verdict | None, type[Failure | Error | Skipped]]] = {
    Verdict.FAILED: Failure,
    Verdict.INCONCLUSIVE: Failure,
    Verdict.ERROR: Error,
    Verdict.TIMED_OUT: Error,
    Verdict.CANCELLED: Error,
    Verdict.SKIPPED: Skipped,
    None: Skipped,
}


def render(report: Report) -> str:
    document = JUnitXml(_xml(report.context.matrix.after(NAME)))
    suites = [*_suites(report)]
    for suite in suites:
        # `add_testsuite` would merge suites of one name, and a mutation may have any name.
        document.append(suite)  # type: ignore[no-untyped-call]
    document.update_statistics()  # type: ignore[no-untyped-call]
    for suite in suites:
        # Codecov refuses a suite without any time, and 0 would be wrong: the step held all of its conversations.
        is_known = any(member.time is not None for member in suite)
        suite.time = round(suite.time if is_known else report.seconds, 3)
    document.time = max(suite.time for suite in suites)
    # The schema has this attribute for a suite, but not for the root.
    document._elem.attrib.pop("skipped", None)  # noqa: SLF001
    text = document.tostring()  # type: ignore[no-untyped-call]
    return (text.decode("utf-8") if isinstance(text, bytes) else str(text)) + "\n"


def _suites(report: Report) -> Iterator[TestSuite]:
    """Yield the suites of each leg, and one of the step, unless only its legs have something to tell."""
    names, properties = Counter[str](), Counter[str]()

    def suite(name: str, members: Iterable[TestCase], facts: Iterable[tuple[str, str]] = ()) -> TestSuite:
        made = _suite(report, _distinct(_suite_name(report, name), names), members)
        for fact, value in facts:
            made.add_property(_distinct(_xml(fact), properties), _xml(value))
        return made

    for leg in report.legs:
        for name, members in _simulations(leg):
            yield suite(of_leg(leg, name), members)
        if len(report.legs) > 1:
            yield suite(of_leg(leg, GATE), _gate_of_leg(report, leg), _properties_of_leg(report, leg))
    if len(report.legs) < 2:
        yield suite(GATE, _gate(report), _properties(report))
    elif not _is_decided_by_leg(report):
        yield suite(GATE, [_evaluation(report.judgement)])


def _is_decided_by_leg(report: Report) -> bool:
    return bool(report.judgement.of_legs and report.judgement.of_legs.decisive)


def _simulations(leg: LegReport) -> Iterator[tuple[str, Iterator[TestCase]]]:
    members: dict[str, list[SimulationRow]] = defaultdict(list)
    for row in leg.rows:
        members[row.simulation.mutation].append(row)
    for variant in leg.result.variants if leg.result else ():
        yield f"simulations of {variant_key(variant)}", (_simulation(row, leg) for row in members[variant])


def _suite_name(report: Report, name: str) -> str:
    """Return the name of a suite. It differs between the jobs of a matrix, whose files may be merged."""
    return f"{PACKAGE}.{_xml(report.context.matrix.after(name)).replace('.', DOT)}"


def _suite(report: Report, name: str, members: Iterable[TestCase]) -> TestSuite:
    suite = TestSuite(name)
    if report.began:
        suite.timestamp = report.began
    for member in members:
        member.classname = name
        suite.append(member)  # type: ignore[no-untyped-call]  # `add_testcase` would count all members each time
    return suite


def _distinct(name: str, seen: Counter[str]) -> str:
    """Return a name, with a number after it if it is among those seen before. Add it to them."""
    own = name
    while seen[own]:
        seen[name] += 1
        own = f"{name} ({seen[name]})"
    seen[own] += 1
    return own


def _simulation(row: SimulationRow, leg: LegReport) -> TestCase:
    """Return the case of a simulation, named after its test case; the id in its text distinguishes namesakes."""
    seconds = length(leg.details.transcripts.get(row.simulation.id, ()))
    member = TestCase(_xml(row.title), time=None if seconds is None else round(seconds, 3))
    if row.verdict is not Verdict.PASSED:
        misses = list(_misses(row))
        what = row.trouble or next(iter(misses), TARGET)
        stability = f"the test case is {stability_text(row.stability)}" if row.stability else ""
        cause = f"cause: {row.cause}" if row.cause else ""
        lines = [row.trouble, *misses, stability, cause, f"simulation {row.simulation.id}"]
        note = " (tolerated)" if row.verdict is Verdict.SKIPPED and not row.contributes else ""
        # The simulation missed a threshold that is inconclusive itself: the threshold's own case reports that.
        tolerated = row.verdict is Verdict.INCONCLUSIVE
        message = with_cause(f"{what}{note}", row.cause)
        member.result = [_result(row.verdict, message, "\n".join(filter(None, lines)), tolerated=tolerated)]
    elif row.failed_alone and row.stability:
        # Surefire's element for a test that failed in one of several runs and passes in the end.
        flaky = FlakyFailure(_xml(stability_text(row.stability)), "failed")
        flaky.text = f"simulation {row.simulation.id}"
        member.append(flaky)  # type: ignore[no-untyped-call]
    # After the result: some readers drop what precedes it.
    member.system_out = _xml("\n".join(line for line in (f"simulation {row.simulation.id}", row.url) if line))
    return member


def _misses(row: SimulationRow) -> Iterator[str]:
    for miss in row.misses:
        yield f"{'contributes to' if miss.contribution else 'missed'}: {miss_text(miss)}"
        if text := row.reasons.get(miss.check.metric):
            yield f"    {text}"
    if row.more_misses:
        yield f"… and {plural(row.more_misses, 'more criterion', 'more criteria')}"


def _gate(report: Report) -> Iterator[TestCase]:
    """Yield the cases of a step with at most one leg: those of its criteria, and of the step if it needs one."""
    judgement = report.judgement
    for leg in report.legs:
        yield from _criteria(leg, judgement, of_leg(leg, ""))
    if not any(_is_explained(leg, judgement) for leg in report.legs):
        yield _evaluation(judgement)


def _gate_of_leg(report: Report, leg: LegReport) -> Iterator[TestCase]:
    yield from _criteria(leg, leg.judgement)
    if not _is_decided_by_leg(report) and leg.judgement == report.judgement._replace(of_legs=None):
        yield _not_evaluated(leg.judgement)
    elif not _is_explained(leg, leg.judgement):
        yield _evaluation(leg.judgement)


def _criteria(leg: LegReport, judgement: Judgement, prefix: str = "") -> Iterator[TestCase]:
    shown = leg.findings.checks.first(MOST_CRITERIA)
    for check in shown:
        member = TestCase(_xml(f"{prefix}{check_text(check)}"))
        if reason := check_reason(check):
            text = f"{reason}\nActual: {actual_text(check)}"
            tolerated = judgement.lets_pass and check.verdict is not Verdict.FAILED
            member.result = [_result(shown_verdict(check), reason, text, tolerated=tolerated)]
        if compared := _compared(check):
            member.system_out = _xml(compared)
        yield member
    if more := len(leg.judgement.checks) - len(shown):
        member = TestCase(f"… and {plural(more, 'more criterion', 'more criteria')}")
        left_out = f"This report shows the gravest criteria; {more:,} more are left out."
        member.result = [_result(Verdict.SKIPPED, left_out, "")]
        yield member


def _is_explained(leg: LegReport, judgement: Judgement) -> bool:
    """Return whether a criterion of the leg has the same verdict, so that a case for the judgement would repeat it."""
    shown = leg.findings.checks.first(MOST_CRITERIA)
    return any(check.decides and check.verdict is judgement.verdict is not Verdict.PASSED for check in shown)


def _not_evaluated(judgement: Judgement) -> TestCase:
    """Return the case of a leg that the step never came to; a case of the step has the `judgement`."""
    member = TestCase(EVALUATION)
    member.result = [_result(Verdict.SKIPPED, f"Not evaluated: {judgements.reason(judgement)}", "")]
    return member


def _evaluation(judgement: Judgement) -> TestCase:
    """Return a case with a verdict that no criterion has."""
    member = TestCase(EVALUATION)
    if judgement.verdict is not Verdict.PASSED:
        lines = (
            *judgements.reasons(judgement)[:MOST_CRITERIA],
            judgements.advice(judgement),
            judgements.link(judgement),
        )
        text = "\n".join(filter(None, lines))
        result = _result(judgement.verdict, judgements.reason(judgement), text, tolerated=judgement.is_tolerated)
        result.type = judgement.verdict or judgement.status.lower()
        member.result = [result]
    return member


def _compared(check: Check) -> str:
    if comparison_of(check) is None:
        return ""
    reference = NAMES[check.reference]
    lines = [f"{reference}: {earlier_text(check)}", f"change: {difference_text(check)}", shown_text(check)]
    if noticeable := noticeable_text(check):
        lines.append(f"{noticeable} would show in {CHANCE} of such runs")
    return "\n".join(lines)


def _result(verdict: Verdict | None, message: str, text: str, *, tolerated: bool = False) -> Failure | Error | Skipped:
    """Return the result of a case that did not pass; a `tolerated` one does not make the check red."""
    kind = Skipped if tolerated else KINDS[verdict]
    result: Failure | Error | Skipped = kind(_xml(one_line(message)), verdict or "none")
    result.text = _xml(text or message)  # some readers ignore an empty element
    return result


def _properties(report: Report) -> Iterator[tuple[str, str]]:
    """Yield where the step ran and, as the schema has no properties for cases, the criteria's numbers.

    Some readers merge the properties of all suites, so those of a leg have its name.
    """
    yield from ((of_leg(leg, name), value) for leg, name, value in all_provenance(report))
    for leg in report.legs:
        yield from ((of_leg(leg, name), value) for name, value in (*_facts(leg), *_numbers(leg)))


def _properties_of_leg(report: Report, leg: LegReport) -> Iterator[tuple[str, str]]:
    """Yield the properties of one of several legs. Those of the step are the first leg's, which is always there."""
    shared = provenance(report)
    yield from shared.items() if leg is report.legs[0] else ()
    own = (*own_provenance(report, leg, shared), *_facts(leg), *_numbers(leg))
    yield from ((of_leg(leg, name), value) for name, value in own)


def _facts(leg: LegReport) -> Iterator[tuple[str, str]]:
    if leg.run_url:
        yield "url", leg.run_url
    if counts := counts_text((row, leg) for row in leg.rows):
        yield "causes", counts
    if not (repetition := leg.judgement.repetition):
        return
    yield "runs", " ".join(run.run_id for run in leg.runs)
    if repetition.replaced:
        yield "replaced simulations", " ".join(sorted(repetition.replaced))
    for case in repetition.cases[:MOST_CRITERIA]:
        title = shortened(leg.case_name(case.test_case_id), LONGEST_MENTION)
        yield f"stability of {title}{f' [{case.variant}]' if case.variant else ''}", stability_text(case)


def _numbers(leg: LegReport) -> Iterator[tuple[str, str]]:
    for place, check in enumerate(leg.findings.checks.first(MOST_CRITERIA), start=1):
        whole = check_text(check)
        # Up to nine properties repeat the name.
        name = whole if len(whole) <= LONGEST_MENTION else f"{shortened(whole, LONGEST_MENTION)} ({place})"
        if measure := check.measure:
            yield f"{name}: actual", _shown(measure.value)
            if requirement := check.requirement:
                yield f"{name}: required", f"{requirement.operator} {_shown(requirement.bound)}"
                yield f"{name}: margin", _shown(check.margin or 0.0)
            yield from ((f"{name}: {key}", value) for key, value in _comparison_numbers(measure))
            if interval := measure.interval:
                yield f"{name}: lower", _shown(interval.lower) if math.isfinite(interval.lower) else ""
                yield f"{name}: upper", _shown(interval.upper) if math.isfinite(interval.upper) else ""
                yield f"{name}: confidence", _shown(interval.confidence)
            yield f"{name}: unit", measure.unit
            yield f"{name}: count", str(measure.count)
            yield f"{name}: missing", str(measure.missing)


def _comparison_numbers(measure: Measure) -> Iterator[tuple[str, str]]:
    if (compared := measure.comparison) is None:
        return
    yield "baseline", _shown(compared.value)
    yield "change", _shown(measure.value - compared.value)
    if change := compared.change:
        yield "change, lower", _shown(change.lower) if math.isfinite(change.lower) else ""
        yield "change, upper", _shown(change.upper) if math.isfinite(change.upper) else ""
        yield "change, confidence", _shown(change.confidence)
    yield "trend", compared.trend
    yield "shared test cases", str(compared.cases)


def _shown(value: float) -> str:
    return f"{value:.10g}"


def _xml(text: str) -> str:
    return FORBIDDEN.sub("", text)
