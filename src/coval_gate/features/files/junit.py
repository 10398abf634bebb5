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

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from coval_gate.base.text import one_line, plural, shortened
from coval_gate.ci.host import GATE_NAME
from coval_gate.report import LONGEST_MENTION
from coval_gate.report.document import Document
from coval_gate.report.document.base import ITSELF
from coval_gate.report.document.criteria import CriterionFacts
from coval_gate.report.document.legs import LegFacts
from coval_gate.report.document.simulations import SimulationFacts

DOT: Final = "·"  # in place of a dot that would split a class name again
CRITERIA_SUITE: Final = "criteria of the gate"
EVALUATION: Final = "evaluation"
TARGET: Final = "missed: a target"  # an unusable one
# All but what XML 1.0 allows (its production 2, Char), which would make the whole file unreadable.
NOT_IN_XML: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
RESULT_KINDS: Final = {"failed": "failure", "inconclusive": "failure", "skipped": "skipped", None: "skipped"}


class JUnitResult(NamedTuple):
    """Why a case did not pass, or with the kind `flaky`, not always."""

    kind: str
    type: str
    message: str
    text: str


class JUnitCase(NamedTuple):
    name: str
    result: JUnitResult | None = None
    seconds: float | None = None
    output: str = ""


def render(document: Document) -> str:
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite  # which few steps need
    from junitparser.xunit2 import FlakyFailure

    kinds = {"failure": Failure, "error": Error, "skipped": Skipped}
    names, properties = Counter[str](), Counter[str]()
    attempt = f" (attempt {document.attempt})" if document.attempt else ""  # readers rarely show properties
    suites, xml = list[TestSuite](), JUnitXml(_xml(document.step.after(GATE_NAME) + attempt))
    for name, cases, facts in _suites(document):
        # It differs between the jobs of a matrix, whose files may be merged.
        full = _distinct(f"Coval.{_xml(document.step.after(name)).replace('.', DOT)}", names)
        suite = TestSuite(full)
        if document.step.began:
            suite.timestamp = document.step.began
        for case in cases:
            member = TestCase(_xml(case.name), full, case.seconds)
            if case.result and case.result.kind == "flaky":
                # Surefire's element for a test that failed in one of several runs and passes in the end.
                flaky = FlakyFailure(_xml(case.result.message), case.result.type)
                flaky.stack_trace = _xml(case.result.text)
                member.append(flaky)  # type: ignore[no-untyped-call]
            elif case.result:
                result = kinds[case.result.kind](_xml(case.result.message), case.result.type)
                result.text = _xml(case.result.text)
                member.result = [result]
            if case.output:
                member.system_out = _xml(case.output)  # after the result: some readers drop what precedes it
            suite.append(member)  # type: ignore[no-untyped-call]  # `add_testcase` would count all members each time
        for fact, value in facts:
            suite.add_property(_distinct(_xml(fact), properties), _xml(value))
        # `add_testsuite` would merge suites of one name, and a mutation may have any name.
        xml.append(suite)  # type: ignore[no-untyped-call]
        suites.append(suite)
    xml.update_statistics()  # type: ignore[no-untyped-call]
    for suite in suites:
        # Codecov refuses a suite without any time, and 0 would be wrong: the step held all of its conversations.
        is_known = any(member.time is not None for member in suite)
        suite.time = round(suite.time if is_known else document.step.duration_seconds, 3)
    xml.time = max(suite.time for suite in suites)
    # The schema has this attribute for a suite, but not for the root.
    xml._elem.attrib.pop("skipped", None)  # noqa: SLF001
    text = xml.tostring()  # type: ignore[no-untyped-call]
    return (text.decode("utf-8") if isinstance(text, bytes) else str(text)) + "\n"


def _suites(document: Document) -> Iterator[tuple[str, Iterable[JUnitCase], Iterable[tuple[str, str]]]]:
    """Yield name, cases and properties of the suites of each leg, and of the step, unless only its legs have more."""
    for leg in document.judged:
        members: dict[str, list[SimulationFacts]] = defaultdict(list)
        for row in leg.simulations:
            members[row.variant].append(row)
        for variant in leg.variants:
            yield leg.named(f"simulations of {variant.variant}"), map(_simulation, members[variant.variant]), ()
        if len(document.legs) > 1:
            cases = [*_criteria(leg, passes=leg.passes)]
            is_about_step = (leg.verdict, leg.status, leg.reasons) == (
                document.verdict,
                document.status,
                document.reasons,
            )
            if not document.decided_by and is_about_step:
                # The step never came to this leg; a case of the step has the verdict.
                cases.append(JUnitCase(EVALUATION, _result("skipped", f"Not evaluated: {leg.reason}", "")))
            elif not _is_explained(leg, leg.verdict):
                cases.append(_evaluation(leg))
            facts = document.facts.items() if leg is document.legs[0] else ()  # in a suite that is always there
            yield leg.named(CRITERIA_SUITE), cases, (*facts, *_properties(leg))
    if len(document.legs) < 2:
        cases = [case for leg in document.legs for case in _criteria(leg, leg.named(""), passes=document.passes)]
        if not any(_is_explained(leg, document.verdict) for leg in document.legs):
            cases.append(_evaluation(document))
        properties = [fact for leg in document.legs for fact in _properties(leg)]
        yield CRITERIA_SUITE, cases, (*document.facts.items(), *properties)
    elif not document.decided_by:
        yield CRITERIA_SUITE, [_evaluation(document)], ()


def _distinct(name: str, seen: Counter[str]) -> str:
    """Return a name, with a number after it if it is among those seen before. Add it to them."""
    own = name
    while seen[own]:
        seen[name] += 1
        own = f"{name} ({seen[name]})"
    seen[own] += 1
    return own


def _simulation(row: SimulationFacts) -> JUnitCase:
    """Return the case of a simulation, named after its test case; the id in its text distinguishes namesakes."""
    result = None
    if row.is_known:
        result = _result("skipped", f"known: {row.known}", f"simulation {row.id}")
    elif row.verdict != "passed":
        misses = list(_misses(row))
        what = row.trouble or next(iter(misses), TARGET)
        stability = f"the test case is {row.stability_text}" if row.stability_text else ""
        cause = f"cause: {row.cause_text}" if row.cause_text else ""
        lines = [row.trouble, *misses, stability, cause, f"simulation {row.id}"]
        note = " (tolerated)" if row.verdict == "skipped" else ""
        # The simulation missed a threshold that is inconclusive itself: the threshold's own case reports that.
        tolerated = row.verdict == "inconclusive"
        message = row.with_cause(f"{what}{note}")
        result = _result(row.verdict, message, "\n".join(filter(None, lines)), tolerated=tolerated)
    elif row.failed_alone and row.stability_text:
        result = JUnitResult("flaky", "failed", row.stability_text, f"simulation {row.id}")
    output = "\n".join(line for line in (f"simulation {row.id}", row.url) if line)
    return JUnitCase(row.title, result, None if row.seconds is None else round(row.seconds, 3), output)


def _misses(row: SimulationFacts) -> Iterator[str]:
    for miss in row.misses:
        yield f"missed: {' – '.join(filter(None, (miss.text, miss.here)))}"
        if why := row.why(miss.metric_id):
            yield f"    {why}"
    if row.misses_left_out:
        yield f"… and {plural(row.misses_left_out, 'more criterion', 'more criteria')}"


def _criteria(leg: LegFacts, prefix: str = "", *, passes: bool) -> Iterator[JUnitCase]:
    for criterion in leg.criteria:
        text = "\n".join(filter(None, (criterion.reason, f"Actual: {criterion.actual_text}", criterion.moved_text)))
        tolerated = passes and criterion.verdict != "failed"
        result = _result(criterion.verdict, criterion.reason, text, tolerated=tolerated) if criterion.reason else None
        yield JUnitCase(f"{prefix}{criterion.title}", result, output=_compared(criterion))
    if more := leg.criteria_left_out:
        left_out = f"This report shows the gravest criteria; {more:,} more are left out."
        yield JUnitCase(f"… and {plural(more, 'more criterion', 'more criteria')}", _result("skipped", left_out, ""))


def _is_explained(leg: LegFacts, verdict: str | None) -> bool:
    """Return whether a criterion of the leg has the same verdict, so that a case for the verdict would repeat it."""
    return any(criterion.is_missed and criterion.verdict == verdict for criterion in leg.criteria)


def _evaluation(judged: Document | LegFacts) -> JUnitCase:
    """Return a case with a verdict that no criterion has."""
    if judged.verdict == "passed":
        return JUnitCase(EVALUATION)
    text = "\n".join(filter(None, (*judged.reasons, judged.advice, judged.link)))
    is_tolerated = judged.passes and judged.verdict not in (None, "skipped")
    result = _result(judged.verdict, judged.reason, text, tolerated=is_tolerated)
    return JUnitCase(EVALUATION, result._replace(type=judged.verdict or judged.status.lower()))


def _compared(criterion: CriterionFacts) -> str:
    if not criterion.earlier_text:
        return ""
    lines = (
        f"{criterion.compared_with}: {criterion.earlier_text}",
        f"change: {criterion.difference_text}",
        criterion.shown_text,
        criterion.would_show_text,
    )
    return "\n".join(filter(None, lines))


def _result(verdict: str | None, message: str, text: str, *, tolerated: bool = False) -> JUnitResult:
    """Return the result of a case that did not pass; a `tolerated` one does not make the check red."""
    kind = "skipped" if tolerated else RESULT_KINDS.get(verdict, "error")
    # Some readers ignore an empty element.
    return JUnitResult(kind, verdict or "none", one_line(message), text or message)


def _properties(leg: LegFacts) -> Iterator[tuple[str, str]]:
    """Yield facts and, as the schema has no properties for cases, the criteria's numbers.

    Some readers merge the properties of all suites, so those of a leg have its name.
    """
    runs = " ".join(run.id for run in leg.runs) if len(leg.runs) > 1 else ""
    run_facts = {"url": leg.run.url, "causes": leg.causes_text, "runs": runs}
    facts = [*leg.facts.items(), *((name, value) for name, value in run_facts.items() if value)]
    for case in leg.failing_cases:
        variant = "" if case.variant == ITSELF else f" [{case.variant}]"
        figures = f"{case.stability}, failed {case.failed:,} of {case.total:,}"
        facts.append((f"stability of {shortened(case.name, LONGEST_MENTION)}{variant}", figures))
    for place, criterion in enumerate(leg.criteria, start=1):
        title = criterion.title
        # Up to nine properties repeat the name.
        name = title if len(title) <= LONGEST_MENTION else f"{shortened(title, LONGEST_MENTION)} ({place})"
        facts += [(f"{name}: {fact}", text) for fact, text in _numbers(criterion)]
    yield from ((leg.named(name), value) for name, value in facts)


def _numbers(criterion: CriterionFacts) -> Iterator[tuple[str, str]]:
    if criterion.actual is None:
        return
    yield "actual", _shown(criterion.actual)
    if criterion.bound is not None:
        yield "required", f"{criterion.operator} {_shown(criterion.bound)}"
        yield "margin", _shown(criterion.margin)
    if criterion.earlier_text:
        yield "baseline", _shown(criterion.baseline_value)
        yield "change", _shown(criterion.change)
        if criterion.change_confidence is not None:
            yield from _bounds("change, ", criterion.change_lower, criterion.change_upper, criterion.change_confidence)
        if criterion.trend:
            yield "trend", criterion.trend
        yield "shared test cases", str(criterion.shared_test_cases)
    if criterion.confidence is not None:
        yield from _bounds("", criterion.lower, criterion.upper, criterion.confidence)
    yield from (("unit", criterion.unit or ""), ("count", str(criterion.count)), ("missing", str(criterion.missing)))


def _bounds(of: str, *bounds: float | None) -> Iterator[tuple[str, str]]:
    for name, bound in zip(("lower", "upper", "confidence"), bounds, strict=True):
        yield f"{of}{name}", _shown(bound)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value + 0.0:.10g}"  # 0, not -0


def _xml(text: str) -> str:
    return NOT_IN_XML.sub("", text)
