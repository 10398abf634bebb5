"""How a run is known again: by tags that say which step of which workflow run launched it, and for what.

The key is unique: the run that has it was launched by this very step, in this attempt. The line is shared by all runs
that take each other's place: those of one pull request (or branch), workflow, job and step that evaluate the same.
Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coval_gate.ci.context import Context

PREFIX: Final = "coval-gate"
KEY: Final = re.compile(rf"{PREFIX}/(\d{{1,18}})\.(\d{{1,9}})/([0-9a-f]{{12}})/[0-9a-f]+")
NAMES: Final = ("agent_id", "persona_id", "test_set_id", "mutation_id", "mutation_ids")  # what a line evaluates


class Launch(NamedTuple):
    """What the key of a run says: which run of a workflow, which attempt at it, and a digest of step and request."""

    workflow_run: int
    attempt: int
    leg: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The tags of a run. `launch` is None outside of GitHub, where nothing tells one run of a workflow from another."""

    key: str
    line: str = ""
    launch: Launch | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(tag for tag in (self.key, self.line) if tag)

    def continues(self, tags: Iterable[str]) -> Launch | None:
        """The launch of an earlier attempt at this very step, if a run with these tags is that."""
        for earlier in map(launch_of, tags):
            if earlier and self.launch and earlier.leg == self.launch.leg and earlier[0] == self.launch.workflow_run:
                return earlier if earlier.attempt < self.launch.attempt else None
        return None

    def supersedes(self, tags: Iterable[str]) -> bool:
        """Whether this step takes the place of the run that has these tags.

        Of the same run of the workflow it does so with an earlier attempt alone: other jobs of a matrix share the
        line, and a later run of the workflow knows better.
        """
        listed = tuple(tags)
        launch = next((each for each in map(launch_of, listed) if each), None)
        if launch is None or self.launch is None or self.line not in listed:
            return False
        if launch.workflow_run == self.launch.workflow_run:
            return launch.leg == self.launch.leg and launch.attempt < self.launch.attempt
        return launch.workflow_run < self.launch.workflow_run


def identify(context: Context, body: Mapping[str, Any], nonce: str, own: Sequence[object] = ()) -> Identity:
    """The identity of a run that this step launches with `body`; `nonce` is hexadecimal and used once.

    `own`: what else of the user's tells this run from others of the same job, as JSON-ready values.
    """
    if not (context.repository and context.run_id.isdecimal() and context.run_attempt.isdecimal()):
        return Identity(f"{PREFIX}/{nonce}")
    place = [context.server_url, context.repository, context.workflow_file, context.job, context.step]
    asked = {name: value for name, value in body.items() if name != "metadata"}
    launch = Launch(int(context.run_id), int(context.run_attempt), _digest([place, asked, own])[:12])
    branch = ":".join(context.head) if context.head else context.ref
    about = f"#{context.pull_request}" if context.pull_request else branch
    line = _digest([place, about, {name: body.get(name) for name in NAMES}])[:24]
    key = f"{PREFIX}/{launch.workflow_run}.{launch.attempt}/{launch.leg}/{nonce}"
    return Identity(key, f"{PREFIX}/line/{line}", launch)


def launch_of(tag: str) -> Launch | None:
    """What a tag says, if it is the key of a run."""
    match = KEY.fullmatch(tag)
    return Launch(int(match[1]), int(match[2]), match[3]) if match else None


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
