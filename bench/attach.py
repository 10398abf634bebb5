"""Measures `coval-gate attach` with many simulations at once, next to the SDK's own `run` with the same handler.

Both answer a run of the sandbox, which speaks in real time in a process of its own. The SDK holds all conversations in
one process; `attach` has one for each, so that none can harm another. CPU is that of the whole tree of processes, and
memory the sum of their proportional sets, in which a page counts once, however many share it. `attach` is measured a
second time, with a handler whose module fills a lot of memory on import, to see that its processes share that, too.

CPU includes the import of the SDK, about 2 s. A run with a conversation that is not held to its end is an error.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import requests

from bench.figures import ROOT, Figure
from coval_sandbox.catalogue import OWN_BUILD_ID, PERSONA_ID
from coval_sandbox.scenarios import PASSING
from coval_sandbox.world import DEFAULT_KEY

CALLS: Final = 50
ITERATIONS: Final = CALLS // PASSING.test_cases
LARGE: Final = 100  # MB of a module
EACH: Final = 153  # bytes of a list with a short text
LOOKING: Final = 0.25  # s between two looks at the memory
LONGEST: Final = 180.0  # s of a run
MOST_CPU: Final = 3.5  # times that of the SDK
MOST_MB: Final = 900.0  # 18 a simulation; a process that imported all by itself would take 85
MOST_LARGE_MB: Final = 1500.0  # unshared, the module alone would take 5,000
RUN: Final = {"agent_id": OWN_BUILD_ID, "persona_id": PERSONA_ID, "test_set_id": PASSING.test_set_id}
AGENTS: Final = ROOT / "examples" / "agents"
# The example's handler. It notes that it is called. What it says is made once.
HANDLER: Final = """\
import functools, os
import agent

agent.speech = functools.cache(agent.speech)
agent.speech()

async def answer(connection):
    with open(os.environ["BEGUN"], "a") as file:
        file.write(".")
    await agent.answer(connection)
"""
# Many small objects, as imported modules have, are harder to share than one block: a garbage collection in any process
# would write to each of them.
LARGE_HANDLER: Final = f"""\
import gc
import handler

async def answer(connection):
    gc.collect()
    await handler.answer(connection)

objects = [[str(number)] for number in range({LARGE} * 1_000_000 // {EACH})]
"""
SDK: Final = f"""\
import asyncio, os
from coval_agent_sdk import CovalVoiceClient, RunConfig
from handler import answer

client = CovalVoiceClient(api_key=os.environ["COVAL_API_KEY"], api_base_url=os.environ["INPUT_API_BASE_URL"])
config = RunConfig(**{RUN!r}, iterations={ITERATIONS}, concurrency={CALLS})
assert len(asyncio.run(client.run(config, answer)).conversations) == {CALLS}
"""


class Cost(NamedTuple):
    """The cost of answering a run: s of CPU, and MB at its peak."""

    cpu: float
    megabytes: float


@contextmanager
def sandbox(directory: Path) -> Iterator[dict[str, str]]:
    """Start a sandbox in a process of its own. Yields the environment of a process that answers its callers."""
    authority = directory / "relay-ca.pem"
    command = (sys.executable, "-m", "coval_sandbox", "--quiet", "--relay", "--relay-ca", str(authority))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline() if process.stdout else ""
            url = next(word for word in said.split() if word.startswith("http://"))
            yield os.environ | {
                "COVAL_API_KEY": DEFAULT_KEY,
                "INPUT_API_BASE_URL": url,
                "SSL_CERT_FILE": str(authority),
                "PYTHONPATH": str(AGENTS),
                "BEGUN": str(directory / "begun"),
            }
        finally:
            process.terminate()


def launch(environ: Mapping[str, str]) -> str:
    """Launch a run as the SDK does, and return its id."""
    options, metadata = {"iteration_count": ITERATIONS, "concurrency": CALLS}, {"tags": ["bench"]}
    body = RUN | {"options": options, "metadata": metadata}
    url, headers = f"{environ['INPUT_API_BASE_URL']}/runs", {"x-api-key": DEFAULT_KEY}
    return str(requests.post(url, json=body, headers=headers, timeout=30).json()["run"]["run_id"])


def of_attach(module: str) -> Cost:
    """Let `coval-gate attach` answer a run."""
    command = (sys.executable, "-m", "coval_cli", "attach", f"{module}:answer", "--run")
    return answered(lambda environ: (*command, launch(environ)))


def answered(command: Callable[[Mapping[str, str]], Sequence[str]]) -> Cost:
    """Return what a command costs that answers a run. Raises RuntimeError if it does not answer all simulations."""
    with tempfile.TemporaryDirectory() as name, sandbox(Path(name)) as environ, (Path(name) / "log").open("w+") as log:
        begun = Path(name) / "begun"
        begun.touch()
        (Path(name) / "handler.py").write_text(HANDLER)
        (Path(name) / "large.py").write_text(LARGE_HANDLER)
        process = subprocess.Popen(command(environ), cwd=name, env=dict(environ), stdout=log, stderr=log)
        cost = watched(process)
        if process.returncode or len(begun.read_text()) != CALLS:
            log.seek(0)
            raise RuntimeError(f"{len(begun.read_text())} of {CALLS} simulations were answered:\n{log.read()}")
        return cost


def watched(process: subprocess.Popen[Any]) -> Cost:
    """Wait for a process. Return what it and all below it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)  # which others wait for, too
    most, until = 0, time.monotonic() + LONGEST
    while process.poll() is None:
        if time.monotonic() > until:
            process.terminate()
            raise TimeoutError("a run was not over in time")
        most = max(most, sum(map(proportional, tree(process.pid))))
        time.sleep(LOOKING)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, most / 1e6)


def tree(root: int) -> set[int]:
    """Return the ids of a process and of all below it."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in new}
    return found


def proportional(pid: int) -> int:
    """Return the bytes of a process's memory, where a shared page counts in parts; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def measure() -> list[Figure]:
    """Return the figures."""
    theirs = answered(lambda _: (sys.executable, "-c", SDK))
    ours, large = of_attach("handler"), of_attach("large")
    what, own = f"attach, {CALLS} simulations at once", "the SDK's own run, one process"
    most_cpu, with_large, without = MOST_CPU * theirs.cpu, f"with a module of {LARGE} MB", "without"
    return [
        Figure(f"CPU of {what}", ours.cpu, "s", (own, theirs.cpu), most_cpu),
        Figure(f"memory of {what}", ours.megabytes, "MB", (own, theirs.megabytes), MOST_MB),
        Figure(f"CPU {with_large}", large.cpu, "s", (without, ours.cpu), most_cpu),
        Figure(f"memory {with_large}", large.megabytes, "MB", (without, ours.megabytes), MOST_LARGE_MB),
    ]
