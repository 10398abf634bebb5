"""GitHub's runner as a host: its variables and event, its log, its commands on standard output, and its files.

Sources: GitHub's "Workflow commands for GitHub Actions"; actions/runner `ActionCommand.cs` (how a line becomes a
command) and `FileCommandManager.cs` (how the files are read).
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from actions_toolkit.command import Command
from actions_toolkit.file_command import prepare_key_value_message

from coval_gate.base import titles
from coval_gate.base.errors import RunnerError
from coval_gate.base.runtime import Runtime
from coval_gate.base.secret import SHORTEST_SECRET
from coval_gate.base.text import json_in, shortened, value_at, visible
from coval_gate.ci.host import (
    HEADS,
    MOST_WARNINGS,
    SUMMARY_LIMIT,
    Context,
    Head,
    Host,
    Level,
    Page,
    WebPages,
    Withheld,
    context_of,
)
from coval_gate.inputs.inputs import Inputs
from coval_gate.inputs.naming import Variables

DEPENDABOT, PULL_REQUEST_TARGET = "dependabot[bot]", "pull_request_target"
WEB: Final = WebPages(changes="pull", commits="commit")
BY_HAND = "workflow_dispatch"  # the event of a workflow that a person starts
BRANCH_EVENTS = ("push", "schedule", BY_HAND)  # before a workflow_run; others may be a pull request's
PAYLOADS: Final = {"workflow_run": "workflow_run", "issue_comment": "issue"}  # their ref is the default branch's
API_URL: Final = "https://api.github.com"
GITHUB_VARIABLES: Final = Variables(
    "${{{{ vars.{} }}}}",
    "Variables and secrets are set under Settings › Secrets and variables › Actions. One of an environment has a value "
    "only in a job with that `environment`.",
    "Set api_key: ${{ secrets.COVAL_API_KEY }} in the step, and add that secret to the repository.",
)
ANNOTATION_LIMIT: Final = 4000  # characters; the runner truncates at 4,096


def read_context(environ: Mapping[str, str], event: Mapping[str, Any]) -> Context:
    """Source: GitHub's documentation of default environment variables and of webhook events."""
    shas = (("pull_request", "head", "sha"), ("merge_group", "head_sha"), ("workflow_run", "head_sha"))
    event_sha = next((sha for keys in shas if (sha := _text(event, *keys))), "")
    commented = _number(event, "issue", "number") if value_at(event, "issue", "pull_request") else None
    number = _number(event, "pull_request", "number") or commented or _number_of(event)
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "")
    place = [environ.get(name) for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    run_url = "{}/{}/actions/runs/{}".format(*place) if all(place) else ""
    return _tested(environ, event, number)._replace(
        repository=environ.get("GITHUB_REPOSITORY", ""),
        sha=event_sha or environ.get("GITHUB_SHA", ""),
        event=environ.get("GITHUB_EVENT_NAME", ""),
        actor=environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        workflow_file=environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0] or environ.get("GITHUB_WORKFLOW", ""),
        job=environ.get("GITHUB_JOB", ""),
        step=environ.get("GITHUB_ACTION", ""),
        server_url=environ.get("GITHUB_SERVER_URL", ""),
        ref=environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF", ""),
        run_id=environ.get("GITHUB_RUN_ID", ""),
        run_url=f"{run_url}/attempts/{attempt}" if run_url and attempt else run_url,
        artifacts_url=f"{run_url}#artifacts" if run_url else "",
        run_attempt=attempt,
        secrets_withheld_from=_withheld(environ, event),
        head=_head(event),
        sha_is_known=not (commented or _is_unreadable(environ, event)),
        started_by_person=environ.get("GITHUB_EVENT_NAME") == BY_HAND,
        web=WEB,
        variables=GITHUB_VARIABLES,
    )


def _tested(environ: Mapping[str, str], event: Mapping[str, Any], number: int | None) -> Context:
    name, before = environ.get("GITHUB_EVENT_NAME", ""), _mapping(event, "workflow_run")
    for_pull_request = bool(
        event.get("pull_request")
        or value_at(event, "issue", "pull_request")
        or event.get("merge_group")
        or environ.get("GITHUB_HEAD_REF")
        or name.startswith("pull_request")
        or name == "merge_group"
        or (before and before.get("event") not in BRANCH_EVENTS)
        or _is_unreadable(environ, event)
    )
    ref = environ.get("GITHUB_REF", "")
    branch = _text(before, "head_branch") if before else ref.removeprefix(HEADS)
    return context_of(branch, number=number, for_pull_request=for_pull_request)


def _is_unreadable(environ: Mapping[str, str], event: Mapping[str, Any]) -> bool:
    """Return whether it cannot be seen what a workflow tests: it may be a pull request."""
    payload = PAYLOADS.get(environ.get("GITHUB_EVENT_NAME", ""))
    return payload is not None and not _mapping(event, payload)


def _withheld(environ: Mapping[str, str], event: Mapping[str, Any]) -> Withheld:
    """Empty if GitHub does not withhold the repository's secrets.

    Source: GitHub's documentation of events that trigger workflows, and of Dependabot on GitHub Actions.
    """
    head, base = (_text(event, "pull_request", side, "repo", "full_name") for side in ("head", "base"))
    # After a fork is deleted, the head has no repository. With pull_request_target, a fork's workflow has the secrets.
    if _mapping(event, "pull_request") and head != base and environ.get("GITHUB_EVENT_NAME") != PULL_REQUEST_TARGET:
        return "fork"
    # A re-run has the permissions of the workflow's first actor, not of the user who started the re-run.
    return "dependabot" if environ.get("GITHUB_ACTOR") == DEPENDABOT else ""


def _number_of(event: Mapping[str, Any]) -> int | None:
    """GitHub lists no pull request for a workflow_run of one from a fork."""
    before = _mapping(event, "workflow_run")
    listed = before.get("pull_requests")
    for pull_request in listed if isinstance(listed, list) else ():
        if value_at(pull_request, "head", "sha") == before.get("head_sha"):
            return _number(pull_request, "number")
    return None


def _head(event: Mapping[str, Any]) -> Head | None:
    before = _mapping(event, "workflow_run")
    if before.get("event") not in ("pull_request", PULL_REQUEST_TARGET):
        return None
    owner, branch = _text(before, "head_repository", "owner", "login"), _text(before, "head_branch")
    return Head(owner, branch) if owner and branch else None


def _number(event: object, *keys: str) -> int | None:
    return value if isinstance(value := value_at(event, *keys), int) and value > 0 else None


def _mapping(event: object, *keys: str) -> Mapping[str, Any]:
    return value if isinstance(value := value_at(event, *keys), dict) else {}


def _text(event: object, *keys: str) -> str:
    return value if isinstance(value := value_at(event, *keys), str) else ""


def _append_whole(path: Path, contents: bytes) -> None:
    """Without room, leave the file as it was: a part of an entry would replace an earlier value. Raises OSError."""
    with path.open("ab", buffering=0) as file:
        written = file.write(contents)
        if written < len(contents):
            file.truncate(file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class GitHubHost(Host):
    """Every text passes through `_clean`, so that no foreign text becomes a command and no secret leaks.

    Use only the pure parts of the toolkit: its writers use the process's environment and standard output.
    """

    annotates = folds = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._warnings = 0
        self.root = runtime.environ.get("GITHUB_WORKSPACE", "")

    def mask(self, secret: str) -> None:
        """Also have the runner mask it in the job's log."""
        super().mask(secret)
        if len(secret) >= SHORTEST_SECRET:
            self._emit(str(Command("add-mask", {}, secret)))

    def context(self) -> Context:
        return read_context(self._environ, self._event())

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:
        from coval_gate.features.pages.github import pages_of

        return pages_of(self, self._environ.get("GITHUB_API_URL") or API_URL, inputs, context, self._runtime)

    @property
    def room_for_warnings(self) -> int:
        """The runner silently drops more warnings of a step."""
        return max(0, MOST_WARNINGS - self._warnings)

    def annotate(self, level: Level, title: str, message: str) -> None:
        if level == "warning" and self._warnings > MOST_WARNINGS:  # the runner would drop it
            self.quote(f"Warning: {title}", *message.split("\n"))
            return
        self._warnings += level == "warning"
        lines = map(visible, self.redact(message).split("\n"))
        text = shortened("\n".join(lines), ANNOTATION_LIMIT)
        self._emit(str(Command(level, {"title": self._clean(title)}, text)))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        self._emit(str(Command("group", {}, self._clean(title))))
        try:
            yield
        finally:
            self._emit(str(Command("endgroup", {}, "")))

    def quote(self, *lines: str) -> None:
        """`log` breaks commands; lines that look like some are also protected by stop-commands.

        Other lines are not, because the runner shows the two lines that stop and resume commands.
        """
        if not any("::" in line or "##" in line for line in lines):
            super().quote(*lines)
            return
        token = f"{self._runtime.randomness.getrandbits(128):032x}"
        self._emit(str(Command("stop-commands", {}, token)))
        try:
            super().quote(*lines)
        finally:
            self._emit(f"::{token}::")

    def _event(self) -> dict[str, Any]:
        """Return {} if the event's payload cannot be read."""
        path = self._environ.get("GITHUB_EVENT_PATH")
        try:
            payload = json_in(Path(path).read_bytes()) if path else {}
        except (OSError, ValueError):
            return {}
        return payload if isinstance(payload, dict) else {}

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        self._append("GITHUB_OUTPUT", self._entries(outputs))

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        if not self._environ.get("GITHUB_OUTPUT"):
            self.fold("Outputs", (f"{name}={value}" for name, value in outputs.items()))

    def read_state(self, name: str) -> str:
        return self._environ.get(f"STATE_{name}", "")

    def save_state(self, state: Mapping[str, str]) -> None:
        self._append("GITHUB_STATE", self._entries(state))

    def add_summary(self, markdown: str) -> None:
        """Append up to the runner's limit. Raises RunnerError."""
        encoded = self.redact(markdown).encode("utf-8", "replace")
        self._append("GITHUB_STEP_SUMMARY", encoded[:SUMMARY_LIMIT].decode("utf-8", "ignore"))

    def _entries(self, values: Mapping[str, str]) -> str:
        redacted = {name: self.redact(value) for name, value in values.items()}
        return "".join(
            # A value of one line needs no delimiter.
            f"{prepare_key_value_message(name, value)}\n" if "\n" in value else f"{name}={value}\n"
            for name, value in redacted.items()
        )

    def _append(self, variable: str, text: str) -> None:
        path = self._environ.get(variable)
        if not path:
            return
        try:
            _append_whole(Path(path), text.encode("utf-8", "replace"))
        except OSError as error:
            raise RunnerError(
                titles.RUNNER_FILE,
                f"The file that {variable} names cannot be written: {error.strerror}.",
                advice="Check the runner's disk. The action's container must run as root, as on GitHub's runner.",
            ) from None
