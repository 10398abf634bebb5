"""The verdict that each demo, example, recipe and command of a page promises: one table of them all.

A step runs with the inputs that its file or page shows, against the sandbox and on a virtual clock. What the image and
the runner add to the examples, tests/e2e shows.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import coval_demo
from contract.test_docs import PIPELINES
from coval_cli.command import main
from coval_gate import REPOSITORY
from coval_gate.history.tags import ATTACHED
from coval_sandbox.catalogue import AGENT_ID, PERSONA_ID, PREVIEW_ID, SCHEDULES, SLOW_PREVIEW_ID
from coval_sandbox.github import TOKEN
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.scenarios import BY_TEST_SET
from coval_sandbox.server import Server
from coval_sandbox.world import World
from own_build import with_own_builds
from recipes import EXAMPLES, RECIPES, workflow_of
from road.nights import ON_MAIN, ON_PULL_REQUEST, PUSH
from road.steps import FORK_EVENT
from support import KEY, StepResult, VirtualClock, run_main_step

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]

# What `make demo INPUTS=…` ends with: the verdict of each of its steps.
DEMOS: Final[dict[str, str]] = {
    "": "passed failed",
    "test_set_id=flaky001": "failed",
    "test_set_id=someFail": "failed",
    "test_set_id=someFail thresholds=Latency: p(95) < 0.5": "failed",
    coval_demo.EXAMPLE: "failed",
    coval_demo.PAGES: "passed",
    f"test_set_id=flaky001 {coval_demo.PAGES}": "failed",
    "test_set_id=flaky001 comment=always commit_status=Voice": "failed",
    coval_demo.REGRESSION: "failed",
    f"mode=wait run_id=schedule:{SCHEDULES[0].id}": "passed",
    "preview": "passed",
    "slow-preview": "failed",
    "until-clear": "failed",
    "known": "passed",
    "legs": "failed",
    "history": "",
    "legs only_legs=*passing1": "passed",
    "nights": "inconclusive passed passed failed failed passed passed passed",
    "rerun": "error failed failed",
    "own-build": "passed",
    "broken-build": "error",
    "list": "",
}
SCREEN: Final = (23, 100)  # lines beside the prompt, and columns
IN_PROCESSES: Final = ("", "nights", "rerun", "own-build", "broken-build", "list")  # all but a single step


class Row(NamedTuple):
    """A run of a workflow, with the verdict of its last step, and the values of expressions in it.

    `event`: of a pull request by default, if the workflow runs in pull requests. `is_answered`: whether a job answers
    the simulated callers of its own build.
    """

    verdict: str
    given: Mapping[str, str] = {}
    event: Mapping[str, Any] | None = None
    is_answered: bool = False


def on(test_set_id: str, verdict: str, **variables: str) -> Row:
    values = {"COVAL_TEST_SET_ID": test_set_id} | variables
    return Row(verdict, {f"vars.{name}": value for name, value in values.items()})


USUAL: Final = (on("passing1", "passed"), on("failing1", "failed"))
SLOW: Final = {"COVAL_PREVIEW_AGENT_ID": SLOW_PREVIEW_ID}
# Runs of each workflow, which follow one another.
WORKFLOWS: Final[dict[str, Sequence[Row]]] = {
    "base-rules": (on("passing2", "passed"), on("steady01", "failed")),
    "check-run": USUAL,
    "deploy": (Row("passed"), Row("error", {"vars.COVAL_SCHEDULE_ID": "no"})),
    "forks": USUAL,
    "judge": USUAL,
    "label": USUAL,
    "launch": (Row(""),),
    "legs": (on("steady01", "passed"), on("failing1", "failed")),
    "by-hand": (
        Row("passed", {"inputs.accept": "true"}),
        Row("passed"),
        Row("failed", {"vars[format('COVAL_TEST_SET_ID_{0}', inputs.test_set)]": "failing1"}),
    ),
    "fix-with-an-agent": USUAL,
    "monorepo": tuple(
        Row(verdict, {"steps.changes.outputs.legs": legs, "vars.COVAL_TEST_SET_ID": "someFail"})
        for legs, verdict in (('["good"]', "passed"), ('["o*"]', "failed"), ("[]", "skipped"), ('["docs"]', "error"))
    ),
    "nightly": (
        on("steady01", "inconclusive"),  # the first one finds no baseline
        on("steady01", "passed"),
        on("steady01", "passed"),
        on("failing1", "failed"),
    ),
    "notify": USUAL,
    "organization": (
        Row("passed"),
        Row("failed", {"inputs.test_set_id": "lostCase"}),  # by the rules of all repositories
        Row("failed", {"inputs.thresholds": "Latency: p(95) < 0.1"}),
    ),
    "own-build": (Row("passed", is_answered=True), Row("error")),
    "paths": tuple(
        Row(verdict, {"steps.changes.outputs.legs": legs, "vars.COVAL_TEST_SET_ID": test_set_id})
        for legs, test_set_id, verdict in (
            ("[]", "someFail", "skipped"),
            ('["*"]', "steady01", "passed"),
            ('["*"]', "someFail", "failed"),
        )
    ),
    "personas": USUAL,
    "proxy": USUAL,
    "preview": (
        on("steady01", "passed"),
        on("passing1", "inconclusive"),  # too small to show that the rate did not fall by 5pp
        on("steady01", "failed", **SLOW),
        on("passing1", "failed", **SLOW),
    ),
    "pull-request": (*USUAL, Row("skipped", {"secrets.COVAL_API_KEY": ""}, FORK_EVENT)),
    "reports": (
        on("steady01", "inconclusive"),  # without a run of main
        on("steady01", "inconclusive")._replace(event=PUSH),
        on("steady01", "passed"),
        on("failing1", "failed"),
    ),
}
VARIABLE: Final = re.compile(r"\$+[({]?(\w+)[)}]?")
EXPRESSION: Final = re.compile(r"\$\{\{ (.+?) \}\}")
EXPRESSIONS: Final = {
    "secrets.COVAL_API_KEY": KEY,
    "vars.COVAL_AGENT_ID": AGENT_ID,
    "vars.COVAL_PREVIEW_AGENT_ID": PREVIEW_ID,
    "vars.COVAL_PERSONA_ID": PERSONA_ID,
    "vars.COVAL_TEST_SET_ID": "passing1",
    "vars.COVAL_SCHEDULE_ID": SCHEDULES[0].id,
    "vars[format('COVAL_TEST_SET_ID_{0}', inputs.test_set)]": "passing1",
    "inputs.accept": "false",
    "inputs.agent_id": AGENT_ID,
    "inputs.persona_id": PERSONA_ID,
    "inputs.test_set_id": "passing1",
    "inputs.thresholds": "Latency: p(95) < 1.5",
    "inputs.run_id": "",
    "inputs.run_id && 'wait' || 'run'": "run",
    "matrix.persona": "calm caller",
    "matrix.persona_id": PERSONA_ID,
    "format('{{\"persona\":{0}}}', toJSON(matrix.persona))": '{"persona":"calm caller"}',
}
RUN_IDS: Final = ("steps.launch.outputs.run_id", "github.event.client_payload.run_id || inputs.run_id")
LEGS: Final = """
agent_id: {agent_id}
persona_id: {persona_id}
legs:
  good: {{test_set_id: passing1}}
  other: {{test_set_id: {test_set_id}}}
"""
BASE_RULES: Final = "thresholds: total <= 20\n"  # which the file of the pull request leaves out
# What each pipeline of examples/ci ends with, on a test set.
PIPELINE: Final = (("passing1", "passed"), ("failing1", "failed"))
CODES: Final = {"passed": 0, "": 0, "failed": 1}
# What else is in examples/: its tests, or why it has no verdict.
OTHER_FILES: Final = {
    "agents/agent.py": "tests/unit/test_example_agent.py and the demo own-build",
    "agents/stub.py": "the demo own-build",
    "agents/broken.py": "the demo broken-build",
    "agents/livekit_agent.py": "scripts/try_agents.py",
    "agents/pipecat_agent.py": "scripts/try_agents.py",
    "relay/relay.py": "tests/road/test_relay.py: it starts judge.yml",
}
# Commands of pages, with the ids that they leave out, and the verdict on `passing1`.
COMMANDS: Final = {
    "plan --agent-id … --persona-id … --test-set-id …": "",
    "run --agent-id … --persona-id … --test-set-id … --threshold 'Latency: p(95) < 1.5'": "passed",
    "wait RUN_ID --threshold 'Latency: p(95) < 1.2' --html-path report.html --open": "passed",
}


Command = Callable[..., int]


@pytest.fixture
def command(clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Return the function that runs a command on a laptop, and returns its exit code."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    with Server(World(clock.time)) as server:
        environ = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url, "PATH": ""}
        yield lambda *arguments: main(arguments, environ, io.StringIO(), io.StringIO(), clock)


VERDICTS: Final = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| (.+) \| (`\w+`|empty) \| (.+) \| (.+) \|$", VERDICTS, re.MULTILINE)
# The rows of docs/verdicts.md by the words that one of them has, and steps of which each is an example.
DOUBT: Final = {"thresholds": "Resolved: rate(YES) >= 90%", "confidence": "95%"}
CALLED: Final = {"agent_id": AGENT_ID, "persona_id": PERSONA_ID}
STUCK: Final = {"test_set_id": "stuck001", "max_wait_time": "600"}
HAPPENED: Final[dict[str, Sequence[Mapping[str, str]]]] = {
    "all criteria are met": ({}, {"test_set_id": "someFail", "max_failed_simulations": "50%"}),
    "a criterion is missed, or Coval reports an error": (
        {"test_set_id": "failing1", "thresholds": "Latency: p(95) < 1.5"},
        {"test_set_id": "dirty001"},
        {"test_set_id": "allFail1"},
    ),
    "a threshold is neither met nor missed": (DOUBT, DOUBT | {"on_inconclusive": "pass"}),
    "Coval ended the run as failed": ({"test_set_id": "runFails"},),
    "cancelled or deleted in Coval": ({"test_set_id": "cancels1"}, {"test_set_id": "deletes1"}),
    "`max_wait_time` or `max_queue_time` passed": (
        STUCK,
        STUCK | {"on_timeout": "pass"},
        {"test_set_id": "queued01", "max_queue_time": "60"},
    ),
    "the step was cancelled": ({"test_set_id": "slow0001"},),
    "an input is invalid": ({"mode": "lunch"}, {"api_key": "wrong"}, {"thresholds": "Nothing: avg < 1"}),
    "GitHub withholds the API key": ({"api_key": "", "on_missing_api_key": "skip"},),
    "is `[]`": ({"only_legs": "[]"},),
    "another `mode` than `run` and `wait`": (
        {"mode": "launch"},
        {"mode": "cancel", "run_id": "RUN_ID", "agent_id": "", "persona_id": "", "test_set_id": ""},
        {"mode": "history", "run_id": "tag:nightly", "test_set_id": "stuck001", **CALLED},
        {"mode": "plan"},
    ),
}


def test_table_has_every_demo_example_and_command() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES) + coval_demo.parser().format_help()
    demos = re.findall(r'make demo (?:OPTIONS="[^"]*" )?INPUTS=(?:"([^"…]*[^"….])"|([\w-]+))', text)
    assert {first or second for first, second in demos} | {"", *coval_demo.STEPS} == DEMOS.keys()
    assert {*coval_demo.NIGHTS, *coval_demo.OWN_BUILDS} <= DEMOS.keys()
    files = {
        str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    workflows = {f"{name}.yml" for name in WORKFLOWS if name not in RECIPES}
    assert files == workflows | {f"ci/{name}" for name in PIPELINES.values()} | OTHER_FILES.keys()
    examples = {path.stem for path in EXAMPLES.glob("*.yml")}
    assert RECIPES.keys() == {*WORKFLOWS, "recheck", "bisect"} - examples  # test_scripts.py runs these two
    commands = re.findall(r"^coval-gate ((?:run|plan|wait) [^\\\n]*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert {*commands} == COMMANDS.keys()


@pytest.mark.parametrize("entries", [entries for entries in DEMOS if entries not in IN_PROCESSES])
def test_demo(entries: str, clock: VirtualClock, tmp_path: Path) -> None:
    _, overrides = coval_demo.read_command_line([], entries)
    given: dict[str, Any] = coval_demo.INPUTS | {"github_token": TOKEN} | (overrides or {})
    (tmp_path / "workspace").mkdir()
    coval_demo.write_file(tmp_path / "workspace", clock.time())
    with Server(World(clock.time, history=True)) as server:
        variables = {"GITHUB_API_URL": server.github_api_url}
        result = run_main_step(tmp_path, server.url, clock, env=variables, **given)
    assert result.outputs["verdict"] == DEMOS[entries], result.log


def demo(directory: Path, name: str, *arguments: str, inputs: str = "") -> str:
    """Run a demo of several steps, which keeps its files in the directory. Check the verdicts, and return its text."""
    command = [sys.executable, "-m", "coval_demo", "--speed", "1000", *arguments]
    environ = os.environ | {"DEMO_INPUTS": f"{name} {inputs}", "TMPDIR": str(directory)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    verdicts = re.findall(r"^(?:Verdict:|  verdict) +(\w+)", done.stdout, re.MULTILINE)
    assert (" ".join(verdicts), done.stderr) == (DEMOS[name], ""), done.stdout
    assert done.returncode == (0 if not name or verdicts[-1] == "passed" else 1)
    return done.stdout


def test_demo_without_inputs_shows_the_outputs_of_both_steps(tmp_path: Path) -> None:
    shown = demo(tmp_path, "")
    for name in ("run_id", "verdict", "passed", "reason", "html_path"):
        assert len(re.findall(rf"^  {name} +[^/ ].*$", shown, re.MULTILINE)) == 2, name


def test_rerun_shows_that_only_the_missing_leg_is_launched(tmp_path: Path) -> None:
    shown = demo(tmp_path, "rerun")
    assert shown.count("kept from attempt 1") == 2
    assert "This step launches 10 simulations in 1 run." in shown
    assert "Every leg completed in an earlier attempt, so all launch anew." in shown


def test_nights_show_a_regression_and_its_acceptance(tmp_path: Path) -> None:
    shown = demo(tmp_path, "nights")
    (red,) = re.findall(r"━━ A person accepts it: mode: wait, run_id: (\w+), accept: true", shown)
    dates = re.findall(r"━━ Night \d, ([\d-]+):", shown)
    assert [date.fromisoformat(day) - date.fromisoformat(dates[0]) for day in dates] == [
        timedelta(days=number) for number in range(7)
    ]
    sixth = shown.partition("━━ Night 6")[2].partition("━━")[0]
    assert f"Baseline tag:stable last 3: run {red} of {dates[4]}, " in sixth
    assert shown.count("report.html") == 2  # of the red nights
    assert not re.search(r"^Log$|IN PROGRESS|Launched run", shown, re.MULTILINE)


@pytest.mark.long
@pytest.mark.parametrize(("name", "tested"), [("own-build", True), ("broken-build", False)])
def test_own_build_answers_in_the_demo(name: str, tested: bool, tmp_path: Path) -> None:
    """Callers speak in real time, so it takes most of a minute. Latency is the machine's."""
    shown = demo(tmp_path, name, "--long", inputs="thresholds=Resolved: rate(YES) >= 90%")
    assert ("Tested: this commit (attached)" in shown) is tested
    assert "\nAnnotations\n" in shown


def test_list_fits_a_screen_and_names_every_step_and_test_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert coval_demo.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= SCREEN[0]
    assert max(map(len, shown.splitlines())) <= SCREEN[1]
    names = {*coval_demo.NIGHTS, *coval_demo.OWN_BUILDS, *coval_demo.STEPS, *BY_TEST_SET}
    assert names <= {*re.findall(r"[\w-]+", shown)}


def test_preview_of_the_demo_is_the_example() -> None:
    _, (inputs,) = workflow("preview")
    names = ("thresholds", "iteration_count", "concurrency", "confidence")
    shown = [coval_demo.BESIDE[name].split("\n") for name in names]
    written = [re.sub(r" +#.*", "", str(inputs[name])).split("\n") for name in names]
    assert [[*filter(None, map(str.strip, lines))] for lines in shown] == [[*filter(None, lines)] for lines in written]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow(name: str, clock: VirtualClock, tmp_path: Path) -> None:
    world = World(clock.time, history=True)
    with Server(with_own_builds(world) if name == "own-build" else world) as server:
        for number, row in enumerate(WORKFLOWS[name]):
            result = run_workflow(name, row, number, server, clock, tmp_path)
            assert result.outputs["verdict"] == row.verdict, f"run {number + 1}: {result.log}"


@pytest.mark.parametrize(
    ("changed", "legs"),
    [
        (["agents/booking/prompt.md", "README.md", "agents/booking/tools.py"], ["booking*"]),
        (["agents/refunds/prompt.md", "agents/booking/a b.md"], ["refunds", "booking*"]),
        (["agents/new/prompt.md"], ["*"]),
        (["coval-gate.yml", "shared/voice.py", "shared/x"], ["*"]),
        (["docs/agents/booking/a.md", "agents", "*", 'a"$(exit 1)"'], []),
        ([], []),
    ],
)
@pytest.mark.parametrize("count", ["3", "3001"])
def test_monorepo_maps_folders_to_legs(changed: list[str], legs: list[str], count: str, tmp_path: Path) -> None:
    """A command `gh` stands for GitHub's, which tests/e2e runs."""
    step = workflow_of("monorepo")["jobs"]["evaluate"]["steps"][0]
    (tmp_path / "names").write_text("".join(f"{name}\n" for name in changed), encoding="utf-8")
    (gh := tmp_path / "gh").write_text('#!/bin/sh\ncat "$NAMES"\n', encoding="utf-8")
    gh.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NAMES": str(tmp_path / "names"), "CHANGED": count}
    environ |= {"LEGS": step["env"]["LEGS"], "GITHUB_OUTPUT": str(tmp_path / "output"), "NUMBER": "42"}
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    subprocess.run(bash, env=environ | {"GITHUB_REPOSITORY": "acme/voice-agent"}, check=True, capture_output=True)
    name, _, written = (tmp_path / "output").read_text(encoding="utf-8").partition("=")
    everything = [*dict.fromkeys(["*", *legs])] if count == "3001" else legs
    assert (name, json.loads(written)) == ("legs", everything)


def run_workflow(name: str, row: Row, number: int, server: Server, clock: VirtualClock, directory: Path) -> StepResult:
    """Run the steps of a workflow that use the action, and return the result of the last one."""
    values = EXPRESSIONS | dict(row.given)
    event = row.event or (PULL_REQUEST if "pull_request" in workflow(name)[0] else PUSH)
    environ = (ON_MAIN if event is PUSH else ON_PULL_REQUEST) | {"GITHUB_RUN_ID": str(1000 + number)}
    if values["inputs.accept"] == "true":
        environ["GITHUB_EVENT_NAME"] = "workflow_dispatch"
    legs = LEGS.format(agent_id=AGENT_ID, persona_id=PERSONA_ID, test_set_id=values["vars.COVAL_TEST_SET_ID"])
    for file, text in {"coval-gate.yml": legs, "base/coval-gate.yml": f"{legs}{BASE_RULES}"}.items():
        (directory / "workspace" / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / "workspace" / file).write_text(text, encoding="utf-8")
    results = []
    for inputs in workflow(name)[1]:
        given = {key: filled(EXPRESSION, text, values) for key, text in inputs.items()}
        step = run_main_step(
            directory,
            server.url,
            clock,
            event=event,
            env=environ | {"GITHUB_API_URL": server.github_api_url},
            **{"agent_id": "", "persona_id": "", "test_set_id": "", "github_token": TOKEN} | given,
        )
        if given.get("mode") == "history":  # beside the one with the verdict
            assert (step.exit_code, step.outputs["status"]) == (0, "HISTORY"), step.log
            continue
        results.append(step)
        run_id = step.outputs["run_id"]
        values |= dict.fromkeys(RUN_IDS, run_id)
        if given.get("mode") == "launch":
            clock.sleep(3600)
            if row.is_answered:  # as `coval-gate attach` does at its end
                server.world.update_run(run_id, {"tags": [ATTACHED]})
    return results[-1]


def filled(pattern: re.Pattern[str], text: str, values: Mapping[str, str]) -> str:
    """Return a text with the value of each name that the pattern finds."""
    return pattern.sub(lambda found: values[found[1]], text)


def workflow(name: str) -> tuple[str, list[dict[str, str]]]:
    """Return the events that start a workflow, and the inputs of each of its steps that use the action.

    A workflow of which another one launches the runs has that one's steps, too.
    """
    whole = workflow_of(name)
    steps = [step for job in whole["jobs"].values() for step in job["steps"] if REPOSITORY in step.get("uses", "")]
    before = workflow("launch")[1] if name == "judge" else []
    return str(whole["on"]), [*before, *({key: str(value) for key, value in step["with"].items()} for step in steps)]


@pytest.mark.parametrize("name", PIPELINES.values())
def test_pipeline(name: str, command: Command) -> None:
    text = (EXAMPLES / "ci" / name).read_text(encoding="utf-8")
    _, _, line = text.partition("coval-gate run")
    line, _, _ = re.sub(r"\\\n|\n", " ", line).partition("--html-path")
    for test_set_id, verdict in PIPELINE:
        values = {"COVAL_AGENT_ID": AGENT_ID, "COVAL_PERSONA_ID": PERSONA_ID, "COVAL_TEST_SET_ID": test_set_id}
        assert command("run", *shlex.split(filled(VARIABLE, line, values))) == CODES[verdict]


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: None)
    ids = iter((AGENT_ID, PERSONA_ID, "passing1"))
    filled = re.sub("…", lambda _: next(ids), line)
    if "RUN_ID" in line:
        flags = ["--agent-id", AGENT_ID, "--persona-id", PERSONA_ID, "--test-set-id", "passing1"]
        assert command("run", *flags, "--json-path", "run.json") == 0
        run_id = json.loads(Path("run.json").read_text(encoding="utf-8"))["legs"][0]["run"]["id"]
        filled = filled.replace("RUN_ID", run_id)
    assert command(*shlex.split(filled)) == CODES[COMMANDS[line]]


@pytest.mark.parametrize(("words", "row"), list(zip(HAPPENED, ROWS, strict=True)), ids=list(HAPPENED))
def test_row_of_verdicts(words: str, row: tuple[str, ...], tmp_path: Path) -> None:
    """Its steps end with each status that it names, and with no other verdict, status or colour."""
    happened, verdict, statuses, check = row
    assert words in happened
    found, colours = set[str](), set[str]()
    for number, inputs in enumerate(HAPPENED[words]):
        clock, given = VirtualClock(), dict[str, Any](inputs)
        with Server(World(clock.time)) as server:
            if "run_id" in given:
                launched: dict[str, Any] = {**CALLED, "test_set_id": "stuck001"}
                run = server.world.launch(launched | {"metadata": {"tags": ["nightly"]}})["run"]
                given["run_id"] = given["run_id"].replace("RUN_ID", run["run_id"])
                clock.sleep(60)  # Coval lists a run late
            if words == "the step was cancelled":
                clock.at(60, clock.interrupt)
            given["event"] = FORK_EVENT if given.get("api_key") == "" else PULL_REQUEST
            (directory := tmp_path / str(number)).mkdir()
            result = run_main_step(directory, server.url, clock, **given)
        assert result.outputs["verdict"] == verdict.strip("`").replace("empty", ""), result.log
        found.add(result.outputs["status"])
        colours.add("red" if result.exit_code else "green")
    assert found == set(re.findall(r"`([A-Z_]+)`", statuses))
    assert colours == set(re.findall("red|green", check))
