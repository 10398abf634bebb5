"""Runs the command `doctor`: reports what the gate can rely on in a Coval workspace. Its calls only read."""

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from coval_cli.doubts import DOUBTS, NO_RUN, NO_TAG, Evidence, Finding, Rating, Recorded
from coval_cli.init import CONNECTION_INPUTS, reported
from coval_gate import REPOSITORY, __version__
from coval_gate.base import titles
from coval_gate.base.clock import Clock
from coval_gate.base.errors import CovalError, InputError, Rejected, Unavailable
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, run, together
from coval_gate.base.text import in_words
from coval_gate.base.transport import Request, Response
from coval_gate.coval.client import Client, connect
from coval_gate.coval.model import COMPLETED, Run, RunFilter
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, RUN_TEMPLATE, TEST_CASE, TEST_SET, Identified, Resource
from coval_gate.inputs.inputs import Inputs, default_of, inputs_of_command
from coval_gate.inputs.naming import WHY_WITHHELD

T = TypeVar("T")
Log = Callable[[str], None]

WORKS, FAILS = 0, 1  # exit codes
LONGEST_LOOK: Final = 120.0  # s for all calls
PER_CALL: Final = 20.0  # s for one call, with its retries
COLUMN: Final = 9  # characters of a mark
ISSUE: Final = f"https://github.com/{REPOSITORY}/issues/new?template=workspace.yml"
FORBIDDEN_STATUS: Final = 403
SINGLE_CALL_STATUSES: Final = (400, FORBIDDEN_STATUS)  # any other rejection concerns every call
OPTIONAL: Final[dict[str, tuple[Resource[Identified], str]]] = {  # what each lists, and what fails without it
    "metrics:read": (
        METRIC,
        "use_metric_targets and pass_rate cannot be used, and names in thresholds are not checked before the launch.",
    ),
    "test-sets:read": (TEST_SET, "max_simulations cannot be used."),
    "test-cases:read": (
        TEST_CASE,
        "spend: until clear cannot be used, reports show ids of test cases instead of names, and comparisons "
        "cannot detect changed test cases.",
    ),
    "personas:read": (PERSONA, "comparisons cannot detect a changed persona."),
    "agents:read": (
        AGENT,
        'a wrong name in thresholds may be found only after the run, and reports do not say "as deployed".',
    ),
    "run-templates:read": (RUN_TEMPLATE, "run_template_id cannot be used."),
}

NOT_TRIED: Final = Finding(
    "unknown",
    "Permissions not tried",
    "runs:write, scheduled-runs:read",
    f'Only a launch shows the first; without it, a launch ends with "{titles.PERMISSION_MISSING}" and starts nothing. '
    "The second is needed only for run_id: schedule:<id>.",
)

MORE: Final = "`coval-gate doctor --launch` shows most of it. It asks before it launches."


class Recorder:
    """Records each response with its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.exchanges: list[Recorded] = []

    def __call__(self, request: Request, response: Response) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        sent = (request.method, request.path, request.query or {}, request.json)
        got = (response.status, headers, response.content)
        self.exchanges.append(Recorded(self._clock.now(), self._clock.time(), *sent, *got))


def doctor(runtime: Runtime) -> int:
    """Return the exit code: 0 if no call shows an obstacle, 1 if the gate cannot work, 2 if nothing was sent."""
    return reported(runtime, lambda log, _: _doctor(runtime, log))


def _doctor(runtime: Runtime, log: Log) -> int:
    """Raises InputError."""
    inputs, recorder = read_inputs(runtime, CONNECTION_INPUTS), Recorder(runtime.clock)
    log("Checking your Coval workspace. All calls only read: nothing is launched, changed or deleted.\n")
    try:
        findings, run_id = look(runtime._replace(record=recorder), inputs, log)
    except CovalError as error:
        log(f"The gate cannot work here: {error.title}.\n{error.what}\n{error.advice}")
        return FAILS
    seen = Evidence(recorder.exchanges, run_id)
    shown = [doubt.finding(seen) for doubt in DOUBTS if doubt.variant(seen)]
    rest = f"{len(DOUBTS) - len(shown)} of {len(DOUBTS)}"
    findings += [*shown, Finding("unknown", "Not shown by reading", rest, MORE)]
    return conclude(log, inputs, findings, condition=", if the key has runs:write")


def read_inputs(runtime: Runtime, names: Collection[str]) -> Inputs:
    """Return the inputs of these names. Raises InputError, also without an API key."""
    inputs = inputs_of_command(runtime.environ, names)
    if inputs.api_key is None:
        raise InputError([("api_key", "is required.")], advice=WHY_WITHHELD[""][1])
    return inputs


def look(runtime: Runtime, inputs: Inputs, log: Log) -> tuple[list[Finding], str]:
    """Return what the key may read, and the id of a completed run that was read, or "".

    Raises CovalError if no call can succeed.
    """
    client = connect(inputs, runtime, log, ends=runtime.clock.now() + LONGEST_LOOK)
    try:
        return run(_examine(client, runtime.clock), runtime.clock)
    finally:
        client.close()


def conclude(log: Log, inputs: Inputs, findings: Sequence[Finding], *, condition: str = "") -> int:
    """Log the findings and a text to publish; return the exit code. `condition`: what else the gate needs."""
    log("\n".join(map(_line, findings)))
    failing = [finding.topic for finding in findings if finding.mark == "fails"]
    limits = ", within the limits above" if any(finding.mark == "limited" for finding in findings) else ""
    works = f"The gate can work here{limits}{condition}."
    log(f"\n{f'The gate cannot work here; what fails: {in_words(failing)}.' if failing else works}")
    log(f"\nIf the gate should do better here, or behaves differently, please open an issue at\n{ISSUE}")
    log("and paste these lines, which contain no ids, names or secrets:\n")
    log("; ".join([f"Coval Gate {__version__}", *(f"{name}: {word}" for name, word in connection(inputs).items())]))
    log("\n".join(f"{finding.topic}: {finding.found}" for finding in findings))
    return FAILS if failing else WORKS


def connection(inputs: Inputs) -> dict[str, str]:
    """Return how Coval was reached, in words without addresses and ids."""
    address = "default" if inputs.api_base_url == default_of("api_base_url") else "not the default"
    return {"api_base_url": address, "workspace_id": "set" if inputs.workspace_id else "empty"}


def _line(finding: Finding) -> str:
    more = " ".join(filter(None, (finding.said, finding.follows)))
    text = f"{finding.mark:<{COLUMN}}{finding.topic}: {finding.found}. {more}".strip()
    indent = " " * COLUMN
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


async def _examine(client: Client, clock: Clock) -> tuple[list[Finding], str]:
    """Raises CovalError if no call can succeed."""
    runs = await _tried(clock, lambda until: client.list_runs(RunFilter(), until=until))
    if isinstance(runs, CovalError) and _status(runs) not in SINGLE_CALL_STATUSES and not _misread(runs):
        raise runs
    listed = () if isinstance(runs, CovalError) else runs
    newest = [one for one in listed if one.status == COMPLETED] or listed
    until = clock.now() + PER_CALL
    reads = (client.get_run(one.run_id, until=until, once=True) for one in newest[:5])
    answers = await together(reads, clock)
    if answers and all(isinstance(one, Unavailable) and not one.misread for one in answers):
        answers = [await _tried(clock, lambda until: client.get_run(newest[0].run_id, until=until))]
    alone = [one for one in answers if isinstance(one, Run)]
    completed = sorted((one for one in alone if one.status == COMPLETED), key=lambda one: not one.tags)
    whole = completed[0] if completed else None
    run_id = whole.run_id if whole else NO_RUN
    simulations = await _tried(clock, lambda until: client.list_simulations(run_id, until=until))

    until = clock.now() + PER_CALL
    lists = (client.list(kind, until=until, go_on=lambda _: False, once=True) for kind, _ in OPTIONAL.values())
    optional = dict(zip(OPTIONAL, await together(lists, clock), strict=True))
    is_older = client.simulations_path == "/simulations" and not isinstance(simulations, CovalError)
    permission = "simulations:read" if is_older else "simulated-conversations:read"
    needed = {"runs:read": runs, permission: simulations}
    if whole is None and isinstance(simulations, Rejected) and simulations.status != FORBIDDEN_STATUS:
        del needed[permission]  # Coval may have rejected the id
    findings = [*_permission_findings(needed, optional), NOT_TRIED]
    errors = [one for one in answers if isinstance(one, CovalError)]
    how_many = f", {len(errors)} of {len(answers)}" if alone else ""
    mark: Rating = "limited" if alone else "fails"
    findings += [Finding(mark, "A run read alone", f"{_why(one)}{how_many}", said=_advice(one)) for one in errors[:1]]
    filters = [RunFilter(tag=tag) for tag in (NO_TAG, *(whole.tags[:1] if whole else ()))]
    until = clock.now() + PER_CALL
    await together([client.list_runs(one, until=until) for one in filters if one.can_be_sent], clock)
    if not isinstance(simulations, CovalError) and (judged := [one.id for one in simulations if one.completed]):
        await _tried(clock, lambda until: client.list_metric_outputs(judged[0], until=until))
    return findings, whole.run_id if whole else ""


async def _tried(clock: Clock, call: Callable[[float], Procedure[T]]) -> T | CovalError:
    return (await together([call(clock.now() + PER_CALL)], clock))[0]


def _status(answer: object) -> int | None:
    """Return the HTTP status; None if a proxy may have sent it, which proves nothing about the key."""
    return answer.status if isinstance(answer, Rejected) and answer.by_coval else None


def _misread(error: CovalError) -> str:
    return error.misread if isinstance(error, Unavailable) else ""


def _why(error: CovalError) -> str:
    if field := _misread(error):
        return f"{titles.UNEXPECTED_RESPONSE} ({field})"
    return f"{error.title} (HTTP {error.status})" if isinstance(error, Rejected) else error.title


def _advice(error: CovalError) -> str:
    return f"{error.what} {'This version cannot read it: please open an issue.' if _misread(error) else error.advice}"


def _permission_findings(needed: Mapping[str, object], optional: Mapping[str, object]) -> Iterator[Finding]:
    """Yield the findings about permissions. Both mappings have what each permission lists, or an error."""
    answers = {**needed, **optional}
    if granted := [name for name, answer in answers.items() if not isinstance(answer, CovalError)]:
        yield Finding("ok", "Permissions granted", ", ".join(granted))
    for name, answer in answers.items():
        if not isinstance(answer, CovalError):
            continue
        is_missing = _status(answer) == FORBIDDEN_STATUS
        topic, found = (f"Permission {name}", "missing") if is_missing else (f"Call for {name}", _why(answer))
        if name in needed:
            yield Finding("fails", topic, found, said=_advice(answer))
        else:
            follows = f"Without it, {OPTIONAL[name][1]}"
            yield Finding("limited", topic, found, follows, "" if is_missing else answer.what)
