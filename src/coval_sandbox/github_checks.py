"""The check runs of the small GitHub: what it stores of them, and what it refuses.

Sources: GitHub's OpenAPI description of `POST` and `PATCH /check-runs`, and error responses of api.github.com.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ACTIONS: Final = "github-actions"  # the App of workflows
COMPLETED: Final = "completed"
STATUSES: Final = ("queued", "in_progress", COMPLETED)
CONCLUSIONS: Final = ("success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required")
LONGEST_TITLE: Final = 255  # characters
LONGEST_TEXT: Final = 65_535  # characters, and bytes


@dataclass
class CheckRun:
    """`conclusion` is None until the check run is completed. `app` is the slug of the App that made it."""

    id: int
    name: str
    head_sha: str
    app: str = ACTIONS
    external_id: str = ""
    status: str = "queued"
    conclusion: str | None = None
    title: str = ""
    summary: str = ""
    text: str = ""

    @property
    def outcome(self) -> str:
        """The conclusion or, before it, the status."""
        return self.conclusion or self.status

    def change(self, body: Mapping[str, Any]) -> None:
        """Apply a request, in which `problems` has found none."""
        self.conclusion = body.get("conclusion", self.conclusion)
        self.status = COMPLETED if body.get("conclusion") else body.get("status", self.status)
        self.external_id = body.get("external_id", self.external_id)
        if output := body.get("output"):
            self.title, self.summary, self.text = (output.get(name) or "" for name in ("title", "summary", "text"))

    def view(self, page: str) -> dict[str, Any]:
        """`page`: where people look at all check runs."""
        address = f"{page}#check-run-{self.id}"
        output = {"title": self.title or None, "summary": self.summary or None, "text": self.text or None}
        return {
            "id": self.id,
            "name": self.name,
            "head_sha": self.head_sha,
            "external_id": self.external_id,
            "status": self.status,
            "conclusion": self.conclusion,
            "details_url": address,
            "html_url": address,
            "output": output,
            "app": {"slug": self.app},
        }


def newest(check_runs: Iterable[CheckRun]) -> list[CheckRun]:
    """Return the newest check run of each name."""
    return list({check_run.name: check_run for check_run in check_runs}.values())


def problems(body: Mapping[str, Any], earlier: CheckRun | None) -> Iterator[str]:
    """Yield what GitHub refuses in a request that creates a check run or changes an `earlier` one."""
    status, conclusion = body.get("status", "queued"), body.get("conclusion")
    if earlier is None and not isinstance(body.get("name"), str):
        yield '"name" wasn\'t supplied.'
    if status not in STATUSES:
        yield f"{status} is not a member of {STATUSES}."
    if "conclusion" in body and conclusion not in CONCLUSIONS:
        yield f"{conclusion} is not a member of {CONCLUSIONS}."
    if status == COMPLETED and "conclusion" not in body:
        yield 'Missing required key "conclusion".'
    if earlier is not None and earlier.status == COMPLETED and _reopens(body, earlier):
        yield "A completed check run cannot change its status or conclusion."
    output = body.get("output")
    if output is not None:
        yield from _output_problems(output) if isinstance(output, dict) else ["output is not an object."]


def _reopens(body: Mapping[str, Any], earlier: CheckRun) -> bool:
    conclusion = body.get("conclusion", earlier.conclusion)
    return bool(body.get("status", COMPLETED) != COMPLETED or conclusion != earlier.conclusion)


def _output_problems(output: Mapping[str, Any]) -> Iterator[str]:
    for name in ("title", "summary"):
        if not output.get(name) or not isinstance(output[name], str):
            yield f'"{name}" wasn\'t supplied.'
    if len(str(output.get("title", ""))) > LONGEST_TITLE:
        yield f"title is too long (maximum is {LONGEST_TITLE} characters)"
    if not isinstance(output.get("text"), str | None):
        yield "text is not a string."
    for name in ("summary", "text"):
        if len(str(output.get(name, "")).encode()) > LONGEST_TEXT:
            yield f"{name} exceeds a maximum bytesize of {LONGEST_TEXT}"
