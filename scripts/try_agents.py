"""Runs the agents of examples/agents with the real packages: each answers the sandbox's callers by `coval-gate attach`.

    .venv/bin/python scripts/try_agents.py
    .venv/bin/python scripts/try_agents.py --venv /tmp/agents pipecat_agent

Pipecat and LiveKit Agents are large, so they are installed into a virtual environment of their own. `--venv` keeps it
for the next time. No key or account is needed. Every agent answers four callers at
once, twice: with a file to speak from, and without it, which must be reported as a crash.
"""

import argparse
import array
import math
import os
import shutil
import subprocess
import sys
import venv
import wave
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from coval_sandbox import catalogue
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

ROOT: Final = Path(__file__).resolve().parents[1]
AGENTS: Final = ROOT / "examples" / "agents"
NAMES: Final = ("agent", "pipecat_agent", "livekit_agent")
PACKAGES: Final = ("pipecat-ai==1.14.0", "livekit-agents==1.8.9")
RATE: Final = 16_000  # Hz
TONE: Final = 440  # Hz; the sandbox's judges know a good agent by it
CALLERS: Final = 4
LONGEST: Final = 300  # s for a run
CRASH: Final = "FileNotFoundError"  # of an agent whose file is missing


class Outcome(NamedTuple):
    """How a run ended: the exit code and log of `attach`, and the simulations."""

    code: int
    log: str
    simulations: tuple[str, ...]
    good: int  # simulations in which the caller heard the file


def main() -> int:
    """Try the agents, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, metavar="DIR", help="where the packages are kept")
    parser.add_argument("agents", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; all without a name")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        python = install(options.venv or folder / "venv")
        write_speech(folder / "speech.wav")
        failures = [failure for agent in options.agents for failure in try_agent(python, agent, folder)]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


def install(folder: Path) -> Path:
    """Return the Python of an environment with the packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, f"{ROOT}[attach]", *PACKAGES], check=True)
    return python


def write_speech(path: Path) -> None:
    """Write a second and a half of the tone."""
    samples = range(RATE * 3 // 2)
    audio = array.array("h", (round(8_000 * math.sin(2 * math.pi * TONE * at / RATE)) for at in samples))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(audio.tobytes())


def try_agent(python: Path, agent: str, folder: Path) -> list[str]:
    """Return what an agent did wrong."""
    failures = []
    speaking = answered(python, agent, folder, folder / "speech.wav")
    if speaking.code or speaking.good < CALLERS:
        failures.append(f"{agent}: {speaking.good} of {CALLERS} callers heard the file\n{_shown(speaking)}")
    crashing = answered(python, agent, folder, folder / "missing.wav")
    if crashing.code != 1 or CRASH not in crashing.log:
        failures.append(f"{agent}: no crash was reported without the file\n{_shown(crashing)}")
    print(f"{agent}: {'failed' if failures else 'passed'}", flush=True)
    return failures


def answered(python: Path, agent: str, folder: Path, speech: Path) -> Outcome:
    """Run an agent that answers a run of its own in the sandbox, in real time."""
    world = World(SpeedClock(1))
    directory = folder / f"{agent}-{speech.stem}"
    shutil.copytree(AGENTS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    with Server(world, relay=True) as server:
        options = {"concurrency": CALLERS, "sub_sample_size": CALLERS}
        ids = {"agent_id": catalogue.OWN_BUILD_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
        world.launch(ids | {"options": options})
        run = world.runs[-1]
        environ = {
            **os.environ,
            "COVAL_API_KEY": DEFAULT_KEY,
            "SSL_CERT_FILE": str(server.relay_ca),
            "AGENT_SPEECH": str(speech),
        }
        command = [str(python), "-m", "coval_cli", "attach", f"{agent}:answer", "--run", run.run_id]
        command += ["--api-base-url", server.url]
        with subprocess.Popen(
            command, cwd=directory, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                log, _ = process.communicate(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                process.terminate()
                log, _ = process.communicate()
        simulations = [planned.simulation_id for planned in run.plan.simulations]
        shown = tuple(_simulation(world, simulation) for simulation in simulations)
        good = sum(_heard(world, simulation) for simulation in simulations)
        logs = "".join(path.read_text(errors="replace") for path in directory.glob(".coval-gate/logs/*.log"))
        return Outcome(process.returncode, log + logs, shown, good)


def _heard(world: World, simulation_id: str) -> bool:
    outputs = world.list_metric_outputs(simulation_id, {})["metrics"]
    values = {output["metric_id"]: output["value"] for output in outputs}
    return values.get(catalogue.RESOLVED.id) == "YES"


def _simulation(world: World, simulation_id: str) -> str:
    shown = world.get_simulation(simulation_id)["simulated_conversation"]
    return f"{simulation_id} {shown['status']} {shown['error_message'] or ''}"


def _shown(outcome: Outcome) -> str:
    return "\n".join([f"exit code {outcome.code}", *outcome.simulations, outcome.log])


if __name__ == "__main__":
    sys.exit(main())
