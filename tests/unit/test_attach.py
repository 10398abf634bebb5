"""The pure and small parts of `attach`: its handlers, messages, logs and credentials."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coval_attach.command import without_credentials
from coval_attach.follow import LOGS, log_of, open_log
from coval_attach.handler import Unusable, error_line, form_problem, load, with_cause
from coval_attach.process import Limits, Order, Setup, WorkerEvent, event_in, line_of, order_in, setup_in
from coval_gate.base.errors import RunnerError
from coval_gate.features.files.workspace import Workspace
from support import KEY


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Return the function that writes a module, and returns its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"written_{len(names)}_{tmp_path.name}".replace("-", "_"))
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("async def answer(connection): ...", "answer"),
        ("async def answer(connection, greeting='Hello'): ...", "answer"),
        ("class Agent:\n    @classmethod\n    async def answer(cls, connection): ...", "Agent.answer"),
        ("class Agent:\n    async def __call__(self, connection): ...\nagent = Agent()", "agent"),
        ("import functools\nasync def with_(a, b): ...\nanswer = functools.partial(with_, 1)", "answer"),
    ],
)
def test_async_callables_are_handlers(module: Callable[[str], str], tmp_path: Path, text: str, path: str) -> None:
    assert callable(load(f"{module(text)}:{path}", str(tmp_path)))


UNUSABLE: list[tuple[str, str, str]] = [
    ("def answer(connection): ...", "answer", "is not async. Write: async def answer(connection): ..."),
    ("async def answer(): ...", "answer", "must take one argument, the connection."),
    ("async def answer(a, b): ...", "answer", "must take one argument, the connection."),
    ("answer = 1", "answer", "is not a function."),
    ("async def answer(connection): ...", "anwser", "Did you mean answer?"),
    ("raise SystemExit(2)", "answer", "cannot be imported: SystemExit: 2."),
    ("raise ValueError(chr(120) * 1_000_000)", "answer", "cannot be imported: ValueError: xxx"),
    ("def (", "answer", "cannot be imported: SyntaxError: invalid syntax"),
    ("import no_such_package", "answer", "Install it in the environment that coval-gate runs in."),
]


def test_what_is_no_handler_is_explained(
    module: Callable[[str], str], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for text, path, problem in UNUSABLE:
        with subtests.test(problem):
            with pytest.raises(Unusable) as caught:
                load(f"{module(text)}:{path}", str(tmp_path))
            assert problem in str(caught.value)
            assert bool(caught.value.lines) == ("cannot be imported" in str(caught.value))
            assert all(len(line) <= 300 for line in caught.value.lines)


def test_missing_module_is_not_confused_with_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("no_such_module:answer", "no_such_module.part:answer"):
        with pytest.raises(Unusable, match="There is no module no_such_module in"):
            load(name, str(tmp_path))


@pytest.mark.parametrize(
    "name", ["agent", "agent:", ":answer", "agent.py:answer:x", "a b:c", "-m:x", "agent/x:answer", ""]
)
def test_name_of_a_handler_has_a_form(name: str) -> None:
    assert "MODULE:HANDLER" in form_problem(name)
    assert form_problem("voice.agent.py:answer").endswith('without .py; got "voice.agent.py:answer".')


def test_cause_is_one_line_of_the_innermost_exception() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_line(ValueError("two\nlines")) == "ValueError: two lines"
    assert error_line(ValueError()) == "ValueError"
    assert error_line(ExceptionGroup("a", [ExceptionGroup("b", [KeyError(1), OSError()])])) == "KeyError: 1"
    assert error_line(Odd()) == "Odd"
    assert len(error_line(ValueError("x" * 9999))) == 300
    error = RuntimeError("could not connect")
    assert with_cause(error) == "RuntimeError: could not connect"
    error.__cause__ = OSError("certificate verify failed")
    assert with_cause(error) == "RuntimeError: could not connect (OSError: certificate verify failed)"


def test_messages_survive_their_lines_and_no_other_line_is_one() -> None:
    setup = Setup(KEY, "http://x/v1", "w", "/d", command=("sh", "-c", "a\nb"), limits=Limits(quiet=1.0))
    assert setup_in(line_of(setup)) == setup
    order = Order("attach", "sim\n1", "log")
    assert order_in(line_of(order)) == order
    event = WorkerEvent("ended", "s", "crashed", "ä\u2028", ("one", "two"), 7)
    assert line_of(event).count(b"\n") == 1
    assert event_in(line_of(event)) == event
    for line in (b"", b"Hello\n", b"[]\n", b"{}\n", b'{"what": 1}\n', b"\xff\n", b'{"lines": []}\n'):
        assert event_in(line) is None


def test_logs_stay_in_the_workspace(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / ".coval-gate").mkdir(parents=True)
    (root / LOGS).symlink_to(outside)
    with pytest.raises(RunnerError, match="symbolic link"):
        open_log(Workspace(str(root)), log_of("s1"))
    assert list(outside.iterdir()) == []


WITHHELD = """
GITHUB_TOKEN GH_TOKEN GH_ENTERPRISE_TOKEN GITHUB_PAT GITHUB_ENV ACTIONS_RUNTIME_TOKEN ACTIONS_ID_TOKEN_REQUEST_URL
INPUT_API_KEY COVAL_API_KEY GITLAB_TOKEN CI_JOB_TOKEN CI_JOB_JWT_V2 CI_DEPLOY_PASSWORD CI_REPOSITORY_URL
BITBUCKET_STEP_OIDC_TOKEN CIRCLE_OIDC_TOKEN_V2 BUILDKITE_AGENT_ACCESS_TOKEN SYSTEM_ACCESSTOKEN github_token
"""
KEPT = "OPENAI_API_KEY LIVEKIT_API_SECRET HF_TOKEN GITHUB_SHA GITHUB_WORKSPACE CI CI_COMMIT_SHA HOME PATH"


def test_credentials_of_the_ci_system_are_withheld_and_what_an_agent_needs_is_kept() -> None:
    kept = dict.fromkeys(KEPT.split(), "x")
    assert without_credentials(dict.fromkeys(WITHHELD.split(), "x") | kept) == kept
