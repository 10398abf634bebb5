"""Runs the command `attach`."""

import re
import shutil
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from coval_attach.follow import LOGS, TICK, WORKER_LOG, Follower, open_log
from coval_attach.handler import form_problem
from coval_attach.process import Limits, Setup, WorkerProcess
from coval_gate import how_to_install
from coval_gate.base import titles
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, GateError, InputError, InternalError, RunnerError
from coval_gate.base.runtime import KILLED, USAGE_ERROR, Runtime
from coval_gate.base.schedule import Wait, run
from coval_gate.base.text import one_line, quoted
from coval_gate.base.times import Times
from coval_gate.ci import detect_host
from coval_gate.ci.host import BUG, Host
from coval_gate.coval.client import Session, connect
from coval_gate.features.comparisons.standing import mark
from coval_gate.history.tags import ATTACHED, UNANSWERED
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import KEY_VARIABLE, Inputs, api_root, inputs_of_command, key_in

DONE, INCOMPLETE = 0, 1  # exit codes
SDK: Final = "coval_agent_sdk"
INSTALL: Final = f"Install it where your agent runs: {how_to_install('attach')}"
READ_INPUTS: Final = ("api_base_url", "workspace_id", "max_wait_time")
UNTAGGED: Final = "Every simulation was answered, but the tag that shows this could not be added to the run"
TAGGING: Final = 60.0  # s
LEAVING: Final = 2.0  # s to report that the command leaves; after a signal, there is no more time

WITHHELD_VARIABLES: Final = re.compile(
    r"(?:GITHUB|GH|GITEA|FORGEJO|RUNNER|GITLAB|CI|BITBUCKET|CIRCLE|BUILDKITE|TRAVIS|DRONE"
    r"|SYSTEM"  # of Azure Pipelines
    r")_(?:.*_)?(?:ACCESS)?(?:TOKEN|PASSWORD|JWT|SECRET|PAT)(?:_.*)?"
    r"|ACTIONS_.*"  # of GitHub's runner: the tokens for caches, artifacts and OpenID Connect
    r"|INPUT_.*"  # inputs of a step, such as its token
    r"|GITHUB_(?:ENV|PATH|OUTPUT|STATE|STEP_SUMMARY)"  # files by which a step acts on later ones
    r"|CI_JOB_JWT.*|CI_REPOSITORY_URL|PRIVATE_TOKEN"  # the URL contains a token
    r"|COVAL_API_KEY"
)


class AttachOptions(NamedTuple):
    """Either `handler` (MODULE:HANDLER) or `command` answers the callers."""

    run: str
    handler: str = ""
    command: tuple[str, ...] = ()


class UnusableError(GateError):
    """The command cannot begin until its user has fixed something."""


def attach(runtime: Runtime, options: AttachOptions, limits: Limits = Limits()) -> int:  # noqa: B008 - frozen
    """Answer the simulations of a run, and return the exit code."""
    host = detect_host(runtime)
    host.mask(key_in(runtime.environ))
    try:
        return run(_attach(host, runtime, options, limits), runtime.clock)
    finally:
        host.release()


async def _attach(host: Host, runtime: Runtime, options: AttachOptions, limits: Limits) -> int:
    try:
        inputs = _inputs(runtime.environ)
        _check(options, runtime.environ)
        clock, client = runtime.clock, connect(inputs, runtime, host.log)
        times = Times.for_step(clock.now(), inputs.max_wait_time)
        session = Session(client, host, clock, runtime.randomness, inputs, times.deadline, times)
        worker = _start(session, runtime, options, limits)
        try:
            await _load(session, worker, options.handler)
            code = await _answer(session, worker, options.run)
            await _end(worker)
        except (GateError, Interrupted):
            await _end(worker)
            raise
        finally:
            client.close()
            worker.kill()
    except Interrupted:
        host.log("Ended by a signal. The run continues in Coval until a later step cancels it.")
        return KILLED
    except (InputError, UnusableError) as error:
        return _failed(host, error, USAGE_ERROR)
    except GateError as error:
        return _failed(host, error)
    except Exception as error:  # noqa: BLE001 - of ours
        host.fold(BUG, traceback.format_exc().splitlines())
        return _failed(host, InternalError(error))
    return code


def _failed(host: Host, error: GateError, code: int = INCOMPLETE) -> int:
    host.annotate("error", error.title, "\n".join(filter(None, (error.what, error.advice))))
    return code


def _inputs(environ: Mapping[str, str]) -> Inputs:
    """Raises InputError, UnusableError."""
    inputs = inputs_of_command(environ, READ_INPUTS)
    if inputs.api_key is None:
        raise UnusableError(
            titles.NO_KEY,
            f"{KEY_VARIABLE} is not set, so no simulation can be answered.",
            advice="Set it from a secret. Pull requests from forks have none.",
        )
    return inputs


def _check(options: AttachOptions, environ: Mapping[str, str]) -> None:
    """Raise InputError or UnusableError if an option is invalid."""
    if not IDENTIFIER.fullmatch(options.run):
        raise InputError([("--run", f"must be the id of a run; got {quoted(options.run)}.")])
    if find_spec(SDK) is None:
        raise UnusableError(
            titles.NO_AGENT_SDK, "The command attach requires the package coval-agent-sdk.", advice=INSTALL
        )
    if options.handler:
        if problem := form_problem(options.handler):
            raise UnusableError(titles.INVALID_HANDLER, f"{problem[:1].upper()}{problem[1:]}")
        return
    program = options.command[0]
    if shutil.which(program, path=environ.get("PATH")) is None:
        raise UnusableError(
            titles.NO_COMMAND,
            f"There is no command {quoted(program)}.",
            advice="Check the name, and that the command is installed and executable.",
        )


def _start(session: Session, runtime: Runtime, options: AttachOptions, limits: Limits) -> WorkerProcess:
    """Raises RunnerError."""
    host, inputs = session.host, session.inputs
    key = inputs.api_key.reveal() if inputs.api_key else ""
    directory = str(Path.cwd())
    setup = Setup(key, api_root(inputs), inputs.workspace_id, directory, options.handler, options.command, limits)
    host.log(f"Run: {options.run}, answered by {one_line(options.handler or ' '.join(options.command), 80)}")
    log = open_log(host.workspace, WORKER_LOG)
    try:
        return WorkerProcess(setup, without_credentials(runtime.environ), log)
    except OSError as error:
        raise RunnerError(titles.NO_PROCESS, f"The worker process could not start: {error.strerror}.") from None


async def _load(session: Session, worker: WorkerProcess, handler: str) -> None:
    """Raises UnusableError."""
    what, advice = "did not end within max_wait_time", ": a module must not wait for anything while it is imported"
    while session.clock.now() < session.deadline:
        is_running = worker.is_running
        for event in worker.events():
            if event.what == "ready":
                return
            if event.what == "unusable":
                session.host.quote(*event.lines)
                raise UnusableError(titles.HANDLER_NOT_USABLE, event.error)
        if not is_running:
            what, advice = "ended its process", ""
            break
        await Wait(TICK)
    text = f"The import of {handler or SDK} {what}."
    raise UnusableError(titles.HANDLER_NOT_USABLE, text, advice=f"See {WORKER_LOG}{advice}.")


async def _answer(session: Session, worker: WorkerProcess, run_id: str) -> int:
    """Return the exit code when the run is over. Raises GateError."""
    follower = Follower(session, run_id, worker)
    try:
        await follower.follow()
    except (GateError, Interrupted):
        await _leave(session, follower, run_id)
        raise
    session.host.log(follower.summary)
    if not follower.is_whole:
        await _leave(session, follower, run_id)
        session.host.log(f"Logs of all processes: {LOGS}")
        return INCOMPLETE
    try:  # the step that judges the run requires the tag
        is_tagged = await mark(session.until(session.clock.now() + TAGGING), run_id, ATTACHED)
    except CovalError as error:
        raise CovalError(error.title, f"{UNTAGGED}: {error.what}", advice=error.advice) from None
    if not is_tagged:
        raise CovalError(titles.TAGS_HIDDEN, f"{UNTAGGED}: Coval does not show the run's tags.")
    return DONE


async def _leave(session: Session, follower: Follower, run_id: str) -> None:
    """Tag the run, so that the step that waits for it stops. Do not if another command may still answer all of it."""
    if follower.has_begun:
        with suppress(CovalError):
            await mark(session.until(session.clock.now() + LEAVING), run_id, UNANSWERED)


async def _end(worker: WorkerProcess) -> None:
    """Wait a while for the worker to end. The caller kills the processes that remain."""
    worker.stop()
    waited = 0.0
    while worker.is_running and waited < worker.limits.stopping:
        await Wait(TICK)
        waited += TICK


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Remove the variables that give access to the CI system.

    A pull request's code must not get a token that could approve the pull request. Other secrets, such as a model
    provider's key, belong to the user, and the code may need them.
    """
    return {name: value for name, value in environ.items() if not WITHHELD_VARIABLES.fullmatch(name.upper())}
