"""Runs the command `attach`."""

from __future__ import annotations

import shutil
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coval_gate.attach.follow import Follower, summary_of
from coval_gate.attach.handler import form_problem
from coval_gate.attach.messages import Limits, Setup
from coval_gate.attach.process import WorkerProcess
from coval_gate.attach.record import WORKER_LOG, Busy, RecordKeeper
from coval_gate.base import titles
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, GateError, InputError, InternalError, RunnerError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait, run
from coval_gate.base.text import duration, one_line, quoted
from coval_gate.base.times import Times
from coval_gate.ci.credentials import without_credentials
from coval_gate.ci.detect import detect_host
from coval_gate.ci.host import BUG
from coval_gate.config.fields import IDENTIFIER
from coval_gate.config.inputs import KEY_VARIABLE, api_root, key_in, parse_inputs
from coval_gate.config.parsing import MOST_RUN_TAGS
from coval_gate.coval.client import connect
from coval_gate.model.attachment import TAG, counts_in, path_of, tag_of
from coval_gate.runs.legs import Session
from coval_gate.runs.retag import hides_tags, lowered, retag, with_room
from coval_gate.runs.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.base.clock import Clock
    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs
    from coval_gate.model.run import Run

DONE, INCOMPLETE, USAGE, KILLED = 0, 1, 2, 130  # exit codes
SDK: Final = "coval_agent_sdk"
INSTALL: Final = "Install it where your agent runs: pip install 'coval-gate[attach]'"
CANCELLED: Final = "cancelled"
READ: Final = ("api_key", "api_base_url", "workspace_id", "max_wait_time")
TICK: Final = 0.1  # s
TAGGING: Final = 20.0  # s


class Options(NamedTuple):
    """The options of the command: the run, and the handler (MODULE:HANDLER) or the command that answers."""

    run: str
    handler: str = ""
    command: tuple[str, ...] = ()


class UnusableError(GateError):
    """The command cannot begin, for a reason that its user must mend."""


def attach(runtime: Runtime, options: Options, limits: Limits = Limits()) -> int:  # noqa: B008 - frozen
    """Answer the simulations of a run, and return the exit code."""
    host = detect_host(runtime)
    host.mask(key_in(runtime.environ))
    try:
        keeper = _open_record(host, runtime, options)
    except GateError as error:
        _show_error(host, error)
        return USAGE
    try:
        return run(_attach(host, runtime, options, limits, keeper), runtime.clock)
    finally:
        keeper.close()
        host.release()


def _open_record(host: Host, runtime: Runtime, options: Options) -> RecordKeeper:
    """Return the record of the run, which no other process may write now. Raises GateError."""
    if not IDENTIFIER.fullmatch(options.run):
        raise InputError([("--run", f"must be the id of a run; got {quoted(options.run)}.")])
    named = options.handler or " ".join(options.command)
    keeper = RecordKeeper(host.workspace, options.run, named, runtime.clock, host.redact)
    try:
        keeper.open()
    except Busy as busy:
        since = ""
        if busy.changed is not None:
            since = f"; it wrote its record {duration(runtime.clock.time() - busy.changed)} ago"
        raise UnusableError(
            titles.ALREADY_ATTACHED,
            f"Another coval-gate attach answers run {options.run} in this workspace{since}.",
            advice="Let it go on, or end it first.",
        ) from None
    except ValueError as problem:
        raise InputError([(path_of(options.run), str(problem))]) from None
    return keeper


def _attach(host: Host, runtime: Runtime, options: Options, limits: Limits, keeper: RecordKeeper) -> Procedure[int]:
    """Do what the command does, through every error and interruption."""
    workers: list[WorkerProcess] = []
    try:
        code, problem = yield from _work(host, runtime, options, limits, keeper, workers)
        yield from _end(workers, limits)
    except Interrupted:
        yield from _end(workers, limits)
        keeper.finish(CANCELLED)
        seen = f" {summary_of(keeper)}" if keeper.record.simulations else ""
        host.log(f"Ended by a signal.{seen} The run goes on in Coval until a later step ends it.")
        return KILLED
    finally:
        for worker in workers:
            worker.kill()
    if problem:
        _show_error(host, problem)
        try:
            keeper.finish(problem.what)
        except RunnerError as error:
            _show_error(host, error)
    return code


def _work(
    host: Host,
    runtime: Runtime,
    options: Options,
    limits: Limits,
    keeper: RecordKeeper,
    workers: list[WorkerProcess],
) -> Procedure[tuple[int, GateError | None]]:
    """Answer the run, and return the exit code and what went wrong. `workers` gets the worker that is started."""
    try:
        inputs = _inputs(runtime.environ)
        _check(options, runtime.environ)
        worker = _start(host, runtime, options, limits, inputs, keeper)
        workers.append(worker)
        deadline = runtime.clock.now() + inputs.max_wait_time
        yield from _load(worker, keeper, options, host, runtime.clock, deadline)
        return (yield from _answer(host, runtime, options.run, limits, inputs, keeper, worker, deadline)), None
    except (InputError, UnusableError) as error:
        return USAGE, error
    except GateError as error:
        return INCOMPLETE, error
    except Exception as error:  # noqa: BLE001 - the record must say that no one answers any more
        host.fold(BUG, traceback.format_exc().splitlines())
        return INCOMPLETE, InternalError(error)


def _inputs(environ: Mapping[str, str]) -> Inputs:
    """Return the inputs of the command. Raises InputError, UnusableError."""
    names = [KEY_VARIABLE, *(f"INPUT_{name.upper()}" for name in READ)]
    inputs, problems = parse_inputs({name: environ[name] for name in names if name in environ})
    if problems:
        raise InputError(problems)
    if inputs.api_key is None:
        raise UnusableError(
            titles.NO_KEY,
            f"{KEY_VARIABLE} is not set, so no simulation can be answered.",
            advice="Set it from a secret. Pull requests from forks have none.",
        )
    return inputs


def _check(options: Options, environ: Mapping[str, str]) -> None:
    """Raise UnusableError if the handler or the command can be seen to be missing."""
    if find_spec(SDK) is None:
        raise UnusableError(titles.NO_AGENT_SDK, "attach needs the package coval-agent-sdk.", advice=INSTALL)
    if options.handler:
        if problem := form_problem(options.handler):
            raise UnusableError(titles.INVALID_HANDLER, f"{problem[:1].upper()}{problem[1:]}")
        return
    program = options.command[0]
    if shutil.which(program, path=environ.get("PATH")) is None:
        raise UnusableError(
            titles.NO_COMMAND,
            f"There is no command {quoted(program)}.",
            advice="Check its name, that it is installed, and that it may be executed.",
        )


def _start(
    host: Host, runtime: Runtime, options: Options, limits: Limits, inputs: Inputs, keeper: RecordKeeper
) -> WorkerProcess:
    """Start the worker. Raises RunnerError."""
    key = inputs.api_key.reveal() if inputs.api_key else ""
    setup = Setup(
        key,
        api_root(inputs),
        inputs.workspace_id,
        str(Path.cwd()),
        options.handler,
        options.command,
        limits,
    )
    host.log(f"Run: {options.run}, answered by {one_line(keeper.record.handler, 80)}")
    try:
        return WorkerProcess(setup, without_credentials(runtime.environ), keeper.open_log(WORKER_LOG))
    except ValueError as problem:
        raise RunnerError(titles.LOG_NOT_WRITTEN, f"The log {problem}") from None
    except OSError as error:
        raise RunnerError(titles.NO_PROCESS, f"The worker's process cannot start: {error.strerror}.") from None


def _load(
    worker: WorkerProcess, keeper: RecordKeeper, options: Options, host: Host, clock: Clock, deadline: float
) -> Procedure[None]:
    """Wait until the worker has loaded the handler. Raises UnusableError."""
    while clock.now() < deadline:
        is_running = worker.is_running
        for event in worker.events():
            if event.what == "ready":
                return
            if event.what == "unusable":
                host.quote(*event.lines)
                raise UnusableError(titles.HANDLER_NOT_USABLE, event.error)
        if not is_running:
            raise UnusableError(
                titles.HANDLER_NOT_USABLE,
                f"The process that imports {options.handler or SDK} ended by itself.",
                advice=f"See {WORKER_LOG}.",
            )
        keeper.write_if_due()
        yield Wait(TICK)
    raise UnusableError(
        titles.HANDLER_NOT_USABLE,
        f"The import of {options.handler or SDK} did not end within max_wait_time.",
        advice=f"See {WORKER_LOG}: a module must not wait for anything while it is imported.",
    )


def _answer(
    host: Host,
    runtime: Runtime,
    run_id: str,
    limits: Limits,
    inputs: Inputs,
    keeper: RecordKeeper,
    worker: WorkerProcess,
    deadline: float,
) -> Procedure[int]:
    """Answer the simulations until the run is over, and return the exit code. Raises GateError."""
    clock = runtime.clock
    client = connect(inputs, runtime, host.log)
    times = Times.of_step(clock.now(), deadline - clock.now())
    session = Session(client, host, clock, runtime.randomness, inputs, deadline, times)
    try:
        yield from Follower(session, run_id, keeper, worker, limits).follow()
        keeper.finish()
        host.log(summary_of(keeper))
        answered, total = keeper.record.answered, len(keeper.record.simulations)
        if total:
            yield from _tag(session._replace(deadline=clock.now() + TAGGING), run_id, tag_of(answered, total))
    finally:
        client.close()
    if answered < total:
        host.log(f"The record is {path_of(run_id)}, and the logs are beside it.")
    return DONE if total and answered == total else INCOMPLETE


def _tag(session: Session, run_id: str, tag: str) -> Procedure[None]:
    """Give the run a tag that says how many simulations were answered, for a step that has no record.

    A run whose tags Coval hides gets none: they would be lost. A tag with worse counts stays: an earlier process saw
    what this one cannot, such as a crash.
    """

    def change(run: Run) -> tuple[str, ...]:
        if tag in lowered(run.tags) or hides_tags(run) or not tags_of(run):
            return run.tags
        if counts_in((tag, *lowered(run.tags))) != counts_in([tag]):
            return run.tags
        kept = with_room(one for one in run.tags if not TAG.fullmatch(one.lower()))
        return (*kept, tag) if len(kept) < MOST_RUN_TAGS else run.tags

    try:
        run = yield from retag(session, run_id, change)
        if tag in lowered(run.tags):
            return
        if counts_in(lowered(run.tags)):
            session.log("The run is judged by the tag of an earlier coval-gate attach, which answered fewer.")
        else:
            session.log("The run gets no tag with these counts; only a step in this workspace can read them.")
    except CovalError as error:
        session.log(f"The run could not be tagged with these counts: {error.what}")


def _end(workers: Iterable[WorkerProcess], limits: Limits) -> Procedure[None]:
    """Ask the worker to end all of its processes, and wait a while. The caller kills those that remain."""
    for worker in workers:
        worker.stop()
        waited = 0.0
        while worker.is_running and waited < limits.stopping:
            yield Wait(TICK)
            waited += TICK


def _show_error(host: Host, error: GateError) -> None:
    message = "\n".join(filter(None, (error.what, error.advice)))
    host.annotate("error", error.title, message)
