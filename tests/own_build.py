"""A sandbox that shows all agents as ones that a job answers, although it holds the conversations itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from coval_sandbox.catalogue import SDK_MODEL_TYPE

if TYPE_CHECKING:
    from coval_sandbox.world import World

W = TypeVar("W", bound="World")


def of_own_builds(world: W) -> W:
    """Let a world show its agents so."""
    shown = world.catalogue.get_agent

    def get_agent(agent_id: str) -> dict[str, Any]:
        return {"agent": {**shown(agent_id)["agent"], "model_type": SDK_MODEL_TYPE}}

    world.catalogue.get_agent = get_agent  # type: ignore[method-assign]
    return world
