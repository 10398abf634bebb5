"""A history judges each run as counted, and lines up its conversations by test case."""

from collections.abc import Callable, Sequence
from json import loads
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from baselines import also, answered, both, run_of
from coval_gate.base.text import day_at
from coval_gate.coval.model import COMPLETED, Run, RunResult, Target
from coval_gate.features.known_failures.entries import KnownFailure
from coval_gate.features.nights.compose import LegPast, history_document
from coval_gate.features.nights.document import HistoryDocument, HistoryLeg
from coval_gate.features.nights.formats import json, log_lines, summary
from coval_gate.features.nights.page import render, timeline
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.measure import BaselineRun
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.markdown import utf8_size
from histories import HOME, history, history_run
from hostile import HOSTILE

CASES = ("a", "b")
ROOT = Path(__file__).resolve().parents[2]


def made(thresholds: str, *results: RunResult | None, several: bool = False, **criteria: Any) -> HistoryDocument:
    """Return the history of such runs, the oldest first; None: one that was not read."""
    own = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), **criteria)
    runs = [history_run(nth) for nth in range(len(results))]
    read = {
        run.id: BaselineRun(Run(run.id, COMPLETED), result) for run, result in zip(runs, results, strict=True) if result
    }
    leg = LegPast("booking", "Booking", own, runs, read, {"a": "Angry caller"}, has_pages=True)
    legs = [leg, leg._replace(name="other", runs=[])] if several else [leg]
    return history_document(legs, "The newest runs", "", "2026-12-31", HOME)


def leg(thresholds: str, *results: RunResult | None, **criteria: Any) -> HistoryLeg:
    return made(thresholds, *results, **criteria).legs[0]


def met(shown: HistoryLeg) -> dict[str, list[int | None]]:
    """Return by test case how many of its conversations met in each run."""
    return {case.id: [cell.met if cell else None for cell in case.cells] for case in shown.cases}


@pytest.mark.parametrize(
    ("threshold", "first", "second"),
    [
        ("Resolved: rate(YES) >= 50%", 1, 0),
        ("Resolved: rate(NO) <= 50%", 1, 0),
        ("Resolved: count(NO) == 0", 1, 0),
        ("Resolved: rate(YES) == 100%", 1, 0),
        ("Resolved: rate(NO) == 0%", 1, 0),
        ("Resolved: rate(YES) == 50%", 1, 1),
        ("Resolved: count(YES) != 5", 1, 1),
        ("Resolved: rate(YES) >= baseline - 5pp", 1, 0),
        ("Latency: p(95) < 1.5", 1, 0),
        ("Latency: max < 1.5", 1, 0),
        ("Latency: med < 1.5", 1, 0),
        ("Latency: p(95) <= baseline", 1, 1),
        ("Latency: avg < 0.5", 1, 1),
        ("? Resolved: count(NO) == 0", 1, 1),
        ("total >= 1", 1, 1),
        ("", 1, 1),
    ],
)
def test_conversation_meets_what_is_about_single_conversations(threshold: str, first: int, second: int) -> None:
    """The first test case has YES and 1 s, the second NO and 2 s."""
    assert met(leg(threshold, answered("run0", "YN", CASES))) == {"a": [first], "b": [second]}


@pytest.mark.parametrize("threshold", ["Resolved: rate(YES) == 100%", "Resolved: count(NO) == 0"])
def test_conversations_meet_an_exact_threshold_that_the_run_meets(threshold: str) -> None:
    assert met(leg(threshold, answered("run0", "YY", CASES))) == {"a": [1], "b": [1]}


def test_simulation_that_did_not_complete_or_misses_its_target_is_not_met() -> None:
    shown = leg("", answered("run0", "YX", CASES))
    assert met(shown) == {"a": [1], "b": [0]}
    at_target = answered("run0", "YN", CASES, target=Target("in", values=("YES",)))
    assert met(leg("", at_target, use_metric_targets=True)) == {"a": [1], "b": [0]}
    assert met(leg("pass_rate >= 50%", at_target)) == {"a": [1], "b": [0]}


def test_conversations_without_a_test_case_have_a_row_with_a_name() -> None:
    (case,) = leg("Resolved: rate(YES) >= 50%", answered("run0", "N", ("",))).cases
    assert (case.title, case.signs) == ("conversations without a test case", "✗")


def test_run_without_a_value_for_a_threshold_that_decides_is_gray() -> None:
    """It is not known which of its conversations meet the threshold, so none does."""
    shown = leg("Resolved: rate(YES) >= 50%", answered("run0", "YN", CASES), run_of("run1", {"a": [1.0]}, name="Other"))
    assert met(shown) == {"a": [1, None], "b": [0, None]}
    first, second = shown.thresholds[0].values
    assert first is not None
    assert (first.value, first.text, first.met, second) == (0.5, "50% (1 of 2)", True, None)
    advisory = leg("? Resolved: rate(YES) >= 50%", run_of("run1", {"a": [1.0]}, name="Other"))
    assert met(advisory) == {"a": [1]}
    (value,) = advisory.thresholds[0].values
    assert value is not None
    assert (value.value, value.met) == (None, None)
    assert value.text


def test_value_that_compares_has_no_mark() -> None:
    shown = leg("Latency: avg <= baseline * 1.1\nLatency: avg <= 2", answered("run0", "YN", CASES), None)
    compared, absolute = shown.thresholds
    assert [value and (value.value, value.met) for value in compared.values] == [(1.5, None), None]
    assert [value and (value.value, value.met) for value in absolute.values] == [(1.5, True), None]
    assert (compared.bound, compared.required) == (None, "<= baseline * 1.1")
    assert (absolute.bound, absolute.required) == (2.0, "<= 2")


def test_texts_of_other_runs_are_possible_values() -> None:
    """A night on which all failed is no misspelt threshold."""
    shown = leg("Resolved: rate(YES) >= 50%", answered("run0", "YY", CASES), answered("run1", "NN", CASES))
    assert [value and value.met for value in shown.thresholds[0].values] == [True, False]


def test_each_mutation_has_rows_of_its_own() -> None:
    run = both(run_of("run1", {"a": ["YES"]}), run_of("run1", {"a": ["NO"]}, mutation="rude"))
    shown = leg("Resolved: rate(YES) >= 50%", run_of("run0", {"a": ["YES"]}), run)
    assert [(case.name, case.failed_text) for case in shown.cases] == [
        ("Angry caller [rude]", "1 of 1 run"),
        ("Angry caller", "0 of 2 runs"),
    ]
    assert [(one.name, one.variant) for one in shown.thresholds] == [
        ("Resolved: rate(YES) >= 50%", ""),
        ("Resolved: rate(YES) >= 50% [rude]", "rude"),
    ]


@pytest.mark.parametrize(
    ("nights", "signs", "failed", "is_flipping", "excusable"),
    [
        (("YYY", "YYN", "YNN", "NNN", "NNN"), "✓✓✗✗✗", 3, True, True),
        (("YYY", "YYY", "YYY", "YYY", "YYY"), "✓✓✓✓✓", 0, False, False),
        (("NNN", "NNN"), "✗✗", 2, False, False),
        (("NNN", "NNN", "NNN"), "✗✗✗", 3, False, True),
        (("NNN", "NNN", "NNN", "YYY", "YYY", "YYY"), "✗✗✗✓✓✓", 3, True, False),
        (("YN", "NN", None, "NY", "YY"), "✗✗·✗✓", 3, False, True),
        (("YN", "NN", None, "NY", "YY", "NN"), "✗✗·✗✓✗", 4, True, True),
    ],
)
def test_case_has_failed_where_at_most_half_of_its_conversations_met(
    nights: Sequence[str | None], signs: str, failed: int, is_flipping: bool, excusable: bool
) -> None:
    results = [night and answered(f"run{nth}", night, "a" * len(night)) for nth, night in enumerate(nights)]
    document = made("Resolved: rate(YES) >= 10%", *(one or None for one in results))
    (case,) = document.legs[0].cases
    assert (case.signs, case.failed, case.is_flipping) == (signs, failed, is_flipping)
    assert ("test_case: a" in document.known_failures) is excusable


def test_cell_leads_to_a_conversation_that_did_not_meet() -> None:
    shown = leg("Resolved: rate(YES) >= 50%", answered("run0", "YNY", "aab"))
    (missed,), (passed,) = (case.cells for case in shown.cases)
    assert missed
    assert passed
    assert (missed.conversations, missed.url) == (2, f"{HOME}/runs/{shown.runs[0].id}/results/run0.1")
    assert passed.url.endswith("/results/run0.2")


def test_known_failures_are_ready_to_paste_but_for_the_reason() -> None:
    """At most a tenth of the test cases, or one of fewer than ten, and the metric if it is one."""
    nights = [answered(f"run{nth}", "NNNY", "abcd") for nth in range(3)]
    assert made("Resolved: rate(YES) >= 50%", *nights).known_failures.splitlines() == [
        "known_failures:",
        "  - test_case: a  # Angry caller: failed in 3 of 3 runs",
        '    metric: "Resolved"',
        "    reason:",
        "    until: 2026-12-31",
        "  # At most a tenth of the test cases may be excused: 2 more failed as often.",
    ]
    slow = made("Resolved: rate(YES) >= 50%\nLatency: max < 1.5", *nights, several=True)
    assert slow.known_failures.splitlines()[2:4] == ['    leg: "booking"', "    reason:"]
    odd = [run_of(f"run{nth}", {'x "y': ["NO"]}) for nth in range(3)]
    assert made("Resolved: rate(YES) >= 50%", *odd).known_failures == "", "no entry may name it"
    assert made("Resolved: rate(YES) >= 50%", *nights[:2]).known_failures == ""


def test_known_failure_is_shown_and_counts_in_no_threshold() -> None:
    known = KnownFailure("a", "vendor ticket 4711", day_at(0.0), metric="Resolved")
    nights = [answered(f"run{nth}", "NNY", "abc") for nth in range(3)]
    document = made("Resolved: rate(YES) >= 50%", *nights, known=(known,))
    (shown,) = document.legs
    assert [(case.id, case.signs, case.known) for case in shown.cases] == [
        ("a", "✗✗✗", "vendor ticket 4711"),
        ("b", "✗✗✗", ""),
        ("c", "✓✓✓", ""),
    ]
    assert [value and (value.value, value.met) for value in shown.thresholds[0].values] == [(0.5, True)] * 3
    assert document.known_failures == "", "no further test case may be excused"


def test_metric_of_several_names_is_not_counted() -> None:
    twice = also(run_of("run0", {"a": ["YES"]}), run_of("run0", {"a": ["YES"]}, metric_id="n"))
    shown = leg("Resolved: rate(YES) >= 50%", twice)
    assert (met(shown), shown.thresholds[0].values) == ({}, [None])


def test_log_and_summary_as_text(golden: Callable[[str, str], None]) -> None:
    golden("history/log.txt", "\n".join(log_lines(history())) + "\n")
    golden("history/summary.md", summary(history()))
    assert HistoryDocument.model_validate_json(json(history())) == history()
    schema = loads((ROOT / "docs" / "history.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(loads(json(history())))


@pytest.mark.parametrize(
    ("threshold", "values"),
    [
        ("Latency: avg < 1.2", ("1", "1.5")),
        ("Resolved: rate(YES) >= 60%", ("100% (2 of 2)", "50% (1 of 2)")),
        ("pass_rate >= 60%", ("100% (2 of 2)", "50% (1 of 2)")),
    ],
)
def test_rate_has_a_column_and_a_plot_as_an_average_has(threshold: str, values: tuple[str, str]) -> None:
    target = Target("in", values=("YES",))
    document = made(
        threshold, *(answered(f"run{nth}", text, CASES, target=target) for nth, text in enumerate(["YY", "YN"]))
    )
    shown = [f"✓ {values[0]}", f"✗ {values[1]}"]
    for text in ("\n".join(log_lines(document)), summary(document), render(document)):
        assert [one in text for one in shown] == [True, True], text
    (one,) = document.legs[0].thresholds
    line = timeline(one, document.legs[0].runs)
    assert line
    assert [(dot.missed, values[place] in dot.text) for place, dot in enumerate(line.dots)] == [
        (False, True),
        (True, True),
    ]
    assert line.bound is not None


@pytest.mark.parametrize(
    ("threshold", "nights", "expected"),
    [
        ("rate(YES) >= 60%", ("YY", "YN"), "The newest run, of 2026-11-24, misses Resolved: rate(YES) >= 60%."),
        ("rate(YES) >= 60%", ("YY",), "The newest run, of 2026-11-23, misses no threshold with a number."),
        ("rate(YES) >= 60%", ("YY", None), "The newest run, of 2026-11-24, has no values."),
        ("rate(YES) >= baseline", ("YY",), ""),
    ],
)
def test_newest_run_is_summed_up(threshold: str, nights: tuple[str | None, ...], expected: str) -> None:
    results = [answered(f"run{nth}", text, CASES) if text else None for nth, text in enumerate(nights)]
    worst = " b failed most often: in 1 of 2 runs." if "YN" in nights else ""
    assert leg(f"Resolved: {threshold}", *results).newest_text == expected + worst


def test_metric_that_the_newest_run_lacks_is_no_threshold_that_it_meets() -> None:
    newest = run_of("run0", {"a": [1.0]}, name="Other")
    shown = leg("Other: avg < 2\nResolved: rate(YES) >= 60%", newest)
    assert shown.newest_text == "The newest run, of 2026-11-23, has no value for Resolved: rate(YES) >= 60%."


def test_log_shows_the_first_test_cases() -> None:
    many = answered("run0", "N" * 23, "abcdefghijklmnopqrstuvw")
    assert "  … and 3 more test cases" in [*log_lines(made("Resolved: rate(YES) >= 50%", many))]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text(text: str) -> None:
    plain = history()
    (first, *others), empty = plain.legs[0].cases, plain.legs[1]
    shown = plain.legs[0].model_copy(
        update={"title": text, "cases": [first.model_copy(update={"title": text}), *others]}
    )
    hostile = HistoryDocument.model_validate(plain.model_copy(update={"legs": [shown, empty]}).model_dump())
    lines = [*log_lines(hostile)]
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len([*log_lines(plain)])
    assert len(summary(hostile).splitlines()) == len(summary(plain).splitlines())


def test_summary_keeps_to_its_limit() -> None:
    plain = history()
    runs = [plain.legs[0].runs[0].model_copy(update={"unread": "x" * 500})] * 100
    series = [one.model_copy(update={"values": [None] * 100}) for one in plain.legs[0].thresholds]
    full = plain.legs[0].model_copy(update={"runs": runs, "thresholds": series})
    text = summary(plain.model_copy(update={"legs": [full] * 100}))
    assert 500_000 < utf8_size(text) <= 1024 * 1024
