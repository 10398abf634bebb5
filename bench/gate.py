"""Measures the cost of collecting and judging a large run: calls, CPU time and memory of a whole step.

The step launches a run that completes at once, and checks each metric against a threshold and its target in Coval;
everything passes. In another step, every simulation misses every threshold, and files are written. Coval is a separate
process that responds from memory, so its cost is not counted. The judge alone compares a large run with its baseline.
"""

import compileall
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from bench.figures import Figure
from bench.steps import ten_large_thresholds
from coval_gate.inputs.inputs import declared
from coval_sandbox.runner import LocalRunner

ROOT = Path(__file__).resolve().parent.parent
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


def _topics(name: str, output_type: str, draw: Callable[[random.Random], str | list[str]], threshold: str) -> Made:
    return Made(name, output_type, draw, {"comparison_operator": "in", "target_values": list(TOPICS)}, threshold)


TOPICS = ("greeting", "billing", "refund", "booking", "address")
METRICS = (
    _numbers("Latency", 0.2, 1.4, "p(95) < 1.5"),
    _numbers("Tone: friendly", 3, 5, "avg >= 3"),
    _numbers("Words per minute", 110, 190, "med <= 180"),
    _numbers("Interruptions", 0, 4, "max <= 4"),
    _numbers("Relevance", 0.5, 1, "min >= 0.5"),
    _yes_no("Resolved", "rate(YES) >= 90%"),
    _yes_no("Compliance", "rate(NO) <= 10%"),
    _yes_no("Greets", "count(UNKNOWN) == 0"),
    _topics("Outcome", "string", lambda rng: rng.choice(TOPICS), "rate(greeting, billing, refund, booking) >= 50%"),
    _topics("Topics", "set", lambda rng: rng.sample(TOPICS, 2), "rate(billing) >= 10%"),
)
METRIC_IDS = {f"benchMetric{number:011}": metric for number, metric in enumerate(METRICS)}
WIDE_IDS = {f"benchTexts{number:012}": _yes_no(f"Text {number}", "rate(NO) <= 10%") for number in range(50)}
ALL_IDS = METRIC_IDS | WIDE_IDS


def measure() -> list[Figure]:
    """Measure steps on runs of both sizes in turn, so that a change of the machine's speed affects both."""
    # As in the image. With -B, each process would compile every module again.
    compileall.compile_dir(str(ROOT / "src" / "coval_gate"), quiet=1)
    with Coval() as coval:
        take_step(coval, FEW)  # warm-up
        worst, wide = take_step(coval, FAILING, missed=MISSED), take_step(coval, MANY, wide=True)
        few, many = zip(*((take_step(coval, FEW), take_step(coval, MANY)) for _ in range(RUNS)), strict=True)
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


def take_step(coval: "Coval", size: int, *, missed: int = 0, wide: bool = False) -> Step:
    """Run a whole step on a run of `size` simulations. Raises RuntimeError if it does not pass.

    With `missed` thresholds, the step also writes files, and must fail instead. `wide`: with many metrics.
    """
    files = {"JSON": "report.json", "JUnit": "junit.xml"} if missed else {}
    metrics = WIDE_IDS if wide else METRIC_IDS
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        runner = LocalRunner(directory)
        inputs = {declaration.name: declaration.default for declaration in declared()} | {
            "api_key": "coval_sk_test_sandbox",
            "api_base_url": coval.url,
            "agent_id": "a" * 22,
            "persona_id": "p" * 22,
            "test_set_id": run_id(size, wide=wide),
            "iteration_count": str(ITERATIONS),
            "metric_ids": ",".join(metrics),
            "thresholds": "\n".join(_missed(missed) if missed else _met(metrics)),
            "use_metric_targets": "true",
            "json_path": files.get("JSON", ""),
            "junit_path": files.get("JUnit", ""),
        }
        coval.calls()  # discard the calls of earlier steps
        log = directory / "log"
        with log.open("wb") as stream:
            command = [sys.executable, "-I", "-u", "-B", str(ROOT / "entrypoint.py")]
            process = subprocess.Popen(command, env=runner.environ(inputs), stdout=stream, stderr=subprocess.STDOUT)
            # The step forks from this process and starts with its peak memory, so this process must stay small.
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        verdict = "failed" if missed else "passed"
        if (runner.outputs["verdict"], runner.outputs["total_simulations"]) != (verdict, str(size)):
            raise RuntimeError(f"the step has not {verdict}:\n{log.read_text(encoding='utf-8')[-5000:]}")
        sizes = {name: (runner.workspace / path).stat().st_size / 1e6 for name, path in files.items()}
        return Step(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, sizes, coval.calls())


def _met(metrics: Mapping[str, Made]) -> list[str]:
    return [f'"{metric.name}": {metric.threshold}' for metric in metrics.values()]


def _missed(count: int) -> list[str]:
    """Return thresholds on all metrics that every simulation misses."""
    lines = []
    for number in range(count):
        metric, share = METRICS[number % len(METRICS)], 1 + number / count
        never = "UNKNOWN" if metric.target.get("target_values") == ["UNKNOWN"] else "NEVER"
        bound = f"max < -{share:g}" if metric.output_type == "float" else f"rate({never}) >= {share:g}%"
        lines.append(f'"{metric.name}": {bound}')
    return lines


class Coval:
    """A process that serves one run of each size, and counts the calls."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=[theirs], daemon=True)

    def __enter__(self) -> "Coval":
        self._process.start()
        self.url: str = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def calls(self) -> int:
        """Return the calls for runs and simulations since the last call of this method."""
        self._pipe.send("calls")
        return int(self._pipe.recv())


def run_id(size: int, *, wide: bool = False) -> str:
    return f"bench{'Wide' if wide else 'Run'}{size:014}"


def serve(pipe: Connection) -> None:
    """Serve until the process ends. Send the URL first, and the number of new calls after each message."""
    runs = [CannedRun(run_id(size), size, METRIC_IDS) for size in (FEW, MANY, FAILING)]
    server = CannedServer([*runs, CannedRun(run_id(MANY, wide=True), MANY, WIDE_IDS)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(f"http://127.0.0.1:{server.server_address[1]}/v1")
    while pipe.recv():
        calls, server.calls = server.calls, 0
        pipe.send(calls)


class CannedRun:
    """The responses for one completed run, as bytes."""

    def __init__(self, identity: str, size: int, metrics: Mapping[str, Made]) -> None:
        rng = random.Random(size)  # noqa: S311 - repeatable, not cryptography
        ids = [f"benchSim{number:014}" for number in range(size)]
        self.id = identity
        self.simulations = [_bytes(_simulation(one, identity, number)) for number, one in enumerate(ids)]
        cases = -(-size // ITERATIONS)
        run: dict[str, Any] = {
            "run_id": identity,
            "display_name": "Bench",
            "status": "COMPLETED",
            "create_time": "2026-01-01T00:00:00.000Z",
            "progress": {"total_test_cases": cases, "completed_test_cases": cases, "failed_test_cases": 0},
            "results": {
                "output_ids": ids,
                "call_sids": {one: f"CA{one.lower()}" for one in ids},
                "metrics": {metric_id: _results(metric_id, ids, rng) for metric_id in metrics},
            },
            "error_status": "SUCCESS",
        }
        self.run = _bytes({"run": run})

    def page(self, query: Mapping[str, str]) -> bytes:
        """Return a page of the list of simulations."""
        offset, size = int(query.get("page_token", "0")), min(int(query.get("page_size", "50")), MOST_PER_PAGE)
        end = offset + size
        token = f'"{end}"' if end < len(self.simulations) else "null"
        rows = b",".join(self.simulations[offset:end])
        return b'{"simulated_conversations":[%b],"next_page_token":%b}' % (rows, token.encode())


class CannedServer(ThreadingHTTPServer):
    """Coval's API on the loopback interface."""

    daemon_threads = True

    def __init__(self, runs: Sequence[CannedRun]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs = {run.id: run for run in runs}
        self.calls = 0

    def answer(self, path: str, query: dict[str, str]) -> bytes | None:
        """Return the response to a call; None if the resource does not exist."""
        kind, _, name = path.removeprefix("/v1/").partition("/")
        listed = re.fullmatch(r'run_id="(\w+)"', query.get("filter", ""))
        if path == "/v1/conversations/simulated" and listed:
            self.calls += 1
            return self.runs[listed[1]].page(query)
        if kind == "runs" and name in self.runs:
            self.calls += 1
            return self.runs[name].run
        if kind == "metrics" and name in ALL_IDS:
            metric = ALL_IDS[name]
            return _bytes({"metric": {"id": name, "metric_name": metric.name, "target_condition": metric.target}})
        if kind == "test-cases":
            case = {"id": name or "benchCase", "input_str": "Hello?", "description": "Says hello"}
            return _bytes({"test_case": case} if name else {"test_cases": [case]})
        return None


class Handler(BaseHTTPRequestHandler):
    server: CannedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.server.answer(parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()})
        self._send(200 if body else 404, body or b'{"error":{"code":"NOT_FOUND","message":"Not found"}}')

    def do_POST(self) -> None:
        launch = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        self._send(200, _bytes({"run": {"run_id": launch["test_set_id"]}}))

    def _send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _simulation(simulation_id: str, identity: str, number: int) -> dict[str, Any]:
    return {
        "simulation_id": simulation_id,
        "run_id": identity,
        "status": "COMPLETED",
        "create_time": "2026-01-01T00:00:00.000Z",
        "agent_id": "a" * 22,
        "persona_id": "p" * 22,
        "test_set_id": "passing1",
        "test_case_id": f"benchCase{number // ITERATIONS:013}",
        "has_audio": True,
        "destination": {"type": "phone", "value": "+15550100456"},
        "error_message": None,
        "mutation_id": None,
    }


def _results(metric_id: str, ids: list[str], rng: random.Random) -> dict[str, Any]:
    made = ALL_IDS[metric_id]
    return {
        "metric_id": metric_id,
        "metric_name": made.name,
        "output_type": made.output_type,
        "values": [{"simulation_output_id": simulation_id, "value": made.draw(rng)} for simulation_id in ids],
    }


def _bytes(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
