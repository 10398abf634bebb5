"""An action's step with a configuration file: it sets what the step leaves at its default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coval_sandbox.server import Server
    from support import StepResult

    RunStep = Callable[..., tuple[StepResult, Server]]

FILE = "evals/coval-gate.toml"


@pytest.fixture
def run_with(run_step: RunStep, tmp_path: Path) -> RunStep:
    """Return the function that runs a step with these contents of the file."""

    def run(contents: str, **inputs: Any) -> tuple[StepResult, Server]:
        path = tmp_path / "workspace" / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents, encoding="utf-8")
        return run_step(**{"config_path": FILE} | inputs)

    return run


def sent(server: Server) -> dict[str, object]:
    """Return the body of the launch."""
    (launch,) = [request for request in server.requests_seen if request.method == "POST"]
    body: dict[str, object] = launch.json
    return body


def test_file_sets_what_equals_its_default(run_with: RunStep) -> None:
    """The runner hands every default over, so the step cannot tell it from a value that a user wrote."""
    contents = "iteration_count = 2\nthresholds = ['Latency: p(95) < 0.5']\nannotations = false\n"
    result, server = run_with(contents, bare=True)
    assert result.outputs["verdict"] == "failed"
    assert result.annotations("error") == []
    assert sent(server)["options"] == {"iteration_count": 2}


def test_input_wins_over_file(run_with: RunStep) -> None:
    result, server = run_with("iteration_count = 2\ntags = ['file']\n", iteration_count="3", tags="step")
    assert result.outputs["verdict"] == "passed"
    body = sent(server)
    assert body["options"] == {"iteration_count": 3}
    assert "step" in str(body["metadata"])
    assert "file" not in str(body["metadata"])


@pytest.mark.parametrize("name", IDS)
def test_file_may_set_the_ids(run_with: RunStep, name: str) -> None:
    _, server = run_with(f'{name} = "{IDS[name]}"\n', **{name: ""})
    assert sent(server)[name] == IDS[name]


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ("agent_id = ", "config_path must be TOML in UTF-8: Invalid value (at end of document)."),
        ('agnt = "a"', 'config_path has a mistake: "agnt" is no input; did you mean agent_id.'),
        (
            'api_base_url = "https://evil.example/v1"',
            'config_path has a mistake: "api_base_url" cannot be set in a file',
        ),
        ('api_key = "k"\ngithub_token = "t"', 'config_path has a mistake: "api_key" cannot be set in a file'),
        (".".join(["a"] * 50_000) + " = 1", "config_path has a key of more than 100 parts."),
        ("[" + " . ".join(["'a'"] * 30_000) + "]", "config_path has a key of more than 100 parts."),
        ("iteration_count = 0", "iteration_count must be a whole number of at least 1; got"),
    ],
)
def test_mistake_is_an_error_and_launches_nothing(run_with: RunStep, contents: str, problem: str) -> None:
    result, server = run_with(contents)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(problem), result.outputs["reason"]
    assert server.requests_seen == []


def test_pyproject_must_have_the_table(run_step: RunStep, tmp_path: Path) -> None:
    path = tmp_path / "workspace" / "pyproject.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[tool.ruff]\n")
    result, server = run_step(config_path="pyproject.toml")
    assert result.outputs["reason"] == "config_path must have a table [tool.coval-gate]."
    assert server.requests_seen == []


@pytest.mark.parametrize("path", ["../coval-gate.toml", "/etc/hostname", "none.toml"])
def test_file_is_in_the_workspace(run_step: RunStep, path: str) -> None:
    result, server = run_step(config_path=path)
    assert result.outputs["reason"].startswith("config_path must be a")
    assert server.requests_seen == []
