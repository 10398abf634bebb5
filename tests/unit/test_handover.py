"""Thresholds in the metadata of a run: what goes in comes out, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.ci.host import THRESHOLDS
from coval_gate.config.inputs import Inputs, parse_inputs
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.model.run import Run
from coval_gate.runs.handover import (
    LONGEST,
    MOST,
    checksum_of,
    obstacles,
    thresholds_as_metadata,
    thresholds_of,
    with_thresholds_of,
)

LINES = [
    "pass_rate >= 95%",
    '"Tone: friendly": avg >= 4',
    '? Resolved: rate(YES, "not applicable") >= base - 5pp  # advisory',
    "'Dauer – Café ☕': p(95) < baseline * 1.10",
    '"two  spaces": missing <= 3',
]


def run_with(metadata: dict[str, Any]) -> Run:
    """Return a run that shows this metadata."""
    return Run(run_id="run1", status="COMPLETED", metadata=metadata)


def inputs_with(**given: str) -> Inputs:
    """Return the inputs of a step that waits."""
    inputs, problems = parse_inputs({f"INPUT_{name.upper()}": text for name, text in {"mode": "wait", **given}.items()})
    assert not problems
    return inputs


@given(st.lists(st.sampled_from(LINES[:4]), min_size=1, unique=True))
def test_thresholds_come_out_as_they_went_in(lines: list[str]) -> None:
    thresholds = parse_thresholds("\n".join(lines))
    metadata = thresholds_as_metadata(thresholds)
    assert all(len(value) <= LONGEST for value in metadata.values())
    found = thresholds_of(run_with(json.loads(json.dumps(metadata))))
    assert [entry._replace(line=0, source="") for entry in found] == [
        entry._replace(line=0, source="") for entry in thresholds
    ]
    assert [entry.place for entry in found] == [
        f"thresholds in the metadata of run run1, line {number}" for number in range(1, len(lines) + 1)
    ]


def test_thresholds_that_would_change_do_not_travel() -> None:
    """Their text is made printable, and would name another metric."""
    assert thresholds_as_metadata(parse_thresholds(LINES[4])) == {}


@given(
    st.dictionaries(
        st.sampled_from([THRESHOLDS, *(f"{THRESHOLDS}_{number}" for number in range(4))]),
        st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()), st.sampled_from(["1.97d170e1", *LINES])),
    )
)
def test_foreign_metadata_add_nothing_or_are_refused(metadata: dict[str, Any]) -> None:
    run = run_with({THRESHOLDS: "", **metadata})
    with pytest.raises(ValueError, match=r"are damaged|cannot be read"):
        thresholds_of(run)
    assert obstacles(inputs_with(), run)


def signed(*lines: str) -> dict[str, str]:
    """Return metadata with a digest that is right, as someone could forge it."""
    numbered = {f"{THRESHOLDS}_{number}": line for number, line in enumerate(lines, 1)}
    return {THRESHOLDS: f"{len(lines)}.{checksum_of(lines)}", **numbered}


@pytest.mark.parametrize(
    "line", ["", "# nothing", "total >= 1\ntotal >= 2", "total", "::error::x", "total >= 1 # a: avg < 2"]
)
def test_forged_line_is_refused(line: str) -> None:
    (problem,) = obstacles(inputs_with(), run_with(signed("total >= 1", line)))
    assert problem.what.startswith("is required: the thresholds in the metadata of run run1 cannot be read: line 2 is ")
    assert "\n" not in problem.what


def test_number_and_length_are_limited() -> None:
    for lines in ([], [f"total >= {number}" for number in range(MOST + 1)], [f"total >= {'0' * LONGEST}1"]):
        (problem,) = obstacles(inputs_with(), run_with(signed(*lines)))
        assert problem.what.endswith("are damaged.")


def test_thresholds_of_the_step_stay() -> None:
    own = inputs_with(thresholds="total >= 5\n? failed == 0")
    whole = with_thresholds_of(own, run_with(signed("total >= 5", "total >= 1", "failed == 0")))
    assert whole.thresholds[:2] == own.thresholds
    assert [threshold.text for threshold in whole.thresholds[2:]] == ["total >= 1", "failed == 0"]
    assert with_thresholds_of(whole, run_with(signed("total >= 1"))) == whole


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("Resolved: missing <= 9", {"thresholds": "Latency: avg < 2"}),
        ("Resolved: missing <= 9", {"thresholds": "Resolved: avg < 2\nResolved: missing <= 1"}),
        ("Resolved: missing >= 9", {"thresholds": "Resolved: avg < 2"}),
        ("pass_rate >= 1%", {"thresholds": "pass_rate >= 90%", "use_metric_targets": "true"}),
        ("? pass_rate >= 1%", {"use_metric_targets": "true"}),
        ("pass_rate >= 1%", {}),
    ],
)
def test_thresholds_that_soften_nothing_are_taken(line: str, own: dict[str, str]) -> None:
    assert not obstacles(inputs_with(**own), run_with(signed(line)))


def test_threshold_that_no_run_can_meet_names_its_place() -> None:
    (problem,) = obstacles(inputs_with(), run_with(signed("total < 0")))
    assert problem == ("thresholds in the metadata of run run1", ", line 1: no run can meet total < 0.")
