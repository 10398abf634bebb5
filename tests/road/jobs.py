"""Jobs of CI systems other than GitHub: their steps, in one process, in a checkout and a world of their own."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_gate.step.post import post
from coval_sandbox.http import SeenRequest
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, VirtualClock, runtime


class Job:
    """`log` and `requests_seen`: of the last step. `given`: what a runtime has besides."""

    secrets: tuple[str, ...] = (KEY,)

    def __init__(self, checkout: Path, clock: VirtualClock, environ: Mapping[str, str], **given: Any) -> None:
        self.checkout, self.clock, self.given = checkout, clock, given
        self.world = World(clock.time)
        self.environ = {"COVAL_API_KEY": KEY, **environ}
        self.log = ""
        self.requests_seen: list[SeenRequest] = []

    def run(self, env: Mapping[str, str] | None = None, /, *faults: str, **inputs: str) -> int:
        """Run the main step, and return its exit code."""
        return self._in_process(main, env, faults, inputs)

    def post(self, env: Mapping[str, str] | None = None, /, **inputs: str) -> str:
        """Run the post step, and return its log."""
        assert self._in_process(post, env, (), inputs) == 0
        return self.log

    def _in_process(
        self,
        step: Callable[[Runtime], int],
        env: Mapping[str, str] | None,
        faults: tuple[str, ...],
        inputs: dict[str, str],
    ) -> int:
        stream = io.StringIO()
        with Server(self.world, faults=faults) as server:
            given = IDS | {"api_base_url": server.url} | inputs
            environ = self.environ | {f"INPUT_{name.upper()}": value for name, value in given.items()} | dict(env or {})
            try:
                return step(runtime(self.clock, environ=environ, stdout=stream, **self.given))
            finally:
                self.log, self.requests_seen = stream.getvalue(), server.requests_seen
                assert not any(secret in self.log for secret in self.secrets)

    @property
    def run_statuses(self) -> list[str]:
        return [record.status(self.clock.time()) for record in self.world.runs]

    @property
    def outputs(self) -> dict[str, str]:
        values: dict[str, str] = json.loads((self.checkout / ".coval-gate" / "outputs.json").read_text("utf-8"))
        return values

    @property
    def files(self) -> dict[str, str]:
        """The texts of all files in the checkout, by their paths."""
        files = sorted(path for path in self.checkout.rglob("*") if path.is_file())
        return {str(path.relative_to(self.checkout)): path.read_text("utf-8") for path in files}
