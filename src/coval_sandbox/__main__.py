"""`python -m coval_sandbox`: serves a local Coval on a port."""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from . import guide
from .deterministic import SpeedClock
from .faults import FaultScript
from .quirks import parse_quirks
from .scenarios import BY_NAME
from .server import Server
from .world import DEFAULT_KEY, DEFAULT_KEYS, READ_ONLY_KEY, World

LIVE = 12.0  # s; enough for the turns of a caller and a real agent
STOP = {signal.SIGINT, signal.SIGTERM}


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        quirks = parse_quirks(options.quirk)
        if not any(text.startswith("attach-limit") for text in options.quirk):
            quirks = replace(quirks, attach_limit=quirks.attach_limit * max(1.0, options.speed))
        world = World(
            SpeedClock(options.speed),
            seed=options.seed,
            scenario=options.scenario,
            quirks=quirks,
            strict=options.strict,
            history=options.history,
            api_keys=DEFAULT_KEYS | dict.fromkeys(options.api_key, ("*",)),
        )
        world.attachments.live_seconds = LIVE  # the agents that people attach speak in real time
        faults = FaultScript(options.fault)
    except ValueError as error:
        parser.error(str(error))
    # Block signals instead of handling them, so that an early one is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        with Server(
            world,
            faults=faults,
            host=options.host,
            port=options.port,
            ca=options.ca,
            relay=options.relay,
            relay_port=options.relay_port,
            relay_ca=options.relay_ca,
        ) as server:
            _print(f"Coval sandbox on {server.url} (speed {options.speed:g}, seed {options.seed})")
            if not options.quiet:
                relay = f"{guide.relay(server.relay_ca)}\n" if options.relay else ""
                _print(f"\n{guide.guide(server.url, world, strict=options.strict)}\n{relay}Ctrl-C stops the sandbox.")
            signal.sigwait(STOP)
    except OSError as error:
        parser.error(_failure(options, error))
    return 0


def _failure(options: argparse.Namespace, error: OSError) -> str:
    if error.filename is not None:
        return f"cannot write {error.filename}: {error.strerror}; choose another file"
    ports = f"{options.port} or {options.relay_port}" if options.relay else f"{options.port}"
    other = "--port or --relay-port" if options.relay else "--port"
    return f"cannot listen on {options.host}:{ports}: {error.strerror}; choose another {other}"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coval_sandbox",
        usage="%(prog)s [OPTION ...]",
        description="Serve a local Coval: enough of its HTTP API to try a workflow without an account.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port; 0, the default, means any free one")
    add("--bind", "--host", dest="host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--ca",
        type=Path,
        metavar="FILE",
        help="serve https; write the certificate for clients to this file",
    )
    add("--speed", type=float, default=1.0, help="speed of the clock: at 15, a one-minute run takes 4 s (default: 1)")
    add("--seed", type=int, default=0, help="seed of all ids and values (default: 0)")
    add("--strict", action="store_true", help="return 404 for ids that are not listed below")
    add("--history", action="store_true", help="start with runs of the last three nights, for baselines")
    add("--scenario", choices=BY_NAME, metavar="NAME", help="use this scenario for all test sets")
    add("--quirk", action="append", default=[], metavar="NAME=VALUE", help="variant of the API; may be repeated")
    add("--fault", action="append", default=[], metavar="LINE", help="fault to inject; may be repeated")
    add("--relay", action="store_true", help="allow your own processes to answer callers, over a WebSocket with TLS")
    add("--relay-port", type=int, default=0, help="the relay's port; 0, the default, means any free one")
    add(
        "--relay-ca",
        type=Path,
        metavar="FILE",
        help="write the certificate for such processes to this file",
    )
    add("--api-key", action="append", default=[], metavar="KEY", help=f"API key to accept besides {DEFAULT_KEY}")
    add("--quiet", action="store_true", help="show only the address")
    return parser


def _epilog() -> str:
    return f"""\
scenarios: the course of a run, by its test set id
{guide.scenarios()}
  Any other test set passes, and any other id of the right length is accepted, unless --strict is given
  or the id begins with "missing".

ids:
{guide.resources()}

earlier runs, with --history, for the first agent and persona of that list:
{guide.nights()}

keys:
  {DEFAULT_KEY}  can do everything
  {READ_ONLY_KEY}  can only read

quirks, where sources about Coval disagree:
{guide.quirks()}

faults: {guide.FAULT}
  #n counts matching requests. For example, 'GET /runs/* #2-3 -> reset-after' breaks the second and third GET of
  a run. Actions:
{guide.faults()}

{guide.PAGE} explains how to run your own workflow against the sandbox.
"""


if __name__ == "__main__":
    sys.exit(main())
