"""The relay of examples/relay: Coval's webhook calls it, and it starts the workflow that judges the run."""

import io
import json
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import REPOSITORY, TOKEN, FakeGitHub, pull_request_on_github
from fake_host import Fault
from road.nights import RunStep
from support import KEY, VirtualClock

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECRET = "the-long-text-that-only-the-webhook-knows"
LATER = {"mode": "launch", "metadata": '{"judge_later": true}'}
AGAIN = "send the message again"
SECRETS = {"RELAY_TOKEN": SECRET, "COVAL_API_KEY": KEY, "GITHUB_TOKEN": TOKEN}
Send = Callable[..., tuple[str, str]]


@pytest.fixture
def github(clock: VirtualClock) -> Iterator[FakeGitHub]:
    with pull_request_on_github(clock) as server:
        yield server


@pytest.fixture
def coval(clock: VirtualClock) -> Iterator[Server]:
    with Server(World(clock.time)) as server:
        yield server


@pytest.fixture
def launch(run_step: RunStep, coval: Server, clock: VirtualClock) -> Callable[..., str]:
    """Launch a run as launch.yml does, wait until it is over, and return its id."""

    def launched(*, ends: bool = True, env: dict[str, str] | None = None, **given: str) -> str:
        result, _ = run_step(world=coval.world, env=env, **LATER | given)
        clock.sleep(3600 * ends)
        return result.outputs["run_id"]

    return launched


@pytest.fixture
def send(tmp_path: Path, coval: Server, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Send a message to the relay, and return the status and the words of its response. `env`: of another relay."""
    addresses = {"COVAL_API_URL": coval.url, "GITHUB_API_URL": github.url, "RELAY_FOLDER": str(tmp_path)}

    def relay_with(env: dict[str, str]) -> Callable[..., Any]:
        for name, value in ({"GITHUB_REPOSITORY": REPOSITORY} | addresses | SECRETS | env).items():
            monkeypatch.setenv(name, value)
        application: Callable[..., Any] = runpy.run_path(str(EXAMPLES / "relay" / "relay.py"))["application"]
        return application

    usual = relay_with({})

    def sent(
        run_id: Any = "r" * 22,
        query: str = f"token={SECRET}",
        *,
        raw: bytes = b"",
        length: str = "",
        env: dict[str, str] | None = None,
        **more: str,
    ) -> tuple[str, str]:
        relay = relay_with(env) if env else usual
        content = {"organization_id": "o", "message": "Run Succeeded", "run_id": run_id} | more
        message = raw or json.dumps(content).encode()
        environ = {"QUERY_STRING": query, "CONTENT_LENGTH": length or str(len(message))}
        streams = {"wsgi.input": io.BytesIO(message), "wsgi.errors": (log := io.StringIO())}
        statuses: list[str] = []
        words = b"".join(relay(environ | streams, lambda status, _: statuses.append(status))).decode()
        assert log.getvalue() == f"{statuses[0]}: {words}\n"
        assert not [secret for secret in SECRETS.values() if secret in words]
        return statuses[0].partition(" ")[0], words

    return sent


def test_end_of_a_run_starts_judge_yml_once(
    send: Send, launch: Callable[..., str], coval: Server, github: FakeGitHub, run_step: RunStep
) -> None:
    run_id = launch()
    with ThreadPoolExecutor(4) as messages:
        answers = sorted(messages.map(send, [run_id] * 4))
    assert answers == [("200", "dispatched"), *[("200", "dispatched already")] * 3]
    (sent,) = github.repository.dispatches
    workflow = YAML(typ="safe").load((EXAMPLES / "judge.yml").read_text(encoding="utf-8"))
    (step,) = workflow["jobs"]["judge"]["steps"]
    assert [sent["event_type"]] == workflow["on"]["repository_dispatch"]["types"]
    assert "github.event.client_payload.run_id" in step["with"]["run_id"]
    judged, _ = run_step(world=coval.world, mode="wait", run_id=sent["client_payload"]["run_id"])
    assert judged.outputs["verdict"] == "passed"


def test_only_coval_decides_that_a_run_is_over(send: Send, launch: Callable[..., str], clock: VirtualClock) -> None:
    run_id = launch(ends=False)
    assert send(run_id, status="COMPLETED") == ("503", f"the run is not over; {AGAIN}")
    clock.sleep(3600)
    assert send(run_id, status="IN PROGRESS") == ("200", "dispatched")


@pytest.mark.parametrize("query", ["", "token=", "token=wrong", f"token={SECRET}x", f"other={SECRET}", "token=%FF"])
def test_wrong_token_is_refused(query: str, send: Send, coval: Server, github: FakeGitHub) -> None:
    assert send("r" * 22, query) == ("403", "wrong token")
    assert (coval.requests_seen, github.requests_seen) == ([], [])


@pytest.mark.parametrize("run_id", [None, 7, "", "../agents", "a/b", "a?b", "a\n", "x" * 65, {"run_id": "a"}])
def test_message_without_a_run_id_is_refused(run_id: object, send: Send, coval: Server) -> None:
    assert send(run_id) == ("400", "the message has no run_id")
    assert coval.requests_seen == []


@pytest.mark.parametrize("given", [{"metadata": "{}"}, {"env": {"GITHUB_REPOSITORY": "acme/other"}}])
def test_runs_that_no_judge_waits_for_start_nothing(
    given: dict[str, Any], send: Send, launch: Callable[..., str], github: FakeGitHub
) -> None:
    assert send(launch(**given)) == ("200", "not a run that waits for judge.yml")
    assert github.requests_seen == []


def test_a_failed_call_is_repeated_with_the_next_message(
    send: Send, launch: Callable[..., str], coval: Server, github: FakeGitHub
) -> None:
    unknown = "unknown000000000000000"
    assert send(unknown) == ("502", f"{coval.url}/runs/{unknown} <HTTPError 404: 'Not Found'>; {AGAIN}")
    run_id = launch()
    for action in ("503", "403", "drop", "moved http://127.0.0.1:9/elsewhere 302"):
        github.faults = [Fault(f"POST * #1 -> {action}")]
        status, words = send(run_id)
        assert (status, words.partition("; ")[2]) == ("502", AGAIN)
    assert send(run_id) == ("200", "dispatched")
    assert len(github.repository.dispatches) == 1


def test_key_does_not_follow_a_redirect(send: Send, coval: Server, github: FakeGitHub) -> None:
    coval.faults.add(f"GET /runs/* -> redirect {github.url}/elsewhere")
    status, words = send()
    assert (status, "HTTPError 302" in words) == ("502", True)
    assert len(coval.requests_seen) == 1
    assert github.requests_seen == []


@pytest.mark.parametrize("given", [{"raw": b"[" * 60_000}, {"raw": b"\xff"}, {"length": "-1"}, {"length": "many"}])
def test_hostile_message_is_refused(given: dict[str, Any], send: Send, coval: Server) -> None:
    assert send(**given) == ("400", "the message has no run_id")
    assert coval.requests_seen == []


def test_secret_that_no_header_can_have_is_not_shown(send: Send) -> None:
    """`send` looks for the secrets."""
    assert send(env={"COVAL_API_KEY": f"{KEY}\n{KEY}"}) == ("502", f"ValueError; {AGAIN}")
    assert send(env={"COVAL_API_KEY": f"{KEY}…"}) == ("502", f"UnicodeEncodeError; {AGAIN}")


def test_run_is_dispatched_after_a_kill(send: Send, launch: Callable[..., str], tmp_path: Path) -> None:
    """A process that is killed before GitHub's response has locked an empty file."""
    run_id = launch()
    (tmp_path / run_id).touch()
    assert [send(run_id), send(run_id)] == [("200", "dispatched"), ("200", "dispatched already")]


def test_silent_client_delays_no_other(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"GITHUB_REPOSITORY": REPOSITORY, "RELAY_FOLDER": str(tmp_path), "PORT": str(port)} | SECRETS
    command = [sys.executable, str(EXAMPLES / "relay" / "relay.py")]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as relay:
        try:
            silent = None
            while silent is None:
                with suppress(ConnectionRefusedError):
                    silent = socket.create_connection(("127.0.0.1", port))
            with silent:
                other = HTTPConnection("127.0.0.1", port, timeout=10)
                other.request("POST", "/?token=wrong", b"{}")
                with other.getresponse() as response:
                    assert response.status == 403
                other.close()
        finally:
            relay.kill()
