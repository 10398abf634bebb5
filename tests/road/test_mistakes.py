"""What newcomers read after a mistake, in golden files: the title, the reason and the advice as the log shows them."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from coval_gate.ci.host import Context
from coval_gate.inputs.checks import warnings_about
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEYS, World
from mistakes import ANSWERS, FILES, INPUTS, SUSPICIOUS
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock, read_inputs, run_main_step

NOWHERE: Final = "http://127.0.0.1:9/v1"  # a step with invalid inputs sends nothing
OWN: Final = ("path", "scopes", "strict")  # not inputs


def error_of(result: StepResult) -> str:
    """Return the one error of a step, as the runner shows it."""
    (command,) = result.annotations("error")
    text = f"{command.properties['title'].removeprefix('Coval Gate: ')}\n{command.data}"
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)


def as_written(inputs: Mapping[str, str]) -> str:
    """Return inputs as they stand in a workflow."""
    lines = {name: value.split("\n") for name, value in inputs.items()}
    return "\n".join(
        f"{name}: {value[0]}" if len(value) == 1 else "\n  ".join([f"{name}: |", *value])
        for name, value in lines.items()
    )


def entry(written: str, read: str) -> str:
    indented = "\n".join(f"    {line}".rstrip() for line in read.splitlines())
    return f"{written}\n{indented}\n"


@pytest.mark.parametrize("group", INPUTS)
def test_error_of_invalid_inputs_is_as_in_golden_file(
    group: str, tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    entries = []
    for number, inputs in enumerate(INPUTS[group]):
        (directory := tmp_path / f"{number}").mkdir()
        result = run_main_step(directory, NOWHERE, VirtualClock(), **dict[str, Any](inputs))
        error = error_of(result)
        first = error.split("\n")[1]
        assert result.outputs["verdict"] == "error"
        assert result.outputs["reason"] == first, "the reason must be the sentence that comes first"
        assert any(first.startswith(name) for name in (*DEFAULTS, *inputs)), "it must begin with the input's name"
        entries.append(entry(as_written(inputs), error))
    golden(f"mistakes/{group}.txt", "\n".join(entries))


def test_configuration_shows_what_the_user_wrote_although_it_is_wrong(tmp_path: Path) -> None:
    """The values of addresses and of JSON objects may contain secrets."""
    written = {
        "thresholds": "Latency: p95 < 1\nResolved: rate(YES) >= 90%",
        "iteration_count": "three",
        "max_wait_time": "600",
        "metadata": '{"pass": "s3cret"',
        "dashboard_url": "https://me:s3cret@example.com",
    }
    result = run_main_step(tmp_path, NOWHERE, VirtualClock(), json_path="reports/coval.json", **dict[str, Any](written))
    inputs = json.loads(result.json)["inputs"]
    assert [inputs.get(name) for name in written] == [*list(written.values())[:3], None, None]
    assert "| `thresholds` | `Latency: p95 < 1`<br>`Resolved: rate(YES) >= 90%` |" in result.summary
    assert "| `iteration_count` | `three` |" in result.summary
    assert "s3cret" not in result.summary + result.json


def test_error_of_invalid_file_is_as_in_golden_file(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    entries = []
    for number, text in enumerate(FILES):
        name = "coval-gate.json" if text.startswith("{") else "coval-gate.yml"
        workspace = tmp_path / f"{number}" / "workspace"
        workspace.mkdir(parents=True)
        (workspace / name).write_text(text, encoding="utf-8")
        result = run_main_step(workspace.parent, NOWHERE, VirtualClock(), config_path=name)
        assert result.outputs["verdict"] == "error"
        entries.append(entry(f"# {name}\n{text}", error_of(result)))
    golden("mistakes/file.txt", "\n".join(entries))


def test_warnings_about_likely_mistakes_are_as_in_golden_file(golden: Callable[[str, str], None]) -> None:
    entries = []
    for inputs in SUSPICIOUS:
        environ = {
            f"INPUT_{name.upper()}": value for name, value in (DEFAULTS | {"api_key": KEY} | IDS | inputs).items()
        }
        (warning,) = warnings_about(read_inputs(environ, Context()), environ)
        entries.append(entry(as_written(inputs), warning))
    golden("mistakes/warnings.txt", "\n".join(entries))


def test_errors_of_mistakes_that_coval_finds_are_as_in_golden_file(
    tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    entries = []
    for number, (name, given) in enumerate(ANSWERS.items()):
        inputs: dict[str, Any] = {key: value for key, value in given.items() if key not in OWN}
        keys = {KEY: given["scopes"]} if "scopes" in given else DEFAULT_KEYS
        (directory := tmp_path / f"{number}").mkdir()
        clock = VirtualClock()
        with Server(World(clock.time, api_keys=keys, strict=given.get("strict", False))) as server:
            url = server.url.removesuffix("/v1") + given.get("path", "/v1")
            result = run_main_step(directory, url, clock, **inputs)
        assert result.outputs["verdict"] == "error"
        entries.append(entry(f"# {name}\n{as_written(inputs)}".strip(), error_of(result)))
    golden("mistakes/answers.txt", "\n".join(entries))
