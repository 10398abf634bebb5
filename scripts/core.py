"""Runs a plain step against the sandbox, and prints what of Coval Gate it loads and what of it runs.

A plain step tests one agent with one persona and one test set on GitHub, by two absolute thresholds. It writes no file
but those of the runner. A file runs if any of its functions runs. The files stand in the order in which the step comes
to them, each with its lines and the first sentence of its docstring. An argument names another folder of the package.
"""

import ast
import io
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import yaml
from pins import ROOT

from coval_sandbox.catalogue import AGENT_ID, PERSONA_ID
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

Profiler = Callable[[FrameType, str, Any], object]
GATE = ROOT / "src" / "coval_gate"
FUNCTION = 1  # CO_OPTIMIZED of `inspect`: the body of a function, not that of a module or a class
PLAIN = {
    "api_key": DEFAULT_KEY,
    "agent_id": AGENT_ID,
    "persona_id": PERSONA_ID,
    "test_set_id": "passing1",
    "thresholds": "Latency: p(95) < 1.5\nResolved: rate(YES) >= 90%",
}


class Core(NamedTuple):
    """Paths of files: those that a plain step loads, and those whose functions run, in that order."""

    loads: list[Path]
    runs: list[Path]


def main() -> None:
    gate = Path(sys.argv[1]) if len(sys.argv) > 1 else GATE
    core = run_plain_step(gate)
    for path in core.runs:
        print(f"{lines_of(path):5} {path.relative_to(gate)}: {sentence_of(path)}")
    print(f"A plain step loads {size_of(core.loads)}.")
    print(f"Functions run in {size_of(core.runs)}.")


def size_of(paths: list[Path]) -> str:
    return f"{len(paths)} modules with {sum(map(lines_of, paths)):,} lines"


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def sentence_of(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()))[0]


def run_plain_step(gate: Path) -> Core:
    """Run the step in this process, which must not have imported `coval_gate` before, and may not use it after.

    `gate`: the package's folder. Raises RuntimeError, with the log, if the step does not pass.
    """
    sys.path.insert(0, str(gate.parent))
    seen: dict[CodeType, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            seen.setdefault(frame.f_code)

    clock = ManualClock()
    with tempfile.TemporaryDirectory() as directory, Server(World(clock)) as server:
        runner, log = LocalRunner(Path(directory)), io.StringIO()
        declared = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"]
        defaults = {name: str(entry.get("default", "")) for name, entry in declared.items()}
        environ = runner.environ(defaults | PLAIN | {"api_base_url": server.url})
        code = _main(environ, log, clock, note)
        if code or runner.outputs["verdict"] != "passed":
            raise RuntimeError(log.getvalue())
    files = dict.fromkeys(Path(code.co_filename) for code in seen if code.co_flags & FUNCTION)
    modules = {Path(module.__file__ or "") for name, module in [*sys.modules.items()] if name.startswith("coval_gate")}
    return Core(sorted(modules), [path for path in files if gate in path.parents])


def _main(environ: dict[str, str], log: io.StringIO, sandbox: ManualClock, note: Profiler) -> int:
    """Run the step as entrypoint.py does, on a clock that does not wait. `note` sees what runs after the imports."""
    from coval_gate.base.clock import SystemClock
    from coval_gate.base.runtime import Runtime
    from coval_gate.step.main import main as run_step

    class Skipping(SystemClock):
        skipped = 0.0

        def now(self) -> float:
            return super().now() + self.skipped

        def time(self) -> float:
            return sandbox()

        def sleep(self, seconds: float) -> None:
            super().sleep(0)
            self.skipped += seconds
            sandbox.advance(seconds)

    runtime = Runtime(environ=environ, stdout=log, clock=Skipping())
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        return run_step(runtime)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


if __name__ == "__main__":
    main()
