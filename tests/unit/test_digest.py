"""The digest for whoever fixes the agent: what it says, that it stays small, and that quoted text stays quoted."""

import re
import shlex
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML

from baselines import comparison_reports
from coval_gate.coval.model import RunResult, TrendRun, Turn
from coval_gate.inputs.checks import check_inputs
from coval_gate.inputs.inputs import MOST_TEST_CASES, effective, parse_inputs
from coval_gate.report.formats.digest import LIMIT, prompt_of
from coval_gate.report.formats.log import case_ids
from coval_gate.report.model import Report
from rendering import composed, findings_in
from rendering import digest as render
from reports import example_reports, large_report, simulation, with_leg
from support import KEY

TURNS = (
    Turn(role="agent", text="Good morning, this is the clinic.", start=0.0, end=2.0),
    Turn(role="persona", text="I want to move my appointment.", start=2.5, end=5.0),
    Turn(role="agent", text="Which day?", start=5.8, end=6.5),
    Turn(role="persona", text="Friday.", start=7.0, end=7.5),
    Turn(role="agent", text="Let me see.", start=9.0, end=10.0),
    Turn(role="persona", text="Hello?", start=14.0, end=14.5),
    Turn(role="agent", text="There is no Friday.", start=17.9, end=19.0),
    Turn(role="persona", text="Goodbye."),
)


def with_everything() -> Report:
    """Return a report with transcripts and the last runs of the branch."""
    report = comparison_reports()["worse"]
    (leg,) = report.legs
    assert leg.result
    trend = tuple(
        TrendRun(
            run_id=f"old{day}",
            created=f"2026-01-0{day}T03:00:00Z",
            averages={"l": 1.2 + day / 10},
            is_baseline=day == 2,
        )
        for day in (3, 2, 1)
    )
    transcripts = {member.id: TURNS for member in leg.result.simulations[:3]}
    return with_leg(report, details=leg.details._replace(transcripts=transcripts), trend=trend)


def test_digests_match_golden_files(golden: Callable[[str, str], None]) -> None:
    names = {
        "two-criteria": "failed, two criteria",
        "did-not-complete": "failed, simulation did not complete",
        "iteration": "failed, iteration",
    }
    for file, name in names.items():
        golden(f"digest/{file}.md", render(example_reports()[name]))
    golden("digest/everything.md", render(with_everything()))
    (leg,) = composed(with_everything()).legs
    golden("digest/prompt.md", prompt_of(composed(with_everything()), leg, leg.simulations[0]))


def test_large_digest_is_cut_by_whole_cases() -> None:
    report = large_report(210, lines=12, variants=21)
    page = render(report)
    assert len(page.encode()) <= LIMIT
    total = len([row for row in findings_in(report.legs[0]).simulations if row.explains_failure])
    cases = [int(match.replace(",", "")) for match in re.findall(r"^#{3,4} Case ([\d,]+):", page, re.MULTILINE)]
    assert cases == [*range(1, len(cases) + 1)]
    assert len(cases) >= 3
    assert f"Showing {len(cases):,} of {total:,}." in page
    assert page.count("```") % 2 == 0
    assert page.rstrip().endswith("```")
    assert len(case_ids(composed(report).legs[0].simulations)) <= MOST_TEST_CASES


def report_with(**inputs: str) -> Report:
    given = {"agent_id": "agent1", "persona_id": "p1", "test_set_id": "set1", "api_key": KEY} | inputs
    parsed, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()})
    assert not problems
    return example_reports()["failed, two criteria"]._replace(inputs=parsed)


@pytest.mark.parametrize("given", [{}, {"sub_sample_size": "3", "sub_sample_seed": "7"}])
def test_inputs_of_repetition_are_valid_with_all_others(given: dict[str, str]) -> None:
    """What a part of the test set cannot meet, and what would make it a baseline, is unset."""
    (block,) = re.findall(r"```yaml\n(.*?)```", render(report_with(**given)), re.DOTALL)
    again = {str(name): str(value) for name, value in YAML(typ="safe").load(block).items()}
    inputs = report_with(**given | again).inputs
    assert inputs
    check_inputs(inputs, [], {}, "")
    assert inputs.test_case_ids == ("case-s4",)
    assert inputs.sub_sample_size in (None, 0)


@pytest.mark.parametrize(
    "given",
    [
        {"thresholds": 'Latency: max < 1.5\n"It\'s `x` $HOME": rate(YES) >= 90%'},
        {"thresholds": "? Resolved: rate(YES) >= 1%"},
    ],
)
def test_command_repeats_with_the_same_inputs(given: dict[str, str]) -> None:
    report = report_with(**given, iteration_count="3", use_metric_targets="true")
    (block,) = re.findall(r"```+sh\n(.*?)```", render(report), re.DOTALL)
    words = shlex.split(block)
    assert (words[:4], words[-1]) == (["docker", "run", "--rm", "--env"], "coval-gate")
    inputs, problems = parse_inputs(dict(word.split("=", 1) for word in words if word.startswith("INPUT_")))
    assert not problems
    assert report.inputs
    expected = report.inputs._replace(api_key=None, test_case_ids=("case-s4",), persona_id=("p1",))
    names = [declaration.name for declaration in effective() if declaration.name != "github_token"]
    assert [(name, getattr(inputs, name)) for name in names] == [(name, getattr(expected, name)) for name in names]
    assert KEY not in render(report)


def test_command_is_left_out_where_it_would_lack_a_secret() -> None:
    assert "docker run" in render(report_with())
    assert "docker run" not in render(report_with(config_overrides='{"token": "x"}'))


def test_ids_that_no_input_takes_are_not_offered() -> None:
    members = tuple(
        simulation(f"s{number}", test_case_id=case, status="FAILED")
        for number, case in enumerate(["a b", "", "x" * 65, "ok"])
    )
    report = with_leg(example_reports()["failed, error reported"], result=RunResult(run_id="run1", simulations=members))
    assert case_ids(composed(report).legs[0].simulations) == ("ok",)
