"""`python -m coval_sandbox`: serves a local Coval on a port."""

from __future__ import annotations

import argparse
import signal
import sys

from .clock import SpeedClock
from .faults import ACTIONS, FaultScript
from .quirks import describe_quirks, parse_quirks
from .scenarios import BY_NAME, SCENARIOS
from .server import Server
from .world import DEFAULT_KEY, DEFAULT_KEYS, World

STOP = {signal.SIGINT, signal.SIGTERM}


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        world = World(
            SpeedClock(options.speed),
            seed=options.seed,
            scenario=options.scenario,
            quirks=parse_quirks(options.quirk),
            api_keys=DEFAULT_KEYS | dict.fromkeys(options.api_key, ("*",)),
        )
        faults = FaultScript(options.fault)
    except ValueError as error:
        parser.error(str(error))
    # Signals are blocked instead of handled, so that an early one is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        with Server(world, faults=faults, host=options.host, port=options.port) as server:
            line = f"Coval sandbox on {server.url} (speed {options.speed:g}, seed {options.seed})"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            signal.sigwait(STOP)
    except OSError as error:
        parser.error(f"cannot listen on {options.host}:{options.port}: {error.strerror}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coval_sandbox",
        description="A local Coval: enough of its HTTP API to develop and test against.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0, the default, takes any free port")
    add("--host", default="127.0.0.1", help="default: %(default)s")
    add("--speed", type=float, default=1.0, help="speed relative to real time (default: 1)")
    add("--seed", type=int, default=0, help="seed of ids and values (default: 0)")
    add("--scenario", choices=BY_NAME, metavar="NAME", help="scenario for every test set, regardless of its id")
    add("--quirk", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    add("--fault", action="append", default=[], metavar="LINE", help="may be repeated")
    add("--api-key", action="append", default=[], metavar="KEY", help=f"additional API key besides {DEFAULT_KEY}")
    return parser


def _epilog() -> str:
    scenarios = [f"  {s.test_set_id}  {s.name:<15} {s.summary}" for s in SCENARIOS]
    actions = [f"  {syntax:<28} {meaning}" for syntax, meaning in ACTIONS.items()]
    return "\n".join(
        [
            "scenarios, by test set id (any other id: passing):",
            *scenarios,
            "",
            "quirks:",
            *(f"  {line}" for line in describe_quirks()),
            "",
            "faults: 'METHOD PATH-GLOB [#n | #n-m | #n- | *] -> ACTION', e.g. 'GET /runs/* #2-3 -> reset-after'",
            *actions,
            "  Add 'before' or 'after' to override whether the request takes effect.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
