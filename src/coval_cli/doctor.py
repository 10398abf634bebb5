"""Runs the command `doctor`: says what holds in a workspace of Coval, by calls that only read.

Public sources about Coval's API disagree. The gate tolerates each of their variants, some at a price.
"""

import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from coval_cli.init import CONNECTION_INPUTS, FAILED_SOME, reported
from coval_gate import REPOSITORY, __version__
from coval_gate.base import titles
from coval_gate.base.clock import Clock
from coval_gate.base.errors import CovalError, InputError, Rejected, Unavailable
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import Procedure, run, together
from coval_gate.base.text import duration, in_words
from coval_gate.coval.client import Client, connect
from coval_gate.coval.model import CLEAN, COMPLETED, Run, RunFilter, Simulation
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, RUN_TEMPLATE, TEST_CASE, TEST_SET, Identified, Resource
from coval_gate.history.search import MOST_READ, MOST_SEARCHED
from coval_gate.inputs.inputs import Inputs, default_of, inputs_of_command
from coval_gate.inputs.naming import WHY_WITHHELD

T = TypeVar("T")
Log = Callable[[str], None]

WORKS, WORKS_NOT = 0, 1  # exit codes
LONGEST_LOOK: Final = 120.0  # s for all calls
PER_CALL: Final = 20.0  # s for one call, with its retries
NO_RUN: Final = "coval0gate0doctor00000"  # an id that no run has
NO_TAG: Final = "coval-gate-doctor:no-run-has-this-tag"
AGREES: Final = 3.0  # s; Date has whole seconds, and a response takes time
COLUMN: Final = 9  # characters of a mark
CAPITALS: Final = re.compile(r"[A-Z_ ]{1,40}")  # as APIs have them, and not people
ISSUE: Final = f"https://github.com/{REPOSITORY}/issues/new?template=workspace.yml"
FORBIDDEN_STATUS: Final = 403
SINGLE_CALL_STATUSES: Final = (400, FORBIDDEN_STATUS)  # other rejections meet every call
OPTIONAL: Final[dict[str, tuple[Resource[Identified], str]]] = {  # what each permission lists, and allows
    "metrics:read": (
        METRIC,
        "use_metric_targets and pass_rate cannot be used, and names in thresholds are not checked before the launch.",
    ),
    "test-sets:read": (TEST_SET, "max_simulations cannot be used."),
    "test-cases:read": (
        TEST_CASE,
        "spend: until clear cannot be used, reports show ids of test cases in place of names, and comparisons do not "
        "see which test cases changed.",
    ),
    "personas:read": (PERSONA, "comparisons do not see whether the persona changed."),
    "agents:read": (
        AGENT,
        'a wrong name in thresholds may be found only after the run, and reports do not say "as deployed".',
    ),
    "run-templates:read": (RUN_TEMPLATE, "run_template_id cannot be used."),
}


Rating = Literal["ok", "limited", "unknown", "fails"]


class Finding(NamedTuple):
    """Only what Coval `said` may have ids and foreign texts: people publish the rest.

    `follows`: what it means for them.
    """

    mark: Rating
    topic: str
    found: str
    follows: str = ""
    said: str = ""


NOT_TRIED: Final = Finding(
    "unknown",
    "Permissions not tried",
    "runs:write, scheduled-runs:read",
    f'Only a launch shows the first; without it, a launch ends with "{titles.PERMISSION_MISSING}" and starts nothing. '
    "The second is needed only for run_id: schedule:<id>.",
)
NO_RUNS: Final = Finding(
    "unknown",
    "Runs",
    "none yet",
    "Launch one, and run this again: only runs show how Coval lists them, their simulations and values.",
)


def doctor(runtime: Runtime) -> int:
    """Return the exit code: 0 if the gate can work, as far as reading shows that, 1 if not, 2 if nothing was sent."""
    return reported(runtime, lambda log, _: _doctor(runtime, log))


def _doctor(runtime: Runtime, log: Log) -> int:
    """Raises InputError."""
    inputs = read_inputs(runtime, CONNECTION_INPUTS)
    log("Looking at your workspace in Coval. All calls only read: nothing is launched, changed or deleted.\n")
    try:
        findings = look(runtime, inputs, log)
    except CovalError as error:
        log(f"The gate cannot work here: {error.title}.\n{error.what}\n{error.advice}")
        return WORKS_NOT
    return conclude(log, inputs, findings, condition=", if the key has runs:write")


def read_inputs(runtime: Runtime, names: Collection[str]) -> Inputs:
    """Raises InputError, also without an API key."""
    inputs = inputs_of_command(runtime.environ, names)
    if inputs.api_key is None:
        raise InputError([("api_key", "is required.")], advice=WHY_WITHHELD[""][1])
    return inputs


def look(runtime: Runtime, inputs: Inputs, log: Log) -> list[Finding]:
    """Return what calls that only read show. Raises CovalError if no call can succeed."""
    client = connect(inputs, runtime, log, ends=runtime.clock.now() + LONGEST_LOOK)
    try:
        return run(_examine(client, runtime.clock), runtime.clock)
    finally:
        client.close()


def conclude(log: Log, inputs: Inputs, findings: Sequence[Finding], *, condition: str = "") -> int:
    """Log the findings, and a text to publish. Return the exit code. `condition`: what else the gate needs."""
    log("\n".join(map(_line, findings)))
    failing = [finding.topic for finding in findings if finding.mark == "fails"]
    limits = ", within the limits above" if any(finding.mark == "limited" for finding in findings) else ""
    works = f"The gate can work here{limits}{condition}."
    log(f"\n{f'The gate cannot work here; what fails: {in_words(failing)}.' if failing else works}")
    log(f"\nIf the gate should do better here, or does something else, please open an issue at\n{ISSUE}")
    log("and paste these lines, which contain no ids, names or secrets:\n")
    log("; ".join([f"Coval Gate {__version__}", *(f"{name}: {word}" for name, word in connection(inputs).items())]))
    log("\n".join(f"{finding.topic}: {finding.found}" for finding in findings))
    return WORKS_NOT if failing else WORKS


def connection(inputs: Inputs) -> dict[str, str]:
    """Return how Coval was reached, in words without addresses and ids."""
    address = "default" if inputs.api_base_url == default_of("api_base_url") else "not the default"
    return {"api_base_url": address, "workspace_id": "set" if inputs.workspace_id else "empty"}


def _line(finding: Finding) -> str:
    more = " ".join(filter(None, (finding.said, finding.follows)))
    text = f"{finding.mark:<{COLUMN}}{finding.topic}: {finding.found}. {more}".strip()
    indent = " " * COLUMN
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _examine(client: Client, clock: Clock) -> Procedure[list[Finding]]:
    """Raises CovalError if no call can succeed."""
    runs = yield from _tried(clock, lambda until: client.list_runs(RunFilter(), until=until))
    if isinstance(runs, CovalError) and _status(runs) not in SINGLE_CALL_STATUSES and not _misread(runs):
        raise runs
    listed = () if isinstance(runs, CovalError) else runs
    newest = [one for one in listed if one.status == COMPLETED] or listed
    until = clock.now() + PER_CALL
    reads = (client.get_run(one.run_id, until=until, once=True) for one in newest[:5])
    answers = yield from together(reads, clock)
    if answers and all(isinstance(one, Unavailable) and not one.misread for one in answers):
        answers = [(yield from _tried(clock, lambda until: client.get_run(newest[0].run_id, until=until)))]
    alone = [one for one in answers if isinstance(one, Run)]
    whole = next((one for one in alone if one.status == COMPLETED), None)
    run_id = whole.run_id if whole else NO_RUN
    simulations = yield from _tried(clock, lambda until: client.list_simulations(run_id, until=until))

    until = clock.now() + PER_CALL
    lists = (client.list(kind, until=until, go_on=lambda _: False, once=True) for kind, _ in OPTIONAL.values())
    optional = dict(zip(OPTIONAL, (yield from together(lists, clock)), strict=True))
    is_older = client.simulations_path == "/simulations" and not isinstance(simulations, CovalError)
    permission = "simulations:read" if is_older else "simulated-conversations:read"
    needed = {"runs:read": runs, permission: simulations}
    if whole is None and isinstance(simulations, Rejected) and simulations.status != FORBIDDEN_STATUS:
        del needed[permission]  # perhaps Coval rejects the id
    findings = [*_permission_findings(needed, optional), NOT_TRIED, _clock_finding(client, clock)]
    errors = [one for one in answers if isinstance(one, CovalError)]
    how_many = f", {len(errors)} of {len(answers)}" if alone else ""
    mark: Rating = "limited" if alone else "fails"
    findings += [Finding(mark, "A run read alone", f"{_why(one)}{how_many}", said=_told(one)) for one in errors[:1]]
    if not isinstance(runs, CovalError):
        findings += yield from _run_findings(client, clock, runs, alone)
    if whole and not isinstance(simulations, CovalError):
        findings += yield from _result_findings(client, clock, whole, simulations)
    return findings


def _tried(clock: Clock, call: Callable[[float], Procedure[T]]) -> Procedure[T | CovalError]:
    return (yield from together([call(clock.now() + PER_CALL)], clock))[0]


def _status(answer: object) -> int | None:
    """None if a proxy may have sent it: it says nothing of the key."""
    return answer.status if isinstance(answer, Rejected) and answer.by_coval else None


def _misread(error: CovalError) -> str:
    return error.misread if isinstance(error, Unavailable) else ""


def _why(error: CovalError) -> str:
    if field := _misread(error):
        return f"{titles.UNEXPECTED_RESPONSE} ({field})"
    return f"{error.title} (HTTP {error.status})" if isinstance(error, Rejected) else error.title


def _told(error: CovalError) -> str:
    return f"{error.what} {'This version cannot read it: please open an issue.' if _misread(error) else error.advice}"


def _permission_findings(needed: Mapping[str, object], optional: Mapping[str, object]) -> Iterator[Finding]:
    """Both have what the key may read, or errors, by permission."""
    answers = {**needed, **optional}
    if granted := [name for name, answer in answers.items() if not isinstance(answer, CovalError)]:
        yield Finding("ok", "Permissions granted", ", ".join(granted))
    for name, answer in answers.items():
        if not isinstance(answer, CovalError):
            continue
        is_missing = _status(answer) == FORBIDDEN_STATUS
        topic, found = (f"Permission {name}", "missing") if is_missing else (f"Call for {name}", _why(answer))
        if name in needed:
            yield Finding("fails", topic, found, said=_told(answer))
        else:
            follows = f"Without it, {OPTIONAL[name][1]}"
            yield Finding("limited", topic, found, follows, "" if is_missing else answer.what)


def _clock_finding(client: Client, clock: Clock) -> Finding:
    theirs = client.server_time(clock.now())
    if theirs is None:
        follows = "The ages of runs are not known, so run_id takes ids only, not tag:, branch: or schedule:."
        return Finding("limited", "Date in responses", "no", follows)
    ahead = clock.time() - theirs
    if abs(ahead) <= AGREES:
        return Finding("ok", "Date in responses", "yes, and this machine's clock agrees")
    found = f"yes, and this machine's clock is {duration(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
    follows = "The gate measures ages by Coval's clock, so this changes nothing."
    return Finding("ok", "Date in responses", found, follows)


def _run_findings(client: Client, clock: Clock, runs: Sequence[Run], alone: Sequence[Run]) -> Procedure[list[Finding]]:
    if not runs:
        return [NO_RUNS]
    tagged = next((one for one in (*runs, *alone) if one.tags and RunFilter(tag=one.tags[0]).can_be_sent), None)
    tag = tagged.tags[0] if tagged else NO_TAG
    by_tag = yield from _tried(clock, lambda until: client.list_runs(RunFilter(tag=tag), until=until))
    by_none = yield from _tried(clock, lambda until: client.list_runs(RunFilter(tag=NO_TAG), until=until))
    findings = [*_status_findings(runs), _identity_finding(runs, alone), _filter_finding(tagged, by_tag, by_none)]
    if not any(one.status == COMPLETED for one in runs):
        findings.append(Finding("unknown", "Results", "no run has completed", "Run this again once one has."))
    return findings


def _status_findings(runs: Sequence[Run]) -> Iterator[Finding]:
    statuses = _words({one.status for one in runs})
    if all(one.has_known_status for one in runs):
        yield Finding("ok", "Status of runs", statuses)
    else:
        yield Finding(
            "limited", "Status of runs", statuses, "The gate goes on waiting while it does not know a status."
        )
    errors = {one.error_status for one in runs if one.status == COMPLETED}
    if unclear := {error for error in errors if error.upper() not in CLEAN | {FAILED_SOME}}:
        follows = "The verdict of such a run is failed."
        yield Finding("limited", "error_status of completed runs", _words(unclear), follows)


def _words(words: Iterable[str]) -> str:
    return in_words(sorted({word if CAPITALS.fullmatch(word) else "another text" for word in words}))


def _identity_finding(listed: Sequence[Run], alone: Sequence[Run]) -> Finding:
    def where(shows: Callable[[Run], bool]) -> str:
        return (
            "in lists"
            if any(map(shows, listed))
            else "only in a run read alone"
            if any(map(shows, alone))
            else "nowhere"
        )

    tags, metadata = where(lambda one: bool(one.tags)), where(lambda one: bool(one.metadata))
    topic, found = "What runs show", f"tags {tags}, metadata {metadata}"
    if tags == "in lists":
        return Finding("ok", topic, found, "The gate finds its runs in lists.")
    if {tags, metadata} == {"nowhere"}:
        follows = (
            "Perhaps no run has any yet; those that the gate launches have both. If it stays so after one, the gate "
            "cannot find its runs: set resume to false, and give runs and baselines by their ids."
        )
        return Finding("unknown", topic, found, follows)
    whose = "To find tags that are not its own" if metadata == "in lists" else "In each search"
    follows = f"{whose}, the gate reads up to {MOST_READ} of the newest runs alone, and finds no older ones."
    return Finding("limited", topic, found, follows)


def _filter_finding(
    tagged: Run | None, by_tag: Sequence[Run] | CovalError, by_none: Sequence[Run] | CovalError
) -> Finding:
    """`by_tag`: the list with a tag of the run `tagged`; `by_none`: the list with a tag that no run has."""
    topic = "Filter of lists by tag"
    if isinstance(by_tag, CovalError):
        found = _why(by_tag)
    elif by_none:
        found = "ignored" if not isinstance(by_none, CovalError) else _why(by_none)
    elif tagged is None:
        return Finding("unknown", topic, "not tried, because no run shows a tag")
    elif tagged.run_id in {one.run_id for one in by_tag}:
        return Finding("ok", topic, "works")
    else:
        found = "does not find a run that has the tag"
    follows = f"The gate searches the newest {MOST_SEARCHED:,} runs of agent, persona and test set, and no older ones."
    return Finding("limited", topic, found, follows)


def _result_findings(
    client: Client, clock: Clock, whole: Run, simulations: Sequence[Simulation]
) -> Procedure[list[Finding]]:
    found = f"{len(simulations)} of the newest completed run, at {client.simulations_path}"
    follows = "" if simulations else "A run whose simulations Coval does not list gets no verdict."
    findings = [Finding("ok" if simulations else "limited", "Simulations", found, follows), _value_finding(whole)]
    judged = next((one.id for one in simulations if one.completed), None)
    if judged is None:
        return findings
    outputs = yield from _tried(clock, lambda until: client.list_metric_outputs(judged, until=until))
    topic, follows = "Versions of metrics", "Comparisons do not see whether a metric changed."
    if isinstance(outputs, CovalError):
        return [*findings, Finding("limited", topic, _why(outputs), follows)]
    if not outputs:
        return [*findings, Finding("unknown", topic, "no metric of a simulation is listed")]
    if any(output.version for output in outputs):
        return [*findings, Finding("ok", topic, "shown")]
    return [*findings, Finding("limited", topic, "not shown", follows)]


def _value_finding(whole: Run) -> Finding:
    topic = "Values of metrics"
    if any(metric.values for metric in whole.metrics):
        return Finding("ok", topic, "in the run, for each simulation")
    if any(metric.summary for metric in whole.metrics):
        follows = f'Only avg, min and max can be judged; a threshold on anything else ends with "{titles.NO_VERDICT}".'
        return Finding("limited", topic, "in the run, but only mean, minimum and maximum", follows)
    follows = "Perhaps the agent has no metrics. Without values, only simulations can be judged."
    return Finding("unknown", topic, "none in the newest completed run", follows)
