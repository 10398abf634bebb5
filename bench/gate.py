"""Measures the cost of collecting and judging a large run: calls, CPU time and memory of a whole step.

The step launches a run that completes at once. It checks 10 metrics (5 numbers, 3 YES/NO, 1 category, 1 set) against a
threshold each and against their targets in Coval; everything passes. A second step has 50 metrics with texts. In a
third one, every simulation misses every threshold, and all reports are written. Coval is a separate process that
responds from memory, so its cost is not counted.
"""

from __future__ import annotations

import compileall
import json
import math
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from bench.figures import Figure, table
from coval_gate.inputs.inputs import declared
from coval_sandbox.runner import LocalRunner

ROOT = Path(__file__).resolve().parent.parent
SMALLEST, TENTH, LARGE, TENFOLD = 10, 3_000, 10_000, 30_000  # simulations; TENTH and TENFOLD measure the growth
RUNS = {SMALLEST: 9, TENTH: 9, LARGE: 5, TENFOLD: 5}  # more short ones, because noise affects them more
FAILING, MISSED = 2_000, 500  # simulations, and the thresholds that each of them misses
ITERATIONS = 10  # of each test case
MOST_CALLS = 11.0  # one poll, and 10 pages of 1,000 simulations
MOST_CPU = 2.0  # s
MOST_WIDE_CPU, MOST_WIDE_MB = 6.0, 400.0  # s and MB, with 50 metrics
MOST_MB = 200.0
MOST_FILE_MB = 20.0
MOST_GROWTH = 11.0  # times the CPU time for 10 times the simulations
MOST_PER_PAGE = 1_000
TOPICS = ("greeting", "billing", "refund", "booking", "address")


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
    calls: Counter[str]  # by kind


def _numbers(name: str, low: float, high: float, threshold: str) -> Made:
    target = {"comparison_operator": "lte", "target_float": high}
    return Made(name, "float", lambda rng: round(rng.uniform(low, high), 6), target, threshold)


def _yes_no(name: str, threshold: str) -> Made:
    target = {"comparison_operator": "nin", "target_values": ["UNKNOWN"]}
    return Made(name, "string", lambda rng: "NO" if rng.random() < 0.03 else "YES", target, threshold)


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
        {"comparison_operator": "in", "target_values": list(TOPICS)},
        "rate(greeting, billing, refund, booking) >= 50%",
    ),
    Made(
        "Topics",
        "set",
        lambda rng: rng.sample(TOPICS, 2),
        {"comparison_operator": "in", "target_values": list(TOPICS)},
        "rate(billing) >= 10%",
    ),
)
METRIC_IDS = {f"benchMetric{number:011}": metric for number, metric in enumerate(METRICS)}
WIDE_IDS = {f"benchTexts{number:012}": _yes_no(f"Text {number}", "rate(NO) <= 10%") for number in range(50)}


def thresholds(metrics: Iterable[Made]) -> str:
    """Return the threshold of each metric on a line of its own."""
    return "\n".join(f'"{metric.name}": {metric.threshold}' for metric in metrics)


def measure() -> list[Figure]:
    """Measure steps on runs of all sizes in turn, so that a change of the machine's speed affects all sizes."""
    # As in the image. With -B, each process would compile every module again.
    compileall.compile_dir(str(ROOT / "src" / "coval_gate"), quiet=1)
    taken: dict[int, list[Step]] = {size: [] for size in RUNS}
    with Coval() as coval:
        take_step(coval, SMALLEST)  # warm-up
        worst = take_step(coval, FAILING, missed=MISSED)
        wide = take_step(coval, LARGE, wide=True)
        for turn in range(max(RUNS.values())):
            for size, runs in RUNS.items():
                if turn < runs:
                    taken[size].append(take_step(coval, size))
    calls = max(sum(step.calls[kind] for kind in ("run", "simulations")) for step in taken[LARGE])
    cpu = {size: [step.cpu for step in steps] for size, steps in taken.items()}
    large_cpu, smallest_cpu = statistics.median(cpu[LARGE]), statistics.median(cpu[SMALLEST])
    mb = {size: max(step.mb for step in steps) for size, steps in taken.items()}
    grown, grown_beyond = (growth(cpu, beyond_start=is_beyond) for is_beyond in (False, True))
    what, smallest = f"gate, {LARGE:,} simulations", f"{SMALLEST} simulations"
    return [
        *_failing(worst),
        *_wide(wide),
        Figure(f"{what}: calls", calls, "", "", None, MOST_CALLS, calls <= MOST_CALLS),
        Figure(f"{what}: CPU", large_cpu, "s", smallest, smallest_cpu, MOST_CPU, large_cpu <= MOST_CPU),
        Figure(f"{what}: peak memory", mb[LARGE], "MB", smallest, mb[SMALLEST], MOST_MB, mb[LARGE] <= MOST_MB),
        Figure("gate, CPU for 10 times as many", grown, "x", "", None, MOST_GROWTH, grown <= MOST_GROWTH),
        Figure("gate, the same beyond the start", grown_beyond, "x", "", None, None, ok=True),
    ]


def _failing(step: Step) -> list[Figure]:
    """Return the figures of a step whose simulations miss all thresholds."""
    what = f"gate, {FAILING:,} simulations miss {MISSED} thresholds"
    return [
        Figure(f"{what}: peak memory", step.mb, "MB", "", None, MOST_MB, step.mb <= MOST_MB),
        *(
            Figure(f"{what}: {name}", mb, "MB", "", None, MOST_FILE_MB, mb <= MOST_FILE_MB)
            for name, mb in step.files.items()
        ),
    ]


def _wide(step: Step) -> list[Figure]:
    """Return the figures of a step with many metrics."""
    what = f"gate, {LARGE:,} simulations with {len(WIDE_IDS)} metrics"
    return [
        Figure(f"{what}: CPU", step.cpu, "s", "", None, MOST_WIDE_CPU, step.cpu <= MOST_WIDE_CPU),
        Figure(f"{what}: peak memory", step.mb, "MB", "", None, MOST_WIDE_MB, step.mb <= MOST_WIDE_MB),
    ]


def growth(cpu: Mapping[int, Sequence[float]], *, beyond_start: bool) -> float:
    """Return the ratio of the CPU times for 10 times the simulations. `cpu`: seconds of every step, by size.

    With `beyond_start`, the time of the smallest run is subtracted from both. Half of the rest is sorting and iterating
    over dictionaries, whose cost per entry grows slightly once they exceed the CPU's caches.
    """
    fixed, tenth, tenfold = (statistics.median(cpu[size]) for size in (SMALLEST, TENTH, TENFOLD))
    start = fixed if beyond_start else 0.0
    return (tenfold - start) / (tenth - start) if tenth > start else math.inf


def take_step(coval: Coval, size: int, *, missed: int = 0, wide: bool = False) -> Step:
    """Run a whole step on a run of `size` simulations. Raises RuntimeError if it does not pass.

    With `missed` thresholds, the step also writes files, and must fail instead. `wide`: with many metrics.
    """
    files = {"JSON": "report.json", "JUnit": "junit.xml"} if missed else {}
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
            "metric_ids": ",".join(WIDE_IDS if wide else METRIC_IDS),
            "thresholds": _missed_thresholds(missed) if missed else thresholds(WIDE_IDS.values() if wide else METRICS),
            "use_metric_targets": "true",
            "json_path": files.get("JSON", ""),
            "junit_path": files.get("JUnit", ""),
        }
        coval.calls()  # discard the calls of earlier steps
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-u", "-B", str(ROOT / "entrypoint.py")],
                env=runner.environ(inputs),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            # The step forks from this process and starts with its peak memory, so this process must stay small.
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        outputs = runner.outputs
        verdict = "failed" if missed else "passed"
        if (outputs["verdict"], outputs["total_simulations"]) != (verdict, str(size)):
            raise RuntimeError(
                f"the step has not {verdict}:\n{(directory / 'log').read_text(encoding='utf-8')[-5000:]}"
            )
        sizes = {name: (runner.workspace / path).stat().st_size / 1e6 for name, path in files.items()}
        return Step(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, sizes, coval.calls())


def _missed_thresholds(count: int) -> str:
    """Return thresholds on all metrics that every simulation misses."""
    lines = []
    for number in range(count):
        metric = METRICS[number % len(METRICS)]
        share = 1 + number / count
        bound = f"max < -{share:g}" if metric.output_type == "float" else f"rate(NEVER) >= {share:g}%"
        lines.append(f'"{metric.name}": {bound}')
    return "\n".join(lines)


class Coval:
    """A process that serves one run of each size, and counts the calls."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)

    def __enter__(self) -> Coval:
        self._process.start()
        self.url = str(self._pipe.recv())
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("end")
        self._process.join()
        self._pipe.close()

    def calls(self) -> Counter[str]:
        """Return the calls since the last call of this method, by kind: run, simulations, metric, label, other."""
        self._pipe.send("calls")
        return Counter(self._pipe.recv())


def run_id(size: int, *, wide: bool = False) -> str:
    return f"bench{'Wide' if wide else 'Run'}{size:014}"


def serve(pipe: Connection) -> None:
    """Serve until "end" is received. Send the URL first, and the new calls after each message."""
    runs = {run_id(size): CannedRun(run_id(size), size, METRIC_IDS) for size in (*RUNS, FAILING)}
    widest = run_id(LARGE, wide=True)
    runs[widest] = CannedRun(widest, LARGE, WIDE_IDS)
    server = CannedServer(runs)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(f"http://127.0.0.1:{server.server_address[1]}/v1")
    while pipe.recv() != "end":
        calls, server.calls = server.calls, Counter()
        pipe.send(dict(calls))
    server.shutdown()
    server.server_close()


class CannedRun:
    """The responses for one completed run, as bytes."""

    def __init__(self, identity: str, size: int, metric_ids: Iterable[str]) -> None:
        rng = random.Random(size)  # noqa: S311 - repeatable, not cryptography
        ids = [f"benchSim{number:014}" for number in range(size)]
        self.simulations = [
            _bytes(_simulation(simulation_id, identity, number)) for number, simulation_id in enumerate(ids)
        ]
        metrics = {metric_id: _results(metric_id, ids, rng) for metric_id in metric_ids}
        cases = -(-size // ITERATIONS)
        run: dict[str, Any] = {
            "name": f"runs/{identity}",
            "run_id": identity,
            "display_name": "Bench",
            "status": "COMPLETED",
            "create_time": "2026-01-01T00:00:00.000Z",
            "tags": [],
            "progress": {
                "total_test_cases": cases,
                "completed_test_cases": cases,
                "failed_test_cases": 0,
                "in_progress_test_cases": 0,
            },
            "results": {
                "output_ids": ids,
                "call_sids": {simulation_id: f"CA{simulation_id.lower()}" for simulation_id in ids},
                "metrics": metrics,
            },
            "metadata": {},
            "error": None,
            "error_status": "SUCCESS",
        }
        self.run = _bytes({"run": run})

    def page(self, offset: int, size: int) -> bytes:
        """Return the page of the list of simulations that begins at `offset`."""
        end = offset + size
        token = f'"{end}"' if end < len(self.simulations) else "null"
        rows = b",".join(self.simulations[offset:end])
        return b'{"simulated_conversations":[%b],"next_page_token":%b}' % (rows, token.encode())


class CannedServer(ThreadingHTTPServer):
    """Coval's API on the loopback interface."""

    daemon_threads = True

    def __init__(self, runs: dict[str, CannedRun]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs = runs
        self.calls: Counter[str] = Counter()

    def answer(self, path: str, query: dict[str, str]) -> tuple[str, bytes | None]:
        """Return the kind of a call, and its response; None if the resource does not exist."""
        if path == "/v1/conversations/simulated":
            return "simulations", self._page(query)
        kind, _, name = path.removeprefix("/v1/").partition("/")
        if kind == "runs" and name in self.runs:
            return "run", self.runs[name].run
        if kind == "metrics" and name in METRIC_IDS | WIDE_IDS:
            return "metric", _bytes({"metric": _definition(name)})
        if kind == "test-cases":
            case = {"id": name or "benchCase", "input_str": "Hello?", "description": "Says hello"}
            return "label", _bytes({"test_case": case} if name else {"test_cases": [case]})
        return "other", None

    def _page(self, query: dict[str, str]) -> bytes | None:
        match = re.fullmatch(r'run_id="(\w+)"', query.get("filter", ""))
        run = self.runs.get(match[1]) if match else None
        size = min(int(query.get("page_size", "50")), MOST_PER_PAGE)
        return run.page(int(query.get("page_token", "0")), size) if run else None


class Handler(BaseHTTPRequestHandler):
    server: CannedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        kind, body = self.server.answer(parts.path, query)
        self.server.calls[kind] += 1
        self._send(200 if body else 404, body or b'{"error":{"code":"NOT_FOUND","message":"Not found"}}')

    def do_POST(self) -> None:
        launch = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        self.server.calls["launch"] += 1
        requested = launch["test_set_id"]
        self._send(200, _bytes({"run": {"run_id": requested if requested in self.server.runs else run_id(SMALLEST)}}))

    def _send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _simulation(simulation_id: str, identity: str, number: int) -> dict[str, Any]:
    return {
        "name": f"conversations/simulated/{simulation_id}",
        "simulation_id": simulation_id,
        "run_id": identity,
        "status": "COMPLETED",
        "create_time": "2026-01-01T00:00:00.000Z",
        "agent_id": "a" * 22,
        "persona_id": "p" * 22,
        "test_set_id": "passing1",
        "test_case_id": f"benchCase{number // ITERATIONS:013}",
        "has_audio": True,
        "source": {"type": "phone", "value": "+15550100123"},
        "destination": {"type": "phone", "value": "+15550100456"},
        "error_message": None,
        "mutation_id": None,
        "mutation_name": None,
        "notes": None,
        "is_public": False,
    }


def _results(metric_id: str, ids: list[str], rng: random.Random) -> dict[str, Any]:
    made = (METRIC_IDS | WIDE_IDS)[metric_id]
    return {
        "metric_id": metric_id,
        "metric_name": made.name,
        "output_type": made.output_type,
        "values": [{"simulation_output_id": simulation_id, "value": made.draw(rng)} for simulation_id in ids],
    }


def _definition(metric_id: str) -> dict[str, Any]:
    made = (METRIC_IDS | WIDE_IDS)[metric_id]
    return {
        "name": f"metrics/{metric_id}",
        "id": metric_id,
        "metric_name": made.name,
        "description": "",
        "target_condition": made.target,
        "organization_threshold": None,
    }


def _bytes(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    print(table(measure()))
