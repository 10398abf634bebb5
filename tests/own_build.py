"""A sandbox that shows all agents as ones that a job answers, although it runs the conversations itself."""

from typing import Any, TypeVar

from coval_sandbox.catalogue import SDK_MODEL_TYPE
from coval_sandbox.world import World

W = TypeVar("W", bound="World")


def with_own_builds(world: W, *only: str) -> W:
    """Make a world show its agents so, or `only` these."""
    shown = world.catalogue.get_agent

    def get_agent(agent_id: str) -> dict[str, Any]:
        agent = shown(agent_id)["agent"]
        return {"agent": {**agent, "model_type": SDK_MODEL_TYPE} if not only or agent_id in only else agent}

    world.catalogue.get_agent = get_agent  # type: ignore[method-assign]
    return world
