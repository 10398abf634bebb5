"""The planner, and the gate before the launch, compute how many test cases a threshold needs to be decided."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from baselines import compared, only
from coval_gate.coval.model import Value
from coval_gate.features.comparisons.words import cases_to_compare
from coval_gate.features.confidence.bounds import needed
from coval_gate.features.planning.decidable import (
    Fall,
    chance_texts,
    drawn,
    power_texts,
    red_by_chance,
    undecidable_texts,
)
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.statistics import FEWEST_CASES, POWER
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_planner import tables
from coval_planner.__main__ import main, split_entries
from coval_planner.passing import cases_to_pass, chances, fewest_misses, most_misses
from coval_planner.power import Agents, Level, cases_to_decide, chance

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "planning.md"
TWENTY = DOCS / "twenty-test-cases.md"
PLANS = (
    ["Resolved: rate(YES) >= 90%"],
    ["Resolved: rate(YES) >= 90%", "--confidence", "97.5%", "--truth", "97%", "--count", "120"],
    ["Latency: p(95) < 1.5"],
    ["pass_rate >= 100%"],
    ["Latency: avg < 1.2"],
    ["Latency: max < 5"],
    ["Rude: count(YES) == 0"],
    ["Resolved: rate(YES) >= baseline - 5pp", "--before", "95%", "--truth", "70%"],
    ["Latency: avg <= baseline * 1.1", "--before", "1.2", "--truth", "1.56", "--spread", "0.6"],
    ["Resolved: rate(YES) >= baseline - 5pp"],
    ["Latency: p(95) <= baseline"],
    ["Resolved: rate(YES) == baseline"],
    ["Resolved: worst(YES) > 0%"],
    ["Resolved: worst(YES) >= 50%", "--truth", "80%", "--count", "20"],
)


@pytest.mark.long
def test_plans(capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    text = ""
    for arguments in PLANS:
        main(arguments)
        text += f"$ plan {' '.join(arguments)}\n\n{capsys.readouterr().out}\n\n"
    golden("plans.txt", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Resolved: rate(YES) >> 90%"], "expected"),
        (["pass_rate >= 90%\npass_rate >= 80%"], "must be one threshold"),
        (["pass_rate >= 90%", "--confidence", "50%"], 'must be a percentage from 60% to 99.9%; got "50%".'),
        (["pass_rate >= 90%", "--truth", "nan"], "must be a share such as 95% or 0.95, or a number; got 'nan'"),
        (["pass_rate >= 90%", "--before", "95%"], "--before and --spread need a threshold with a baseline"),
        (["pass_rate >= 90%", "--count", "0"], "must be a whole number from 1 to 100000; got '0'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", []),
        (' "Tone: friendly": avg >= 4 --truth 4.2 ', ['"Tone: friendly": avg >= 4', "--truth", "4.2"]),
        ("pass_rate >= $(id) --count '20'", ["pass_rate >= $(id)", "--count", "20"]),
    ],
)
def test_threshold_in_make_plan_ends_before_the_options(text: str, arguments: list[str]) -> None:
    assert split_entries(text) == arguments


def block(name: str, page: Path = PAGE) -> str:
    text = page.read_text(encoding="utf-8")
    return text.partition(f"<!-- begin {name} -->\n\n")[2].partition(f"\n\n<!-- end {name} -->")[0]


def test_page_has_rows_of_rates_that_are_simulated() -> None:
    """scripts/render.py writes the tables that take no time."""
    lines = block("rates").splitlines()
    assert lines[:2] == tables.rates(()).splitlines()
    (shown,) = tables.rates((0.99,), (0.3,)).splitlines()[2:]
    assert lines[2].startswith("| 99% | ")
    assert lines[2].endswith(shown.removeprefix("| 99%"))


@pytest.mark.long
def test_page_has_table_of_twenty_test_cases_that_is_simulated() -> None:
    assert block("twenty", TWENTY) == tables.twenty()


@pytest.mark.long
def test_page_has_numbers_of_test_cases_that_are_just_enough() -> None:
    """To search them all would take minutes."""
    (threshold,) = parse_thresholds(tables.RATE)
    rows = [line.split("|")[2:-1] for line in block("rates").splitlines()[2:]]
    for before, row in zip(tables.RATES_BEFORE, rows, strict=True):
        for drop, cases in zip(tables.DROPS, row, strict=True):
            agents = Agents(before, before - drop, tables.ICC)
            share = chance(threshold, agents, int(cases), Level(tables.CONFIDENCE), Random(tables.SEED))
            assert POWER <= share < POWER + 0.05, (before, drop)


def test_twenty_test_cases_are_red_as_often_as_their_page_says() -> None:
    rows = [f"| {' | '.join(row)} |" for row in tables.counted_rows()]
    assert block("twenty", TWENTY).splitlines()[2 : 2 + len(rows)] == rows
    assert tables.red_as_counted(0.9, 1) == pytest.approx(0.3231, abs=1e-4), "at most 17 of 20, binomial"
    rng = Random(1)
    runs = [[drawn(Fall(0.8, 0.8, iterations=3), rng) for _ in range(20)] for _ in range(2_000)]
    often = sum(sum(pair.now.hits for pair in run) < 54 for run in runs) / len(runs)
    assert tables.red_as_counted(0.8, 3) == pytest.approx(often, abs=0.03)


@pytest.mark.parametrize(
    ("line", "runs", "moves", "ends"),
    [
        ("m: rate(YES) >= baseline - 5pp", 1, "falls from 95% to 85%", "; with 3 earlier runs, in about "),
        ("m: rate(NO) <= baseline + 5pp", 7, "rises from 5% to 15%", "if whole test cases break."),
    ],
)
def test_plan_shows_how_often_both_ways_to_get_worse_are_red(line: str, runs: int, moves: str, ends: str) -> None:
    gate = f"{line}\nm: rate(YES) >= 90%\n? {line}\nn: avg <= baseline\nm: count(YES) >= 1"
    criteria = Criteria(
        max_failed=Allowance(0), thresholds=parse_thresholds(gate), confidence=0.95, iterations=3, baseline_runs=runs
    )
    (text,) = power_texts(criteria, 20, Random(1))
    (weaker, broken, *_) = (int(share) for share in re.findall(r"about (\d+)%", text))
    assert moves in text
    assert ends in text
    assert 30 < weaker < 100
    assert broken < weaker
    assert [*power_texts(criteria, 101, Random(1))] == []


def test_plan_shows_how_often_a_bound_on_every_test_case_is_red_by_chance() -> None:
    gate = "m: worst(YES) > 0%\nm: rate(YES) >= 90%\n? m: worst(YES) >= 50%"
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(gate), iterations=3)
    (text,) = chance_texts(criteria, 50)
    assert text == (
        "With 50 test cases and 3 conversations of each, m: worst(YES) > 0% is red in 4.9% of runs if every test case "
        "succeeds in 90% of its conversations, and in 0.6% if in 95%."
    )
    (text,) = chance_texts(replace(criteria, mutations=1), 25)
    assert " 4.9% of runs" in text, "each variant is judged apart"
    rows = [row.strip(" |").split(" | ") for row in block("worst").splitlines()]
    assert rows[0][3] == "×3"
    assert [row[3] for row in rows[2:] if row[1] == "50"] == ["4.9%", "0.6%"]


def test_chance_of_a_lost_test_case_agrees_with_drawn_runs() -> None:
    (threshold,) = parse_thresholds("m: worst(YES) >= 50%")
    drawn = Random(1)
    runs = [min(sum(drawn.random() < 0.8 for _ in range(3)) / 3 for _ in range(20)) for _ in range(4_000)]
    often = sum(not threshold.holds(lowest) for lowest in runs) / len(runs)
    assert red_by_chance(threshold, 0.8, 20, 3) == pytest.approx(often, abs=0.03)


def test_page_shows_what_the_planner_computes(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (sample,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    first, *_, last = re.findall(r'make plan INPUTS="(.*)"', text)
    main(split_entries(first))
    assert f"\n{sample}" in capsys.readouterr().out
    main(split_entries(last))
    assert "to fail with a chance of 80%" in capsys.readouterr().out


def test_conversations_that_a_rate_needs_and_misses_that_show_that_it_is_too_low() -> None:
    assert [needed(0.5, misses, 0.95) for misses in (0, 1, 2, 3, 5)] == [5, 8, 11, 13, 18]
    assert [needed(0.9, misses, 0.95) for misses in (0, 1, 2, 3, 5)] == [29, 46, 61, 76, 103]
    assert [needed(0.99, misses, 0.95) for misses in (0, 1, 2, 3, 5)] == [299, 473, 628, 773, 1049]
    assert [fewest_misses(0.9, count, 0.95) for count in (5, 10, 20, 50, 100, 200)] == [3, 4, 5, 10, 16, 28]
    assert [cases_to_pass(0.9, truth, 0.95) for truth in (0.95, 0.97, 0.99)] == [203, 89, 46]


def test_what_can_never_be_decided() -> None:
    assert needed(1.0, 0, 0.95) is None
    assert (most_misses(0.9, 28, 0.95), most_misses(0.9, 29, 0.95), fewest_misses(0.02, 20, 0.95)) == (None, 0, None)
    assert needed(0.02, 0, 0.95) == FEWEST_CASES, "one conversation decides nothing"
    assert most_misses(0.02, 1, 0.95) is fewest_misses(0.98, 1, 0.95) is None
    assert chances(0.98, 0.5, 1, 0.95) == (0, 0)
    assert cases_to_pass(0.9, 0.9, 0.95) is None, "an agent at the threshold cannot be shown to be better"
    at_bound = Agents(1.0, 1.0, 0.3, spread=0.5)
    assert cases_to_decide(parsed("m: avg <= baseline"), at_bound, Level(0.95), lambda: Random(1)) is None


def parsed(threshold: str) -> Threshold:
    (found,) = parse_thresholds(threshold)
    return found


def disaster(cases: int, aggregate: str, side: str, iterations: int) -> dict[str, list[Value | None]]:
    """Return the best values there are before, and the worst ones now."""
    if aggregate.startswith("rate"):
        return {f"case{case:03}": ["YES" if side == "old" else "NO"] * iterations for case in range(cases)}
    low = 0 if (side == "old") is not (aggregate == "p(10)") else 10_000
    return {f"case{case:03}": [float(low + n * cases + case) for n in range(iterations)] for case in range(cases)}


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(
    ("aggregate", "operator"),
    [
        ("rate(YES)", ">= baseline - 50pp"),
        ("rate(NO)", "<= baseline + 10pp"),
        ("p(90)", "<= baseline * 1.1"),
        ("p(10)", ">= baseline"),
    ],
)
def test_what_can_never_fail_does_not_fail_in_the_greatest_disaster(
    aggregate: str, operator: str, iterations: int
) -> None:
    """The judge agrees, on both sides of the number."""
    threshold = f"Resolved: {aggregate} {operator}"
    least = cases_to_compare(parsed(threshold), 0.95, iterations=iterations, family=1)
    assert least
    verdicts = []
    for cases in (least - 1, least):
        now, old = (disaster(cases, aggregate, side, iterations) for side in ("now", "old"))
        verdicts.append(only(compared(now, old, threshold)).verdict)
    assert verdicts == [Verdict.INCONCLUSIVE, Verdict.FAILED]


PERCENTILE = "Latency: p(95) <= baseline"
CANNOT_FAIL = "fail with 95% confidence, however bad the agent is"


@pytest.mark.parametrize(
    ("threshold", "others", "mutations", "cases", "can_never"),
    [
        (PERCENTILE, "", 0, 10, f"{CANNOT_FAIL}; with 31, it can"),
        ("R: rate(YES) >= baseline - 5pp", "", 0, 3, f"{CANNOT_FAIL}; with 4, it can"),
        ("R: rate(YES) >= baseline + 60pp", "", 0, 5,
         "pass with 95% confidence, however good the agent is; with 10, it can"),
        ("Latency: p(99.99) <= baseline", "", 0, 500, CANNOT_FAIL),
        (PERCENTILE, "", 0, 40, ""),
        ("Latency: avg <= baseline", "", 0, 19, f"{CANNOT_FAIL}; with 20, it can"),
        ("Latency: avg <= baseline", "\nLatency: avg <= baseline * 2", 9, 20, ""),
        (PERCENTILE, "\nLatency: avg <= baseline", 0, 40, f"{CANNOT_FAIL}; with 41, it can"),
        (PERCENTILE, "\n? Latency: avg <= baseline", 0, 40, ""),
        (PERCENTILE, "", 3, 40, f"{CANNOT_FAIL}; with 51, it can"),
    ],
)  # fmt: skip
def test_threshold_that_cannot_be_decided_is_reported(
    threshold: str, others: str, mutations: int, cases: int, can_never: str
) -> None:
    """A family of thresholds or mutations needs more test cases than one threshold."""
    thresholds = parse_thresholds(threshold + others)
    criteria = Criteria(max_failed=Allowance(0), thresholds=thresholds, confidence=0.95, mutations=mutations)
    told = f"thresholds, line 1: with {cases} test cases, {threshold} can never {can_never}."
    assert list(undecidable_texts(criteria, cases)) == ([told] if can_never else [])


@pytest.mark.parametrize(("runs", "least"), [(1, 4), (3, 2), (7, 2)])
def test_more_earlier_runs_show_a_fall_of_fewer_test_cases(runs: int, least: int) -> None:
    """At the strictest, all of 2 cases fall below three runs each: half of 1 in 16."""
    assert cases_to_compare(parsed("R: rate(YES) >= baseline - 5pp"), 0.95, runs=runs) == least
