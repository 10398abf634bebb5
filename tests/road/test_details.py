"""What only informs: the transcripts of the worst simulations, and the last runs. Nothing of it changes a verdict."""

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import run as run_through
from coval_gate.base.times import DETAILS
from coval_gate.report.model import LegReport
from coval_gate.step.main import evaluate
from coval_gate.step.report import EXPLAINED
from coval_gate.step.step import Step
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]
LegOf = Callable[..., tuple[LegReport, list[str]]]

BAD = {"test_set_id": "failing1", "thresholds": "Latency: max < 1.5\nResolved: rate(YES) >= 90%"}
TRANSCRIPT = "/conversations/simulated"  # the words of judges are below each


@pytest.fixture
def leg_of(tmp_path: Path, clock: VirtualClock) -> Callable[..., tuple[LegReport, list[str]]]:
    """Run the main step, and return what its reports show of the run, and the simulations whose transcript was read."""

    def run(*faults: str, quirks: Quirks | None = None, **inputs: str) -> tuple[LegReport, list[str]]:
        with Server(World(clock.time, quirks=quirks or Quirks()), faults=faults) as server:
            runner = LocalRunner(tmp_path, PULL_REQUEST)
            given = DEFAULTS | {"api_key": KEY, "api_base_url": server.url} | IDS | inputs
            step = Step(Runtime(environ=runner.environ(given), stdout=io.StringIO(), clock=clock))
            (leg,) = run_through(evaluate(step), clock).report.legs
        paths = [request.path.removeprefix("/v1/").split("/") for request in server.requests_seen]
        return leg, [parts[-1] for parts in paths if parts[:2] == ["conversations", "simulated"] and len(parts) == 3]

    return run


def test_worst_simulations_have_transcripts(leg_of: LegOf) -> None:
    """In which shapes, tests/unit/test_transcripts.py has."""
    leg, read = leg_of(include_transcripts="failures", **BAD)
    assert set(leg.details.transcripts) == set(read) == set(leg.details.texts) != set()
    for turns in leg.details.transcripts.values():
        assert [turn.role for turn in turns] == ["agent", "persona", "agent", "persona"]
        assert turns[0].text == "Front desk, how can I help you?"
        assert (turns[0].start, turns[-1].start) == (0.0, 3.0)


def test_no_more_transcripts_are_read_than_are_shown(leg_of: LegOf) -> None:
    leg, read = leg_of(include_transcripts="failures", iteration_count="5", **BAD)
    assert len(read) == len(leg.details.transcripts) == EXPLAINED


@pytest.mark.parametrize("inputs", [BAD, {"include_transcripts": "failures"}])
def test_transcripts_are_not_read_unless_asked_for(inputs: dict[str, str], leg_of: LegOf) -> None:
    """By default, and where no simulation failed."""
    leg, read = leg_of(**inputs)
    assert (leg.details.transcripts, read) == ({}, [])


def test_transcripts_never_change_verdict(run_step: RunStep, clock: VirtualClock) -> None:
    plain, _ = run_step(**BAD)
    began = clock.now()
    with_transcripts, _ = run_step(f"GET {TRANSCRIPT}/* -> 503", include_transcripts="failures", **BAD)
    assert clock.now() - began <= float(plain.outputs["duration_seconds"]) + DETAILS + 1
    for name in ("verdict", "reason", "metrics", "failed_simulations"):
        assert with_transcripts.outputs[name] == plain.outputs[name]


def test_lost_transcript_leaves_others(leg_of: LegOf) -> None:
    leg, read = leg_of(f"GET {TRANSCRIPT}/{'?' * 22} #1-2 -> 404", include_transcripts="failures", **BAD)
    # Several are fetched at once, so which requests the fault meets is not certain.
    assert 0 < len(leg.details.transcripts) < len(read) == len(leg.details.texts)


def test_transcripts_give_junit_its_times_and_are_never_in_the_json_report(run_step: RunStep) -> None:
    """Each conversation has four turns, which begin 1 s apart and last 0.8 s."""
    given = BAD | {"test_set_id": "flaky001", "include_transcripts": "failures", "junit_path": "junit.xml"}
    result, _ = run_step(**given, json_path="coval.json", html_path="coval.html")
    page, report = ((result.workspace / f"coval.{form}").read_text(encoding="utf-8") for form in ("html", "json"))
    said = {unescape(text) for text in re.findall(r'<li class="turn .*?<p>(.*?)</p>', page)}
    assert said
    assert [text for text in said if json.dumps(text, ensure_ascii=False) in report] == []
    suite, _ = ET.parse(result.workspace / "junit.xml").getroot()
    assert {case.get("time") for case in suite if case.find("failure") is not None} == {"3.8"}
    assert {case.get("time") for case in suite if case.find("failure") is None} == {None}


def test_transcripts_without_report_that_shows_them_are_warned_about(run_step: RunStep) -> None:
    result, _ = run_step(include_transcripts="failures")
    assert [annotation.data for annotation in result.annotations("warning")] == [
        "include_transcripts shows no transcripts without html_path or digest_path."
    ]
