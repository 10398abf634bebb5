"""The report in Bitbucket is one that Bitbucket takes, whatever the texts in it, and says what the step decided."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from coval_gate.ci.bitbucket import annotation_body, report_body
from coval_gate.ci.host import Context
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.formats.pages import MOST_ANNOTATIONS
from fake_bitbucket import ANNOTATION, REPORT, problem_with
from hostile import NAMED, example_reports, repeated, report_of
from rendering import page_of
from unit.test_formats import large_report

PAGE = "code_insights"
ID = re.compile("coval-gate-[0-9a-f]{24}")


@pytest.mark.long
def test_every_report_is_taken(subtests: pytest.Subtests) -> None:
    reports = example_reports() | {name: report_of(text) for name, text in NAMED.items()}
    reports |= {"repeated": repeated(report_of("x")), "large": large_report()}
    for name, report in reports.items():
        with subtests.test(name):
            for text in (page_of(report, PAGE), page_of(report, PAGE, brief=True)):
                body = report_body(text)
                assert problem_with(body, REPORT, {"PASSED", "FAILED", "PENDING"}) == ""
                assert len(body["data"]) <= 10
                assert ID.fullmatch(text.name)
                assert len(text.annotations) <= MOST_ANNOTATIONS
                shown = [body, *(annotation_body(one, "id") for one in text.annotations)]
                for one in shown[1:]:
                    assert problem_with(one, ANNOTATION, {"FAILED"}) == ""
                written = json.dumps(shown, ensure_ascii=False)
                assert written.encode(), "no lone surrogate"
                assert all(char.isprintable() or char == "\n" for part in _texts(shown) for char in part)


def _texts(shown: list[dict[str, Any]]) -> list[str]:
    return [value for body in shown for value in body.values() if isinstance(value, str)]


def test_result_is_green_only_if_the_step_is() -> None:
    for name, report in example_reports().items():
        result = report_body(page_of(report, PAGE))["result"]
        passes = report.judgement.lets_pass and report.judgement.verdict is not None
        assert (result == "PASSED") == passes, name
        assert (result == "PENDING") == (report.judgement.verdict is None), name


def test_id_distinguishes_steps_and_not_attempts() -> None:
    report = next(iter(example_reports().values()))

    def id_of(**fields: Any) -> str:
        context = Context(run_id="17", run_attempt="1")._replace(**fields)
        return page_of(report._replace(context=context), PAGE, brief=True).name

    same = [id_of(), id_of(run_attempt="2"), id_of(run_id="18", instance="{0}"), id_of(sha="a" * 40)]
    others = [id_of(step="1"), id_of(matrix=matrix_of({"region": "eu"}))]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 3
