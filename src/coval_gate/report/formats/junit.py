"""The step as a JUnit report, which most tools that show test results can read.

The agent and each of its mutations are a suite with a case for each simulation; a suite of its own holds the gate's
criteria, and there is always at least one case, whatever became of the step. What a case says keeps to the words of
the format: a `failure` is about the agent, an `error` about anything else, `skipped` is what does not count.

Source: the schema of Jenkins' xUnit plugin (junit-10.xsd), the strictest of those in use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from coval_gate.judge.verdict import Verdict
from coval_gate.report.metrics import variant_key
from coval_gate.report.provenance import provenance
from coval_gate.report.simulations import cases
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coval_gate.judge.verdict import Check, Judgement
    from coval_gate.report.model import Report
    from coval_gate.report.simulations import Case

NAME: Final = "Coval Gate"
# All that XML 1.0 allows (its production 2, Char); anything else makes the whole file unreadable.
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


def junit(report: Report) -> str:
    """The report as an XML document."""
    document = JUnitXml(NAME)  # its add_testsuite would merge suites of one name, and a mutation may have any
    found = cases(report)
    for variant in report.result.variants if report.result else ():
        members = (case for case in found if case.simulation.mutation == variant)
        document.append(_suite(variant_key(variant), map(_case, members), report))  # type: ignore[no-untyped-call]
    gate = _suite("gate", _gate(report.judgement), report)
    document.append(gate)  # type: ignore[no-untyped-call]
    document.update_statistics()  # type: ignore[no-untyped-call]
    document.time = gate.time = round(report.seconds, 3)
    # The schema knows this attribute of a suite, but not of all of them together.
    document._elem.attrib.pop("skipped", None)  # noqa: SLF001
    text = document.tostring()  # type: ignore[no-untyped-call]
    return (text.decode("utf-8") if isinstance(text, bytes) else str(text)) + "\n"


def _suite(name: str, members: Iterable[TestCase], report: Report) -> TestSuite:
    suite = TestSuite(_xml(name))
    if report.began:
        suite.timestamp = report.began
    for key, value in provenance(report).items():
        suite.add_property(key, _xml(value))
    if report.run_url:
        suite.add_property("url", _xml(report.run_url))
    suite.add_testcases(list(members))
    return suite


def _case(case: Case) -> TestCase:
    """Known by its test case's name; the simulation's id tells two of one name apart where tools need it."""
    variant = variant_key(case.simulation.mutation)
    member = TestCase(_xml(case.title), classname=_xml(f"coval.{variant}"), time=0)
    member.system_out = _xml("\n".join(each for each in (f"simulation {case.simulation.id}", case.url) if each))
    if case.verdict is not Verdict.PASSED:
        misses = [check.asked for check in case.misses]
        what = case.trouble or (f"missed: {misses[0]}" if misses else "missed a target of its metrics")
        lines = [case.trouble, *(line for check in case.misses for line in _miss(check, case))]
        note = " (the gate allows for it)" if case.verdict is Verdict.SKIPPED else ""
        member.result = [_result(case.verdict, f"{what}{note}", "\n".join(filter(None, lines)))]
    return member


def _miss(check: Check, case: Case) -> Iterator[str]:
    yield f"missed: {check.asked}"
    if text := case.texts.get(check.metric):
        yield f"    {text}"


def _gate(judgement: Judgement) -> Iterator[TestCase]:
    """A case for each criterion, and one for the evaluation as a whole unless a criterion says what became of it."""
    for check in judgement.checks:
        whom = f" [{check.variant}]" if check.variant else ""
        member = TestCase(_xml(f"{check.asked}{whom}"), classname="coval.gate", time=0)
        if check.verdict is not Verdict.PASSED:
            member.result = [_result(check.verdict, check.reason, f"{check.reason}\nFound: {check.found}")]
        yield member
    if any(check.verdict is judgement.verdict is not Verdict.PASSED for check in judgement.checks):
        return
    member = TestCase("evaluation", classname="coval.gate", time=0)
    if judgement.verdict is not Verdict.PASSED:
        told = "\n".join(each for each in (*judgement.reasons, judgement.advice, judgement.link) if each)
        result = _result(judgement.verdict, judgement.reason, told)
        result.type = judgement.verdict or judgement.status.lower()
        member.result = [result]
    yield member


def _result(verdict: Verdict | None, message: str, text: str) -> Failure | Error | Skipped:
    result: Failure | Error | Skipped = KINDS[verdict](_xml(one_line(message)), verdict or "none")
    result.text = _xml(text or message)  # some readers overlook an element that is empty
    return result


def _xml(text: str) -> str:
    return FORBIDDEN.sub("", text)
