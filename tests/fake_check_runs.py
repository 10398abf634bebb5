"""The check runs of the fake GitHub server: what it stores of them, and what it refuses.

Sources: GitHub's OpenAPI description of `POST` and `PATCH /check-runs`, and error responses of api.github.com.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = ("success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required")
LONGEST_TITLE = 255  # characters
LONGEST_OUTPUT = 65_535  # characters of a summary, and bytes
ACTIONS = "github-actions"


class InvalidCheckRun(Exception):
    """A request that GitHub refuses with 422."""


@dataclass
class CheckRun:
    """A check run; `conclusion` is None until it is completed. `app` is the slug of the App that made it."""

    id: int
    name: str
    head_sha: str
    app: str = ACTIONS
    external_id: str = ""
    status: str = "queued"
    conclusion: str | None = None
    output: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return str(self.output.get("title", ""))

    @property
    def summary(self) -> str:
        return str(self.output.get("summary", ""))

    @property
    def json(self) -> dict[str, Any]:
        output = {name: self.output.get(name) for name in ("title", "summary", "text")}
        return {
            "id": self.id,
            "name": self.name,
            "head_sha": self.head_sha,
            "external_id": self.external_id,
            "status": self.status,
            "conclusion": self.conclusion,
            "details_url": f"https://github.com/acme/voice-agent/runs/{self.id}",  # whatever a workflow asks for
            "html_url": f"https://github.com/acme/voice-agent/runs/{self.id}",
            "output": output,
            "app": {"slug": self.app},
        }

    def change(self, body: dict[str, Any]) -> None:
        """Apply a request. Raises InvalidCheckRun."""
        for problem in _problems(body):
            raise InvalidCheckRun(problem)
        status = "completed" if body.get("conclusion") else body.get("status", self.status)
        if self.status == "completed" and (status, body.get("conclusion", self.conclusion)) != (
            self.status,
            self.conclusion,
        ):
            raise InvalidCheckRun("A completed check run cannot change its status or conclusion.")
        self.status, self.conclusion = status, body.get("conclusion", self.conclusion)
        self.external_id = body.get("external_id", self.external_id)
        if output := body.get("output"):
            self.output = output


def latest(runs: list[CheckRun]) -> list[CheckRun]:
    """Return the newest check run of each name, which is what GitHub lists unless it is asked for all."""
    return list({run.name: run for run in sorted(runs, key=lambda run: run.id)}.values())


def _problems(body: dict[str, Any]) -> Iterator[str]:
    if body.get("status", "queued") not in STATUSES:
        yield f"{body['status']} is not a member of {STATUSES}."
    if "conclusion" in body and body["conclusion"] not in CONCLUSIONS:
        yield f"{body['conclusion']} is not a member of {CONCLUSIONS}."
    if body.get("status") == "completed" and "conclusion" not in body:
        yield 'Missing required key "conclusion".'
    if output := body.get("output"):
        yield from _output_problems(output)


def _output_problems(output: dict[str, Any]) -> Iterator[str]:
    for name in ("title", "summary"):
        if not output.get(name):
            yield f'"{name}" wasn\'t supplied.'
    if len(output.get("title", "")) > LONGEST_TITLE:
        yield f"title is too long (maximum is {LONGEST_TITLE} characters)"
    for name in ("summary", "text"):
        if len(output.get(name, "")) > LONGEST_OUTPUT:
            yield f"Only {LONGEST_OUTPUT} characters are allowed; {len(output[name])} were supplied."
    if len(output.get("summary", "").encode()) > LONGEST_OUTPUT:
        yield "summary exceeds a maximum bytesize of 65535"
