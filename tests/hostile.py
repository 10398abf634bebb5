"""Hostile texts, and reports that contain them."""

import json
from dataclasses import replace
from typing import Final

from baselines import DASHBOARD, ran
from coval_gate.base.errors import GateError
from coval_gate.base.text import day_at, one_line, quoted, value_text
from coval_gate.ci.host import Context
from coval_gate.coval.model import (
    COMPLETED,
    Details,
    Metric,
    Run,
    RunResult,
    Simulation,
    Summary,
    Target,
    Turn,
)
from coval_gate.coval.results import read_run, read_value
from coval_gate.features.comparisons.problems import no_baseline, not_in_baseline
from coval_gate.features.known_failures.entries import KnownFailure
from coval_gate.features.known_failures.judge import KnownCase
from coval_gate.gate.checks import Check, Criterion, Problem
from coval_gate.gate.criteria import TargetMet, ThresholdHolds
from coval_gate.gate.judgement import Judgement, errored, with_checks
from coval_gate.gate.measure import (
    Baseline,
    BaselineRun,
    Comparison,
    Interval,
    LeftOut,
    Measure,
    NotFoundReason,
    Totals,
)
from coval_gate.gate.population import NO_ERROR_REPORTED, MetricPresent
from coval_gate.gate.problems import (
    ERROR_REPORTED,
    NO_NUMBERS,
    SEVERAL_METRICS,
    UNUSABLE_TARGET,
    cannot_occur,
    no_such_metric,
    no_such_value,
)
from coval_gate.gate.values import Vocabulary, target_problem
from coval_gate.gate.verdict import Cancellation, Completed, Verdict
from coval_gate.inputs.aggregates import Aggregate
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import Inputs, parse_inputs
from coval_gate.inputs.parsing import matrix_of
from coval_gate.inputs.thresholds import Bound, Threshold, forbidding
from coval_gate.report.document.model import LegReport, Report
from reports import GUIDE, RUN_URL, WORKFLOW_RUN, in_two_legs, repeated, simulation

RUN_ID: Final = "run0000000000000000001"
HARMLESS: Final = "plain"
PAYLOAD: Final = "<img src=x onerror=alert(1)> **b** [a](http://evil.example) @acme/team"
MARKER: Final = f"<!-- coval-gate {'0' * 24} -->"

NAMED: Final[dict[str, str]] = {
    # the log: workflow commands
    "command": "::error::x",
    "command set-output": "  ::set-output name=passed::true",
    "command after wide spaces": "\u2003\u3000\u00a0::set-output name=passed::true",
    "command after invisible characters": "\u200b\ufeff\u2060::add-path::/evil",
    "command after separators": "\x1c\x1d\x85::set-env name=PATH::/evil",
    "command after carriage return": "a\r::add-mask::a",
    "command after line break": "a\n::set-env name=PATH::/evil\nb",
    "command after line separator": "a\u2028::error::x\u2029::error::y",
    "command stop": "::STOP-commands::x",
    "command resume": "x\n::x::\n::error::y",
    "command escaped": "%0A::error::x%0D%0A::error::y%25",
    "command in old syntax": "all is well ##[error]x",
    "command of Azure": "##vso[task.complete result=Succeeded;]done",
    "command of TeamCity": "##teamcity[buildProblem description='x']",
    "title with properties": "a::b,title=c,file=d",
    # step outputs and state
    "output forged": "x\npassed=true",
    "output with delimiter": "x\nghadelimiter_x\npassed<<E\ntrue\nE",
    "output with carriage returns": "x\r\npassed=true\r\nverdict=passed\r",
    "output with equals sign": "=x<<y=z",
    # Markdown
    "table cells": "a | b || c |",
    "separate table": "a | b\n--- | ---\nc | d",
    "backtick": "`",
    "backticks": "a `b` ``c`` ```d```",
    "backticks, 80": "`" * 80 + PAYLOAD,  # cmark parses no code span with more than 80
    "backticks, 120": "`" * 120 + PAYLOAD,
    "fence": "```\n" + PAYLOAD + "\n```",
    "fence only": "`````",
    "fence with Mermaid diagram": '```mermaid\ngraph TD\nclick A "http://evil.example"\n```',
    "heading": "# heading",
    "underlined heading": "heading\n===\nheading\n---",
    "line of hyphens": "---",
    "line of equals signs": "===",
    "list": "- a\n* b\n+ c",
    "numbered list": "1. a\n2) b",
    "list marker only": "-",
    "number marker only": "1.",
    "task list": "- [ ] a\n- [x] b",
    "alert": "> [!CAUTION]\n> x",
    "emphasis": "**b** _i_ __u__ *c* ~~s~~ a_b_c ***",
    "link": "[a](http://evil.example)",
    "split link": "](http://evil.example) [b",
    "reference link": "[a]: http://evil.example 'x'\n\n[a] [a][] [b][a]",
    "image": "![i](http://evil.example/x.png)",
    "footnote": "a[^1]\n\n[^1]: b",
    "bare URLs": "http://evil.example www.evil.example ftp://evil.example mona@evil.example mailto:a@evil.example",
    "mentions": "@mona @acme/team",
    "issues": "#12 GH-12 acme/voice#3 acme/voice@0a1b2c3d",
    "emoji codes": ":+1: :smile: :a:b:",
    "formula": "$x$ $$y$$ $`z`$ \\(a\\)",
    "trailing backslash": "a\\",
    "backslashes before delimiters": "\\| \\` \\] \\< \\\\",
    "HTML image": "<img src=x onerror=alert(1)>",
    "script": "<script>alert(1)</script><style>*{display:none}</style>",
    "HTML end of table": "</td></tr></table><h1>x</h1>",
    "HTML end of details": "</summary></details><details open><summary>x",
    "HTML line break": "a<br>b<hr/>",
    "comment": "<!-- hidden",
    "comment with marker": MARKER,
    "end of comment": "--> x <!--",
    "entities": "&lt;b&gt; &#60;i&#62; &amp;amp; &copy &",
    "URLs in angle brackets": "<http://evil.example> <mona@evil.example>",
    # Unicode
    "invisible": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg",
    "bidirectional overrides": "\u202egnp.exe\u202c \u2066x\u2069 \u061c",
    "combining marks": "Z\u0351\u036b\u0343\u036a\u0302" * 40,
    "right to left": "שלום عالم",
    "wide": "電話 👩‍👩‍👧‍👦 🇩🇪 ①",
    "line separators": "a\x85b\u2028c\u2029d\x0be\x0cf\x1cg",
    "tags and private use": "a\U000e0041\ue000\U0010fffd",
    # XML
    "end of CDATA": "]]> <![CDATA[x]]>",
    "document type": '<!DOCTYPE x [<!ENTITY lol "lol">]><x>&lol;</x>',
    "processing instruction": "<?xml version='1.0'?><?php x ?>",
    "end of attribute": "\" '/><error message='x'/>",
    "control characters": "a\x00b\x01c\x08d\x0be\x1bf\x7fg\x9fh",
    "lone surrogates": "a\ud800b\udfffc",
    "noncharacters": "a\ufffeb\uffffc\U0001fffed",
    # JSON
    "quotes": '"a" \'b\' \\" \\u0022 \u2028',
    "JSON": '"},{"verdict":"passed","passed":true,"x":"',
    # URLs, paths, templates
    "javascript URL": "javascript:alert(1)",
    "URL with closing delimiters": "https://a.example/ b) \"c' <d>",
    "path": "../../etc/passwd /etc/passwd C:\\x %2e%2e/",
    "terminal": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "templates": "%s %d %(x)s {0} {x!r} {{7*7}} ${{ secrets.COVAL_API_KEY }} $HOME `id` $(id)",
    # sizes, and names of suites
    "empty": "",
    "whitespace": " \t\n\u2003 ",
    "only invisible characters": "\u200b\u2060\ufeff",
    "the word agent": "agent",
    "the word gate": "gate",
    "long and wide": "🦜" * 1000,
    "long and escaped": "<&`|@" * 300,
    "huge": "0123456789 " * 6_000,
    "huge, many lines": "- x\n" * 500,
}
HOSTILE: Final[list[str]] = list(NAMED.values())

EARLIER_ID: Final = "run00000000000000000000"  # of the baseline
EARLIER_URL: Final = f"{DASHBOARD}/runs/{EARLIER_ID}"
WELL: Final = tuple(f"well{number:02}" for number in range(10))  # simulations, enough for a chart


def _absent(metric: str, value: str) -> ThresholdHolds:
    return ThresholdHolds(threshold=forbidding(metric, value, "fail_on_metric_id"))


def report_of(text: str) -> Report:
    """Return a report in which all text from outside is `text`; ids and URLs are realistic.

    After its judgement, the step ended with an error that contains the text.
    """
    simulations, metrics = _simulations(text), _metrics(text)
    line = one_line(text)
    result = RunResult(run_id=RUN_ID, reported_error=text, simulations=simulations, metrics=metrics)
    judgement, run = _judgement(text, result), _run(text)
    leg = LegReport(
        judgement=judgement,
        runs=ran(RUN_ID, judgement.verdict, status=run.status, url=RUN_URL),
        dashboard_url=DASHBOARD,
        run=run,
        result=result,
        details=Details(
            labels={text: text, simulations[0].test_case_id: text},
            texts={
                simulation_id: {metric.id: text for metric in metrics} for simulation_id in ("ill", "mutant", "broken")
            },
        ),
    )
    return Report(
        judgement=_error(text),
        legs=(leg,),
        context=Context(
            repository=text,
            sha=line,  # reports show only its beginning
            actor=text,
            workflow=text,
            job=text,
            matrix=matrix_of({"key": text}),
            step=text,
            run_url=WORKFLOW_RUN,
            run_attempt=text,
            pull_request=7,
        ),
        inputs=_inputs(text),
        began="2026-01-01T00:00:00Z",
        seconds=3725.5,
    )


def _simulations(text: str) -> tuple[Simulation, ...]:
    mutation = text or "mutation"
    return (
        simulation("ill", test_case_id=text),
        simulation("broken", test_case_id=text, status=text, error=text),
        simulation("tolerated", status="FAILED"),
        simulation("below", test_case_id=text),
        *(simulation(simulation_id) for simulation_id in WELL),
        simulation("mutant", test_case_id=text, mutation=mutation),
        simulation("mutant-well", mutation=mutation),
    )


def _metrics(text: str) -> tuple[Metric, ...]:
    """Return metrics of texts, of numbers, of sets, and of nothing but statistics."""
    value = text if isinstance(read_value(text), str) else "x"  # a numeric text would be parsed as a number
    numbers = dict(zip(WELL, (1.0, 1.5, 2.0, 2.5, 2.5, 3.0, 3.0, 4.0, 5.0, 9.5), strict=True))
    sets = {
        "ill": frozenset({value, *(f"{number} {value}" for number in range(5))}),
        "well01": frozenset({f"0 {value}"}),
    }
    return (
        Metric(id=text or "texts", name=text, values={"ill": value, "mutant": value, "well00": f"not {value}"}),
        Metric(id=f"2 {text}", name=text, values={"ill": 11.5, "mutant": 0.25, **numbers}),
        Metric(id=f"3 {text}", name=text, values=sets),
        Metric(id=f"4 {text}", name=text, summary=Summary(mean=1.5, min=1.0, max=2.0)),
    )


def _judgement(text: str, result: RunResult) -> Judgement:
    first, second, third, _ = result.metrics
    threshold = Threshold(
        metric=text, aggregate=Aggregate("count", values=(text,)), operator="<=", bound=Bound(0.0), line=1, text=text
    )
    missed = Check(
        criterion=ThresholdHolds(threshold=threshold),
        verdict=Verdict.FAILED,
        measure=Measure(value=2, unit="simulations", count=16),
        metric=first.id,
        simulations=("ill", "mutant"),
    )
    mutation = next((member.mutation for member in result.simulations if member.mutation), text or "mutation")
    target = TargetMet(metric=text, target=Target(operator="in", values=(text, "x")))
    unknown = target_problem(Target(operator=text or "?"))
    present = MetricPresent(reference=text)
    never = no_such_value(text, (text,), Vocabulary(seen=(text,) * 9, allowed=(text,)))
    doubts: dict[Criterion, Problem] = {
        _absent(text, f"1 {text}"): never,
        present: no_such_metric(text, (text,), ""),
        MetricPresent(reference=f"2 {text}"): SEVERAL_METRICS.of(metric=quoted(f"2 {text}"), count="2", ids=text),
        missed.criterion: NO_NUMBERS.of(metric=text, samples=value_text(frozenset({text}))),
        target: UNUSABLE_TARGET.of(metric=text, trouble=unknown),
        _absent(text, "0"): cannot_occur(text, ("0", text), (text,) * 9),
    }
    checks = (
        missed,
        replace(missed, variant=mutation, several=True, metric=second.id, simulations=("mutant",)),
        replace(
            missed,
            criterion=replace(target, user_defined=False),
            verdict=Verdict.PASSED,
            metric=third.id,
            simulations=("below",),
        ),
        replace(missed, criterion=_absent(text, text), simulations=("ill",)),
        Check(criterion=NO_ERROR_REPORTED, verdict=Verdict.FAILED, problem=ERROR_REPORTED.of(words=text)),
        *_compared_checks(text, first, threshold, mutation),
        *(
            Check(
                criterion=criterion,
                verdict=Verdict.ERROR,
                problem=problem,
                variant="" if criterion is present else mutation,
                simulations=("broken",) if criterion is present else (),
            )
            for criterion, problem in doubts.items()
        ),
    )
    totals = Totals(total=16, completed=14, unpassed=("ill", "broken", "tolerated", "below", "mutant"))
    judgement = Judgement(Verdict.PASSED, COMPLETED, Completed(result=result), totals=totals)
    entry = KnownFailure(test_case=text, reason=text, until=day_at(0.0), metric=text, leg=text)
    known = (KnownCase(entry, ("tolerated",)), KnownCase(entry, ("ill",), passes=True))
    return with_checks(judgement._replace(baseline=_baseline(text, result), known=known), checks)


def _compared_checks(text: str, metric: Metric, threshold: Threshold, mutation: str) -> tuple[Check, ...]:
    """Return checks that compare with a baseline and with the agent itself, or cannot."""
    comparison = Comparison(
        value=0.75,
        count=16,
        cases=16,
        left_out=LeftOut(1, 2, 3, 4, 5),
        change=Interval(-0.5, 0.1, 0.95, 16),
        noticeable=0.25,
        newly_failing=(text, f"1 {text}"),
        newly_passing=(f"2 {text}",),
    )
    rate = threshold._replace(aggregate=Aggregate("rate", values=(text,)))
    earlier, agent = (rate._replace(bound=Bound(0.0, reference)) for reference in ("baseline", "base"))
    compared = Check(
        criterion=ThresholdHolds(threshold=earlier, confidence=0.95),
        verdict=Verdict.INCONCLUSIVE,
        measure=Measure(value=0.5, unit="share", count=16, comparison=comparison),
        metric=metric.id,
        simulations=("ill",),
    )
    gone = NotFoundReason(kind="unreadable", run_id=text, text=text)
    return (
        compared,
        replace(compared, criterion=ThresholdHolds(threshold=agent), variant=mutation, several=True),
        replace(
            compared,
            criterion=ThresholdHolds(threshold=earlier._replace(advisory=True)),
            measure=None,
            problem=no_baseline(BaselineSource(kind="tag", name=text), gone),
            simulations=(),
        ),
        replace(compared, measure=None, problem=not_in_baseline("metric", text, "baseline"), simulations=()),
    )


def _baseline(text: str, result: RunResult) -> Baseline:
    """Return a baseline of runs whose times and options are `text`."""
    run = BaselineRun(
        run=Run(run_id=EARLIER_ID, status="COMPLETED", create_time=text),
        result=result,
        changed_metrics=frozenset({result.metrics[0].id}),
        changed_options=(text,),
        unchecked=("persona",),
    )
    return Baseline(source=BaselineSource(kind="tag", name=text, last=6), runs=(run,) * 5, fewer_than_asked=1)


def _error(text: str) -> Judgement:
    line = one_line(text)  # advice has several lines, and no line starts with foreign text
    window = " ".join(text[:100].splitlines())
    advice = f"Look at this.\n- field: {line}\nline 1: expected\n    {window}\n    ^\nThen go on."
    cancellation = Cancellation(outcome="failed", run_id=RUN_ID, reason=line)
    return errored(GateError(text, f"First {text}", advice=advice, link=GUIDE))._replace(cancellation=cancellation)


def _run(text: str) -> Run:
    """Return the run; the parser refuses a status that is not a short plain text."""
    fields = {
        "run_id": RUN_ID,
        "error": text,
        "error_status": text,
        "metadata": {text: text},
        "results": {"output_ids": [text], "metrics": {text: {"metric_name": text}}},
    }
    try:
        return read_run(fields | {"status": text})
    except ValueError:
        return read_run(fields | {"status": "COMPLETED"})


def _inputs(text: str) -> Inputs:
    """Return inputs with hostile text in all free-text fields."""
    line = one_line(text, 200) or "x"
    inputs, _ = parse_inputs(
        {
            "INPUT_AGENT_ID": "agent00000000000000001",
            "INPUT_DASHBOARD_URL": DASHBOARD,
            "INPUT_DISPLAY_NAME": line,
            "INPUT_CREATED_BY": line,
            "INPUT_TAGS": json.dumps([line, "tag"]),
            "INPUT_METADATA": json.dumps({line: text[:5000]}),
            "INPUT_FAIL_ON_METRIC_ID": line,
            "INPUT_FAIL_ON_METRIC_VALUE": json.dumps(line, ensure_ascii=False),
            "INPUT_THRESHOLDS": f"{json.dumps(line, ensure_ascii=False)}: count({json.dumps(line)}) == 0",
            "INPUT_JUNIT_PATH": "reports/junit.xml",
            "INPUT_JSON_PATH": "reports/coval.json",
            "INPUT_HTML_PATH": "reports/coval.html",
            "INPUT_DIGEST_PATH": "reports/coval.md",
        }
    )
    return inputs


def report_with(text: str, *, in_legs: bool = False) -> Report:
    """Return such a report with all that a report may have, such as conversations.

    With `in_legs`, the run was repeated, too, and stands for two legs, whose names contain the text.
    """
    report = report_of(text)
    (leg,) = report.legs
    turns = tuple(Turn(role=role, text=text, start=1.0) for role in ("persona", "agent") for _ in range(9))
    details = leg.details._replace(transcripts=dict.fromkeys(("ill", "mutant"), turns))
    report = report._replace(legs=(leg._replace(details=details),))
    return in_two_legs(repeated(report), f"{text} one", f"{text} two") if in_legs else report
