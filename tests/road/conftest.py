"""One trip down the whole road, against the sandbox on a clock that only sleeping moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY, Trip, VirtualClock, travel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def ride(tmp_path: Path, clock: VirtualClock) -> Callable[..., tuple[Trip, Server]]:
    """Take the road once; checks on the way what holds for every trip."""

    def take(
        *faults: str,
        quirks: Quirks | None = None,
        event: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        prepare: Callable[[World], dict[str, str]] | None = None,
        world: World | None = None,
        silent: bool = False,
        bare: bool = False,
        **inputs: str,
    ) -> tuple[Trip, Server]:
        world = world or World(clock.time, quirks=quirks or Quirks())
        with Server(world, faults=faults) as server:
            inputs = {"api_base_url": server.url} | inputs | (prepare(world) if prepare else {})
            trip = travel(
                tmp_path, clock=clock, event=event or PULL_REQUEST, env=env, url=inputs.pop("api_base_url"), **inputs
            )
        if bare:
            return trip, server
        assert list(trip.outputs) == list(OUTPUTS), "all outputs exist on every path"
        green = trip.outputs["verdict"] in ("passed", "skipped", "")
        assert trip.exit_code == (0 if green else 1)
        assert len(trip.annotations("error")) == (0 if green or silent else 1), "one ::error where the step fails"
        assert trip.summary.startswith("" if silent else "### ")
        written = "\n".join(line for line in trip.log.splitlines() if not line.startswith("::add-mask::"))
        assert KEY not in f"{written}{trip.outputs}{trip.state}{trip.summary}"
        return trip, server

    return take
