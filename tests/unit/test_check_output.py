"""Pages of a host: the check run's conclusion, what a step's pages are known by, and where their links lead."""

from collections.abc import Callable
from typing import Any

import pytest

from browsing import legs_report, rich_report
from coval_gate.base.errors import GateError
from coval_gate.ci.github_pages import conclusion_of
from coval_gate.ci.host import Context, PageText
from coval_gate.coval.model import RunResult, Simulation
from coval_gate.gate.judgement import LAUNCH, UNFINISHED, errored
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import LegReport, Report
from hostile import HARMLESS, report_of
from readers import MarkdownPage
from rendering import composed, marker, page_of, summary
from reports import RUN_URL, example_reports, with_leg

EXPECTED = {
    Verdict.PASSED: "success",
    Verdict.FAILED: "failure",
    Verdict.INCONCLUSIVE: "failure",
    Verdict.ERROR: "failure",
    Verdict.TIMED_OUT: "timed_out",
    Verdict.CANCELLED: "cancelled",
    None: "",
}


def render(report: Report) -> PageText:
    return page_of(report, "check_run")


def brief(report: Report) -> PageText:
    return page_of(report, "check_run", brief=True)


def ended_with(verdict: Verdict, text: str = "why") -> Report:
    judgement = errored(GateError(text, text))._replace(verdict=verdict)
    return Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_url=RUN_URL),))


@pytest.mark.parametrize("verdict", EXPECTED)
def test_conclusion_is_one_of_github(verdict: Verdict | None) -> None:
    ended = ended_with(verdict) if verdict else Report(judgement=LAUNCH)
    conclusion = conclusion_of(render(ended))
    assert conclusion == EXPECTED[verdict]


def test_doubt_that_passes_is_neutral() -> None:
    ended = ended_with(Verdict.INCONCLUSIVE)
    tolerated = ended._replace(judgement=ended.judgement._replace(inconclusive_passes=True))
    assert tolerated.judgement.lets_pass
    assert conclusion_of(render(tolerated)) == "neutral"
    assert render(tolerated).title.startswith("❔ Inconclusive (passes): ")


def test_short_check_runs_match_golden_file(golden: Callable[[str, str], None]) -> None:
    """The post step sets such a one, and so does the launch."""
    texts = []
    for name, example in example_reports().items():
        if example.judgement.verdict is Verdict.SKIPPED:  # has no check run
            continue
        page_text = brief(example)
        texts.append(
            f"# {name}\n{conclusion_of(page_text) or 'in progress'}\n{page_text.title}\n    {page_text.summary}\n"
        )
    golden("check_runs.txt", "\n".join(texts))


def test_id_distinguishes_steps_and_not_attempts() -> None:
    report = next(iter(example_reports().values()))

    def id_of(**fields: Any) -> str:
        context = Context(run_id="17", run_attempt="1")._replace(**fields)
        return page_of(report._replace(context=context), "code_insights", brief=True).name

    same = [id_of(), id_of(run_attempt="2"), id_of(run_id="18", instance="{0}"), id_of(sha="a" * 40)]
    others = [id_of(step="1"), id_of(matrix=matrix_of({"region": "eu"}))]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 3


def test_id_is_percent_encoded_in_url() -> None:
    report = report_of(HARMLESS)
    simulations = (Simulation(id="a)/../?b#<c>|%", status="FAILED"),)
    page = MarkdownPage(summary(with_leg(report, result=RunResult(run_id="r1", simulations=simulations))))
    assert f"{RUN_URL}/results/a%29%2F..%2F%3Fb%23%3Cc%3E%7C%25" in page.urls


def marker_of(context: Context, **inputs: str) -> str:
    """Return the marker of a step's comment."""
    given, _ = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})
    return marker(Report(judgement=UNFINISHED, context=context, inputs=given))


def test_comment_marker_depends_on_step_and_not_on_attempt() -> None:
    context = report_of(HARMLESS).context
    here = marker_of(context, agent_id="a1")
    assert marker_of(context._replace(run_attempt="2", sha="f" * 40, actor="other"), agent_id="a1") == here
    others = [
        marker_of(context._replace(workflow="other"), agent_id="a1"),
        marker_of(context._replace(job="other"), agent_id="a1"),
        marker_of(context._replace(step="other"), agent_id="a1"),
        marker_of(context, agent_id="a2"),
        marker_of(context, agent_id="a1", mutation_id="m1"),
    ]
    assert len({here, *others}) == 6


def test_links_name_their_legs_and_lead_to_the_html_report() -> None:
    report = legs_report()
    home = "https://github.com/acme/voice-agent/actions/runs/7"
    inputs = parse_inputs({"INPUT_HTML_PATH": "report.html"})[0]
    context = report.context._replace(run_url=f"{home}/attempts/2", artifacts_url=f"{home}#artifacts")

    def links(shown: Report) -> dict[str, str]:
        return {link.text: link.url for link in composed(shown).links}

    shown = links(report._replace(inputs=inputs, context=context))
    assert shown["HTML report (if the workflow uploads it)"] == f"{home}#artifacts"
    assert "Open Booking line (run3)" in shown
    assert not any(url.endswith("#artifacts") for url in links(report._replace(context=context)).values())


def test_comment_of_a_template_is_the_same_before_the_launch_and_after_it() -> None:
    inputs = parse_inputs({"INPUT_RUN_TEMPLATE_ID": "template1"})[0]
    judged = rich_report()._replace(inputs=inputs)
    assert judged.legs[0].run is not None
    assert marker(judged) == marker(judged._replace(legs=()))
    assert marker(judged) != marker(judged._replace(inputs=inputs._replace(run_template_id="template2")))
