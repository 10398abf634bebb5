"""What a baseline is, as inputs name it. Frozen."""

from __future__ import annotations

from typing import Literal, NamedTuple

SourceKind = Literal["run", "tag", "branch", "base", "base_agent"]


class BaselineSource(NamedTuple):
    """What the `baseline` input names: a run by its id, or the newest `last` runs with a tag or of a branch.

    base: the agent itself in the same run, which needs no earlier run, so `name` is empty. base_agent: another agent,
    which the input `base_agent_id` names, in a run beside this one.
    """

    kind: SourceKind
    name: str = ""
    last: int = 1

    def __str__(self) -> str:
        """Return the source as the input spells it."""
        if self.kind == "base":
            return self.kind
        if self.kind == "base_agent":
            return f"base agent {self.name}"
        count = f" last {self.last}" if self.last > 1 else ""
        return f"{self.kind}:{self.name}{count}"
