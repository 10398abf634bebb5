"""CONTRIBUTING and the docs name only what exists, and the recipes in CONTRIBUTING work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from contract.test_packages import PACKAGES
from coval_gate.inputs.aggregates import KINDS
from coval_gate.inputs.inputs import declared
from coval_sandbox import catalogue

ROOT: Final = Path(__file__).resolve().parents[2]
GATE: Final = ROOT / "src" / "coval_gate"
CONTRIBUTING: Final = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES: Final = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PATH: Final = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
FOLDERS: Final = [*(path.name for path in ROOT.glob("[a-z]*") if path.is_dir()), *PACKAGES]
OURS: Final = re.compile(rf"(?:{'|'.join(FOLDERS)})/|.*\.(?:py|j2|css)$")
ANY: Final = re.compile(r".*/|.*\.(?:py|md|yml|json|toml|j2|css|js|txt)$")
USER_FILES: Final = {
    "CONTRIBUTING.md": {".venv/bin/python"},
    "docs/recipes.md": {"ci/company-ca.pem"},
    "docs/own-build.md": {"agent.py", "stub.py", "pipecat_agent.py", "livekit_agent.py"},
}
FENCED: Final = re.compile(r"\n```(\w+)\n(.*?)```", re.DOTALL)

RECIPES: Final = (
    "Add an aggregate",
    "Add an input",
    "Add a feature",
    "Add a format of the report",
    "Add a CI system",
)
ONE_CASE: Final = catalogue.test_cases("passing1", 1)[0].id
STEPS: Final = (
    {"thresholds": "Latency: range < 9\nLatency: range < 0.001"},
    {"expected_duration": "1", "badge_path": "badge.json"},
    {"expected_duration": "9999"},
    {"test_case_ids": ONE_CASE, "thresholds": "Latency: range < 9"},
)
JOB: Final = {
    "CI": "true",
    "DRONE": "true",
    "DRONE_GIT_HTTP_URL": "https://github.com/acme/voice-agent.git",
    "DRONE_COMMIT_SHA": "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234",
    "DRONE_BRANCH": "main",
    "DRONE_BUILD_NUMBER": "7",
}
# In a process that imports the copy: what is rendered from it, steps with it, and hosts that it finds.
USE: Final = """
import io, json, pathlib, runpy, sys
from coval_gate.base.runtime import Runtime
from coval_gate.ci import detect_host
from coval_gate.features.systems.variables import system_in
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import VirtualClock, run_main_step
given = json.load(sys.stdin)
sys.path.insert(0, str(pathlib.Path(given["render"]).parent))
render = runpy.run_path(given["render"])
names = ("action_inputs", "action_outputs", "inputs_tables", "component_inputs", "config_schema")
found = {name: render[name]() for name in names} | {"steps": [], "hosts": []}
for inputs in given["steps"]:
    clock = VirtualClock()
    with Server(World(clock.time)) as server:
        step = run_main_step(pathlib.Path(given["folder"]), server.url, clock, **inputs)
    files = [path for path in step.workspace.rglob("*.json") if path.is_file()]
    texts = {path.name: path.read_text() for path in files}
    found["steps"].append({"outputs": step.outputs, "log": step.log, "files": texts})
for environ in given["hosts"]:
    host = detect_host(Runtime(environ=environ, stdout=io.StringIO(), clock=VirtualClock()))
    found["hosts"].append({"system": system_in(environ).name, **host.context()._asdict()})
print(json.dumps(found))
"""


def section(title: str) -> str:
    assert f"\n## {title}\n" in CONTRIBUTING
    return CONTRIBUTING.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def apply(title: str, directory: Path) -> None:
    """Follow a section: write its modules, and add the lines of its diffs where their context stands."""
    prose, *rest = FENCED.split(section(title))
    for kind, text, after in zip(*[iter(rest)] * 3, strict=True):
        name = re.findall(r"`(src/[^`]+)`", prose)[-1]
        path, prose = directory / name, after
        if kind == "python":
            assert not path.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        for part in text.split("\n\n"):
            source, lines = path.read_text(encoding="utf-8"), f"{part.rstrip()}\n".splitlines(keepends=True)
            context = "".join(line[1:] for line in lines if line.startswith(" "))
            assert source.count(context) == 1, f"not once in {name}:\n{context}"
            path.write_text(source.replace(context, "".join(line[1:] for line in lines)), encoding="utf-8")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Use a copy of the source to which all recipes were applied, in one process."""
    directory = tmp_path_factory.mktemp("copy")
    shutil.copytree(GATE, directory / "src" / "coval_gate")
    for title in RECIPES:
        apply(title, directory)
    jobs = [JOB, JOB | {"DRONE_SOURCE_BRANCH": "topic", "DRONE_PULL_REQUEST": "42"}]
    given = {"render": str(ROOT / "scripts" / "render.py"), "folder": str(directory), "steps": STEPS, "hosts": jobs}
    paths = [directory / "src", ROOT / "src", ROOT / "tests", ROOT / "scripts"]
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environ = unmeasured | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", USE]
    ran = subprocess.run(command, input=json.dumps(given), env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_paths_and_targets_exist(subtests: pytest.Subtests) -> None:
    """In CONTRIBUTING, all that look like paths; elsewhere, many are of users."""
    new = set(re.findall(r"`(src/[^`]+)`:\n\n```python", CONTRIBUTING))
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        name, whole = str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")
        text = re.sub(r"```.*?```", "", whole, flags=re.DOTALL)
        words = {word for span in re.findall(r"`([^`\n]+)`", text) for word in span.split()}
        ours = ANY if page.name == "CONTRIBUTING.md" else OURS
        paths = (
            {word for word in words if PATH.fullmatch(word) and ours.match(word)} - USER_FILES.get(name, set()) - new
        )
        with subtests.test(name):
            assert {path for path in paths if not ((ROOT / path).exists() or (GATE / path).exists())} == set()
            assert {*re.findall(r"(?:^|`)make ([a-z0-9]+)", whole, re.MULTILINE)} <= targets


def test_contributing_is_short_and_names_each_package_and_where_to_start() -> None:
    assert len(CONTRIBUTING.splitlines()) < 200
    rows = re.findall(r"^\| `(\w+)` \|", section("Architecture"), re.MULTILINE)
    assert rows == [package for package in PACKAGES if (GATE / package).is_dir()]
    assert len(re.findall(r"^[1-9]\. `([\w/.]+)`:", section("Where do I start"), re.MULTILINE)) == 8


def test_each_aggregate_and_each_input_has_a_test_that_names_it() -> None:
    def tests(folder: str) -> str:
        return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / folder).glob("test_*.py"))

    unit, road = tests("unit"), tests("road")
    tested = set(re.findall(r"\b(\w+)(?:\([^)\n]*\))? *(?:[<>]=?|[!=]=)", unit))
    assert [kind.name for kind in KINDS if kind.name not in tested] == [], "no test in tests/unit has such a threshold"
    given = re.findall(r"\b(\w+)=|[\"'](\w+)[\"']|\bINPUT_(\w+)|--([a-z][a-z-]+)", unit + road)
    named = {name.lower().replace("-", "_") for ways in given for name in ways}
    inputs = [declaration.name for declaration in declared()]
    assert [name for name in inputs if name not in named] == [], "no test in tests/unit or tests/road sets it"


def test_aggregate_works_in_a_threshold(used: Any) -> None:
    (criterion,) = json.loads(used["steps"][0]["outputs"]["failed_criteria"])
    assert criterion["criterion"] == "Latency: range < 0.001"
    assert 0.001 < criterion["actual"] < 9
    alone = used["steps"][3]["outputs"]
    assert alone["verdict"] == "error"
    assert alone["reason"] == "Latency has only one value, so range is unknown."


def test_input_is_rendered(used: Any) -> None:
    assert '\n  expected_duration:\n    description: "Warn if the run' in used["action_inputs"]
    assert "| `expected_duration` | seconds | Warn if the run" in used["inputs_tables"]
    assert "\n    expected_duration:\n" in used["component_inputs"]
    assert "expected_duration" in used["config_schema"]["properties"]


def test_feature_does_what_its_input_turns_on(used: Any) -> None:
    assert ["more than expected_duration." in step["log"] for step in used["steps"]] == [False, True, False, False]


def test_format_is_written_for_a_report(used: Any) -> None:
    assert "\n  badge_path:\n" in used["action_inputs"]
    assert "\n  badge_path:\n" in used["action_outputs"]
    step = used["steps"][1]
    assert step["outputs"]["badge_path"] == "badge.json"
    assert json.loads(step["files"]["badge.json"])["message"] == "COMPLETED"


def test_ci_system_is_detected(used: Any) -> None:
    branch_values, for_pull_request = used["hosts"]
    assert branch_values["system"] == "Drone"
    assert (branch_values["repository"], branch_values["sha"]) == ("acme/voice-agent", JOB["DRONE_COMMIT_SHA"])
    assert (branch_values["branch"], branch_values["run_id"], branch_values["for_pull_request"]) == ("main", "7", False)
    assert (for_pull_request["pull_request"], for_pull_request["ref"]) == (42, "topic")
