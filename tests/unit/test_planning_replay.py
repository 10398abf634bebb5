"""How many of the earlier nights a threshold would have failed, with which margin none, and how much they vary."""

import pytest

from baselines import Cases, numbers, run_of, yes
from coval_gate.coval.model import Run
from coval_gate.features.planning.replay import Nights, replay_lines
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.measure import BaselineRun
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds

RATE = "Resolved: rate(YES) >= baseline - 2pp"
SLOWER = "Resolved: avg <= baseline * 1.1"


def night(run_id: str, cases: Cases, **differences: object) -> BaselineRun:
    run = BaselineRun(run=Run(run_id=run_id, status="COMPLETED"), result=run_of(run_id, cases))
    return run._replace(**differences)  # type: ignore[arg-type]


def lines_of(
    kind: str, threshold: str, nights: list[BaselineRun], *, confidence: float | None = None, on_inconclusive: str = ""
) -> list[str]:
    """Replay nights, the first of which is only a baseline."""
    criteria = Criteria(
        max_failed=Allowance(0),
        thresholds=parse_thresholds(threshold),
        confidence=confidence,
        on_inconclusive=on_inconclusive,
    )
    source = BaselineSource(kind="branch" if kind == "branch" else "tag", name="main")
    return replay_lines(Nights(criteria, source, nights[1:], nights[:1]), {"m": "seconds"})


@pytest.mark.parametrize(
    ("kind", "threshold", "hits", "expected"),
    [
        ("tag", RATE, (48, 48, 47, 48), "of the last 3 nights, none would have been red. They vary by 1.2pp."),
        ("tag", RATE, (48, 48, 46, 47), "of the last 3 nights, 1 would have been red; with a margin of 5pp, none."),
        ("tag", RATE, (48, 46, 44, 47), "of the last 3 nights, 2 would have been red; with a margin of 10pp, none."),
        ("tag", RATE, (48, 46, 20, 47), "2 would have been red; even with a margin of 15pp, 1. They vary by 30.6pp."),
        ("tag", RATE.replace("2pp", "15pp"), (48, 40, 48, 48), "1 would have been red. They vary by 9.2pp."),
        # A tag stands still and sees a slow decline, a branch moves along with it.
        ("tag", RATE, (48, 47, 46, 45), "2 would have been red; with a margin of 10pp, none."),
        ("branch", RATE, (48, 47, 46, 45), "none would have been red."),
        # A red night is no baseline: the next one is compared with the night before it.
        ("branch", RATE, (48, 45, 45, 48), "2 would have been red; with a margin of 10pp, none."),
        ("tag", RATE, (48, 47, 46), "only 2 comparable nights so far."),
        ("tag", f"? {RATE}", (48, 48, 46, 47), f"? {RATE}: of the last 3 nights, 1 would have missed it; with"),
        # No margin makes a required improvement, or a count, easier.
        ("tag", "Resolved: rate(YES) >= baseline + 1pp", (48, 48, 49, 49), "1 would have been red. They vary by"),
        ("tag", "Resolved: count(NO) <= baseline", (48, 48, 46, 47), "2 would have been red. They vary by 1."),
        ("tag", "Resolved: rate(NO) <= baseline + 1pp", (48, 48, 46, 48), "red; with a margin of 5pp, none."),
    ],
)
def test_nights_are_judged_as_the_gate_would_have(
    kind: str, threshold: str, hits: tuple[int, ...], expected: str
) -> None:
    (line,) = lines_of(kind, threshold, [night(str(place), yes(count, 50)) for place, count in enumerate(hits)])
    assert line.startswith(threshold)
    assert expected in line


@pytest.mark.parametrize(
    ("threshold", "slower", "expected"),
    [
        (SLOWER, (1.0, 1.05, 1.0), "of the last 3 nights, none would have been red. They vary by 0.0"),
        (SLOWER, (1.0, 1.15, 1.05), "1 would have been red; with a factor of 1.2, none."),
        (SLOWER, (1.0, 9.0, 1.0), "1 would have been red; even with a factor of 1.5, 1."),
        ("Resolved: avg >= baseline * 0.95", (1.0, 0.85, 1.0), "1 would have been red; with a factor of 0.8, none."),
    ],
)
def test_margins_of_averages_are_factors(threshold: str, slower: tuple[float, ...], expected: str) -> None:
    nights = [night(str(place), numbers(1, 20, slower=factor)) for place, factor in enumerate((1.0, *slower))]
    (line,) = lines_of("tag", threshold, nights)
    assert expected in line
    assert line.endswith(" s.")


def test_with_a_confidence_a_night_that_shows_nothing_is_red_only_where_doubt_fails() -> None:
    nights = [night(str(place), yes(hits, 50)) for place, hits in enumerate((48, 46, 45, 30))]
    assert "3 would have been red" in lines_of("tag", RATE, nights)[0]
    assert "1 would have been red" in lines_of("tag", RATE, nights, confidence=0.95)[0]
    assert "3 would have been red" in lines_of("tag", RATE, nights, confidence=0.95, on_inconclusive="fail")[0]


def test_only_like_is_compared_with_like() -> None:
    """Test cases whose contents changed since count nowhere, nor does a night without anything to compare it with."""
    changed = frozenset(f"case{n:03}" for n in range(40, 48))
    nights = [
        night("0", yes(48, 50), changed_cases=changed),
        *(night(str(place), yes(40, 50)) for place in range(1, 5)),
    ]
    assert "of the last 4 nights, none would have been red. They vary by 0pp." in lines_of("tag", RATE, nights)[0]
    judged = [nights[0]._replace(changed_metrics=frozenset({"m"})), *nights[1:]]
    assert lines_of("tag", RATE, judged) == [f"{RATE}: only 0 comparable nights so far."]
    assert "of the last 3 nights, none would" in lines_of("branch", RATE, judged)[0]


def test_each_threshold_has_a_line_and_its_own_margin() -> None:
    nights = [night(str(place), yes(hits, 50)) for place, hits in enumerate((48, 46, 48, 44))]
    two = f"{RATE}\nResolved: rate(NO) <= baseline + 5pp"
    assert [line.partition(" would ")[2].partition(" They")[0] for line in lines_of("branch", two, nights)] == [
        "have been red; with a margin of 10pp, none.",
        "have been red; with a margin of 10pp, none.",
    ]
