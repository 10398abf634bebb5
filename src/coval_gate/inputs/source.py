"""Which baseline an input names."""

from __future__ import annotations

from typing import Literal

from coval_gate.base.records import NamedTuple

SourceKind = Literal["run", "tag", "branch", "base", "base_agent"]


class BaselineSource(NamedTuple):
    """A run by its id, or the newest `last` runs with a tag or of a branch.

    base: the agent itself in the same run, so `name` is empty. base_agent: the agent that the input `base_agent_id`
    names, in a run beside this one.
    """

    kind: SourceKind
    name: str = ""
    last: int = 1

    def __str__(self) -> str:
        if self.kind == "base":
            return self.kind
        if self.kind == "base_agent":
            return f"base agent {self.name}"
        count = f" last {self.last}" if self.last > 1 else ""
        return f"{self.kind}:{self.name}{count}"
