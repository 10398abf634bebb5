"""Measures the cost of collecting and judging a large run: calls, CPU time and memory of a whole step.

The step launches a run that completes at once, and checks each metric against a threshold and its target in Coval;
everything passes. In another step, every simulation misses every threshold, and files are written. Coval is a separate
process that responds from memory, so its cost is not counted. The judge alone compares a large run with its baseline.
"""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

from bench.figures import DEFAULTS, ROOT, Figure, compile_gate
from bench.judged import ten_large_thresholds
from coval_sandbox.http import SeenRequest
from coval_sandbox.runner import LocalRunner

sys.path.append(str(ROOT / "tests"))

from fake_host import FakeHost, Response

FEW, MANY = 10, 10_000  # simulations
RUNS = 5  # of the steps with FEW and MANY
FAILING, MISSED = 2_000, 500  # simulations, and the thresholds that each of them misses
ITERATIONS = 10  # of each test case
MOST_PER_PAGE = 1_000
MOST_CALLS = 11  # one poll, and 10 pages
MOST_CPU, MOST_MB = 2.0, 200.0  # s, MB
MOST_WIDE_CPU, MOST_WIDE_MB = 6.0, 400.0
MOST_FILE_MB = 20.0
MOST_JUDGING = 3.0  # s
REPORTS = {"JSON": "report.json", "JUnit": "junit.xml"}


class Made(NamedTuple):
    """A metric of the canned runs: the generator of its values, its target, and a threshold that it meets."""

    name: str
    output_type: str
    draw: Callable[[random.Random], float | str | list[str]]
    target: dict[str, Any]
    threshold: str


class Step(NamedTuple):
    """The cost of one step."""

    cpu: float  # s, of its process
    mb: float  # peak memory
    files: dict[str, float]  # MB, by name
    calls: int  # for the run and its simulations


def _numbers(name: str, low: float, high: float, threshold: str) -> Made:
    target = {"comparison_operator": "lte", "target_float": high}
    return Made(name, "float", lambda rng: round(rng.uniform(low, high), 6), target, threshold)


def _yes_no(name: str, threshold: str) -> Made:
    target = {"comparison_operator": "nin", "target_values": ["UNKNOWN"]}
    return Made(name, "string", lambda rng: "NO" if rng.random() < 0.03 else "YES", target, threshold)


TOPICS = ("greeting", "billing", "refund", "booking", "address")
ANY_TOPIC = {"comparison_operator": "in", "target_values": [*TOPICS]}
METRICS = (
    _numbers("Latency", 0.2, 1.4, "p(95) < 1.5"),
    _numbers("Tone: friendly", 3, 5, "avg >= 3"),
    _numbers("Words per minute", 110, 190, "med <= 180"),
    _numbers("Interruptions", 0, 4, "max <= 4"),
    _numbers("Relevance", 0.5, 1, "min >= 0.5"),
    _yes_no("Resolved", "rate(YES) >= 90%"),
    _yes_no("Compliance", "rate(NO) <= 10%"),
    _yes_no("Greets", "count(UNKNOWN) == 0"),
    Made(
        "Outcome",
        "string",
        lambda rng: rng.choice(TOPICS),
        ANY_TOPIC,
        "rate(greeting, billing, refund, booking) >= 50%",
    ),
    Made("Topics", "set", lambda rng: rng.sample(TOPICS, 2), ANY_TOPIC, "rate(billing) >= 10%"),
)
METRIC_IDS = {f"benchMetric{number:011}": metric for number, metric in enumerate(METRICS)}
WIDE_IDS = {f"benchTexts{number:012}": _yes_no(f"Text {number}", "rate(NO) <= 10%") for number in range(50)}
ALL_IDS = METRIC_IDS | WIDE_IDS


def measure() -> list[Figure]:
    """Measure steps on runs of both sizes in turn, so that both see the same changes of the machine's speed."""
    compile_gate()
    with coval() as url:
        run_step(url, FEW)  # warm-up
        worst, wide = run_step(url, FAILING, missed=MISSED), run_step(url, MANY, wide=True)
        few, many = zip(*((run_step(url, FEW), run_step(url, MANY)) for _ in range(RUNS)), strict=True)
    cpu, few_cpu = (statistics.median(step.cpu for step in steps) for steps in (many, few))
    mb, few_mb = (max(step.mb for step in steps) for steps in (many, few))
    what, less = f"{MANY:,} simulations with {len(METRICS)} metrics", f"{FEW} simulations"
    lost = f"{FAILING:,} simulations that miss {MISSED} thresholds"
    decide = ten_large_thresholds(random.Random("speed"))  # noqa: S311 - the same each time
    began = time.process_time()
    decide()
    took = time.process_time() - began
    return [
        Figure(f"{what}: CPU", cpu, "s", (less, few_cpu), MOST_CPU),
        Figure(f"{what}: peak memory", mb, "MB", (less, few_mb), MOST_MB),
        Figure(f"{what}: calls", max(step.calls for step in many), most=MOST_CALLS),
        Figure(f"the same with {len(WIDE_IDS)} metrics: CPU", wide.cpu, "s", most=MOST_WIDE_CPU),
        Figure(f"the same with {len(WIDE_IDS)} metrics: peak memory", wide.mb, "MB", most=MOST_WIDE_MB),
        Figure(f"{lost}: peak memory", worst.mb, "MB", most=MOST_MB),
        *(Figure(f"{lost}: {name}", size, "MB", most=MOST_FILE_MB) for name, size in worst.files.items()),
        Figure("ten comparisons, 1,000 test cases with 10 conversations each: CPU", took, "s", most=MOST_JUDGING),
    ]


def run_step(url: str, size: int, *, missed: int = 0, wide: bool = False) -> Step:
    """Run a whole step on a run of `size` simulations. Raises RuntimeError if it does not pass.

    With `missed` thresholds, the step also writes files, and must fail instead. `wide`: with many metrics.
    """
    metrics = WIDE_IDS if wide else METRIC_IDS
    met = [f'"{metric.name}": {metric.threshold}' for metric in metrics.values()]
    inputs = DEFAULTS | {
        "api_key": "coval_sk_test_sandbox",
        "api_base_url": f"{url}/v1",
        "agent_id": "a" * 22,
        "persona_id": "p" * 22,
        "test_set_id": run_id(size, wide=wide),
        "iteration_count": str(ITERATIONS),
        "metric_ids": ",".join(metrics),
        "thresholds": "\n".join(_missed(missed) if missed else met),
        "use_metric_targets": "true",
    }
    inputs |= {"json_path": REPORTS["JSON"], "junit_path": REPORTS["JUnit"]} if missed else {}
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("w+") as log:
        runner = LocalRunner(Path(directory))
        command = [sys.executable, "-I", "-u", "-B", str(ROOT / "entrypoint.py")]
        process = subprocess.Popen(command, env=runner.environ(inputs), stdout=log, stderr=subprocess.STDOUT)
        # The step forks from this process and starts with its peak memory, so this process must stay small.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        verdict = "failed" if missed else "passed"
        if (runner.outputs["verdict"], runner.outputs["total_simulations"]) != (verdict, str(size)):
            log.seek(0)
            raise RuntimeError(f"the step should have {verdict}:\n{log.read()[-5000:]}")
        sizes = {name: (runner.workspace / path).stat().st_size / 1e6 for name, path in REPORTS.items() if missed}
        calls = requests.get(url, timeout=30).json()
        return Step(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, sizes, calls)


def _missed(count: int) -> list[str]:
    """Return thresholds on all metrics that every simulation misses."""
    lines = []
    for number in range(count):
        metric, share = METRICS[number % len(METRICS)], 1 + number / count
        never = "UNKNOWN" if metric.target.get("target_values") == ["UNKNOWN"] else "NEVER"
        bound = f"max < -{share:g}" if metric.output_type == "float" else f"rate({never}) >= {share:g}%"
        lines.append(f'"{metric.name}": {bound}')
    return lines


def run_id(size: int, *, wide: bool = False) -> str:
    return f"bench{'Wide' if wide else 'Run'}{size:014}"


# Coval, in a process of its own


@contextmanager
def coval() -> Iterator[str]:
    """Serve one run of each size. The root shows how often a run or its simulations were read since the launch."""
    command = [sys.executable, "-c", "from bench.gate import serve; serve()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout  # noqa: S101 - for mypy
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def serve() -> None:
    """Serve until the process ends."""
    runs = {run_id(size): canned_run(run_id(size), size, METRIC_IDS) for size in (FEW, MANY, FAILING)}
    wide = run_id(MANY, wide=True)
    with Coval(runs | {wide: canned_run(wide, MANY, WIDE_IDS)}) as server:
        print(server.url, flush=True)
        threading.Event().wait()


def canned_run(identity: str, size: int, metrics: Mapping[str, Made]) -> tuple[bytes, list[bytes]]:
    """Return a completed run, and its simulations."""
    rng = random.Random(size)  # noqa: S311 - repeatable, not cryptography
    ids = [f"benchSim{number:014}" for number in range(size)]
    cases = size // ITERATIONS
    results = {
        metric_id: {
            "metric_id": metric_id,
            "metric_name": made.name,
            "output_type": made.output_type,
            "values": [{"simulation_output_id": one, "value": made.draw(rng)} for one in ids],
        }
        for metric_id, made in metrics.items()
    }
    run: dict[str, Any] = {
        "run_id": identity,
        "display_name": "Bench",
        "status": "COMPLETED",
        "create_time": "2026-01-01T00:00:00.000Z",
        "progress": {"total_test_cases": cases, "completed_test_cases": cases, "failed_test_cases": 0},
        "results": {"output_ids": ids, "call_sids": {one: f"CA{one.lower()}" for one in ids}, "metrics": results},
        "error_status": "SUCCESS",
    }
    simulation: dict[str, Any] = {
        "run_id": identity,
        "status": "COMPLETED",
        "create_time": "2026-01-01T00:00:00.000Z",
        "agent_id": "a" * 22,
        "persona_id": "p" * 22,
        "test_set_id": "passing1",
        "has_audio": True,
        "destination": {"type": "phone", "value": "+15550100456"},
        "error_message": None,
        "mutation_id": None,
    }
    case_of = {one: f"benchCase{number // ITERATIONS:013}" for number, one in enumerate(ids)}
    simulations = [_bytes(simulation | {"simulation_id": one, "test_case_id": case_of[one]}) for one in ids]
    return _bytes({"run": run}), simulations


class Coval(FakeHost):
    """Coval with canned runs, by id."""

    def __init__(self, runs: Mapping[str, tuple[bytes, list[bytes]]]) -> None:
        super().__init__("")
        self.runs = runs
        self.calls = 0

    def perform(self, request: SeenRequest, path: str) -> Response:
        self.calls += "runs" in path or "conversations" in path
        match path.split("/")[1:]:
            case [""]:
                return Response(200, self.calls)
            case ["v1", "runs"] if request.method == "POST":
                self.calls = 0
                return Response(200, {"run": {"run_id": request.json["test_set_id"]}})
            case ["v1", "runs", name] if name in self.runs:
                return Response(200, self.runs[name][0])
            case ["v1", "conversations", "simulated"]:
                return Response(200, self.page(request.query))
            case ["v1", "metrics", name] if name in ALL_IDS:
                made = ALL_IDS[name]
                metric = {"id": name, "metric_name": made.name, "target_condition": made.target}
                return Response(200, {"metric": metric})
            case ["v1", "test-cases", *name]:
                case = {"id": name[0] if name else "benchCase", "input_str": "Hello?", "description": "Says hello"}
                return Response(200, {"test_case": case} if name else {"test_cases": [case]})
        return Response(404, {"error": {"code": "NOT_FOUND", "message": "Not found"}})

    def page(self, query: Mapping[str, str]) -> bytes:
        """Return a page of the simulations of a run."""
        (run,) = re.findall(r'run_id="(\w+)"', query["filter"])
        simulations, start = self.runs[run][1], int(query.get("page_token", "0"))
        end = start + min(int(query.get("page_size", "50")), MOST_PER_PAGE)
        token = f'"{end}"' if end < len(simulations) else "null"
        return b'{"simulated_conversations":[%b],"next_page_token":%b}' % (
            b",".join(simulations[start:end]),
            token.encode(),
        )


def _bytes(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
