"""`config_path` names a file with inputs and legs: each leg is launched with its inputs, judged by its thresholds."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_sandbox.catalogue import IMPATIENT_PERSONA_ID, PERSONA_ID
from road.legs import legs_of
from road.nights import RunStep
from support import IDS

PATH = "evals/coval-gate.yml"
TEXT = f"""\
persona_id: {PERSONA_ID}
legs:
  booking, calm caller:
    test_set_id: passing1
    thresholds: |
      Resolved: rate(YES) >= 95%
  booking, hurried caller:
    persona_id: {IMPATIENT_PERSONA_ID}
    test_set_id: passing1
    iteration_count: 2
  refunds:
    test_set_id: failing1
    thresholds: |
      Compliance: count(NO) == 0
"""
NAMES = ["booking, calm caller", "booking, hurried caller", "refunds"]
STEP = {"persona_id": "", "test_set_id": "", "thresholds": "Latency: avg < 9"}


@pytest.fixture
def run_with(tmp_path: Path, run_step: RunStep) -> RunStep:
    """Run a step with a file in the workspace: `text`, at `path`. None: there is no file."""

    def run(*faults: str, text: str | bytes | None = TEXT, path: str = PATH, **given: Any) -> Any:
        file = tmp_path / "workspace" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return run_step(*faults, **STEP | {"config_path": path} | given)

    return run


def test_file_sets_what_the_step_leaves_at_its_default(run_with: RunStep) -> None:
    text = "iteration_count: 2\ntags: [file]\nannotations: false\nthresholds: 'Latency: p(95) < 0.5'\n"
    result, server = run_with(text=text, tags="step", bare=True, **IDS)
    assert (result.outputs["verdict"], result.annotations("error")) == ("failed", [])
    assert f"Read inputs from {PATH}." in result.log
    (body,) = [run.body for run in server.world.runs]
    assert (body["options"], body["metadata"]["tags"][0]) == ({"iteration_count": 2}, "step")
    assert "file" not in body["metadata"]["tags"]


def test_legs_run_as_named_and_thresholds_add_up(run_with: RunStep) -> None:
    result, server = run_with(json_path="reports/coval.json", junit_path="reports/junit.xml", digest_path="digest.md")
    launched = [run.body for run in server.world.runs]
    ran = {
        body["metadata"]["customer"]["coval_gate_leg"]: (body["persona_id"], body["test_set_id"]) for body in launched
    }
    assert ran == {
        NAMES[0]: (PERSONA_ID, "passing1"),
        NAMES[1]: (IMPATIENT_PERSONA_ID, "passing1"),
        NAMES[2]: (PERSONA_ID, "failing1"),
    }
    assert {body["agent_id"] for body in launched} == {IDS["agent_id"]}
    legs = legs_of(result)
    assert [(leg["name"], leg["verdict"], leg["simulations"]) for leg in legs.values()] == [
        (NAMES[0], "passed", 10),
        (NAMES[1], "passed", 20),
        (NAMES[2], "failed", 10),
    ]
    criteria = {
        leg["name"]: [criterion["criterion"] for criterion in leg["criteria"] if ":" in criterion["criterion"]]
        for leg in json.loads(result.json)["legs"]
    }
    assert criteria == {
        NAMES[0]: ["Latency: avg < 9", "Resolved: rate(YES) >= 95%"],
        NAMES[1]: ["Latency: avg < 9"],
        NAMES[2]: ["Compliance: count(NO) == 0", "Latency: avg < 9"],
    }
    assert result.outputs["reason"].startswith("refunds: count(NO) of Compliance is ")
    assert f"| ✅ Passed | [{NAMES[0]}](" in result.summary
    suites = [suite.get("name", "") for suite in ET.fromstring(result.junit).iter("testsuite")]
    assert all(any(name in suite for suite in suites) for name in NAMES)
    digest = (result.workspace / "digest.md").read_text(encoding="utf-8")
    assert f"Set this in the leg `refunds` of `{PATH}`, and leave its other inputs as they are:" in digest
    (command,) = [part for part in digest.split("```") if "docker run" in part]
    assert "Compliance: count(NO) == 0" in command
    assert "CONFIG_PATH" not in command


def test_file_outside_of_the_workspace_is_refused(tmp_path: Path, run_step: RunStep) -> None:
    (tmp_path / "outside.yml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "link.yml").symlink_to(tmp_path / "outside.yml")
    for path in ("../outside.yml", str(tmp_path / "outside.yml"), "link.yml", "."):
        result, server = run_step(**STEP | {"config_path": path})
        assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
        assert result.outputs["reason"].startswith("config_path must ")


def test_report_does_not_overwrite_the_file(tmp_path: Path, run_with: RunStep) -> None:
    result, _ = run_with(junit_path=PATH)
    assert result.outputs["reason"] == "junit_path is the same as config_path, which the report would overwrite."
    assert (tmp_path / "workspace" / PATH).read_text(encoding="utf-8") == TEXT


def test_misspelt_metric_names_the_line_of_the_file(run_with: RunStep) -> None:
    result, server = run_with(text=TEXT.replace("Compliance", "Complience"))
    assert [run.body["test_set_id"] for run in server.world.runs] == ["passing1", "passing1"]
    assert result.outputs["reason"].startswith(f'refunds: {PATH} names the metric "Complience" in line 14, which')


def test_later_step_judges_by_the_same_file(run_with: RunStep) -> None:
    launch, server = run_with(mode="launch", thresholds="")
    assert launch.outputs["verdict"] == ""
    ids = launch.outputs["run_ids"]
    judged, _ = run_with(world=server.world, mode="wait", run_id=ids, json_path="coval.json")
    assert [(name, leg["verdict"]) for name, leg in legs_of(judged).items()] == [
        (NAMES[0], "passed"),
        (NAMES[1], "passed"),
        (NAMES[2], "failed"),
    ]
    changed = TEXT.replace(IMPATIENT_PERSONA_ID, "persona000000000000099")
    judged, _ = run_with(text=changed, world=server.world, mode="wait", run_id=ids)
    assert [leg["verdict"] for leg in legs_of(judged).values()] == ["passed", "error", "failed"]
    assert 'persona_id is "persona000000000000099", but run ' in legs_of(judged)[NAMES[1]]["reason"]
