"""Runs the command `init`: finds the CI system, looks up ids and runs, and writes one new file. It overwrites none.

No look-up is required: the workflow is written without what the API key may not read, or Coval does not say in time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from coval_cli.proposals import guess, propose, usable
from coval_cli.workflow import STARTERS, Candidate, Choice, Starter, fill_in, read_example, starter_for
from coval_gate.base.errors import CovalError, GateError, InputError
from coval_gate.base.runtime import USAGE_ERROR, Runtime
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.secret import redactor
from coval_gate.base.text import folded, in_words, most_similar, one_line, plural, quoted
from coval_gate.ci.host import Console
from coval_gate.ci.plain import origin_host, top_directory
from coval_gate.ci.workspace import Workspace
from coval_gate.coval.client import Client, connect
from coval_gate.coval.model import CLEAN, COMPLETED, RunFilter, RunResult
from coval_gate.coval.resources import METRIC, RUN_RESOURCES, MetricDefinition, Resource
from coval_gate.history.tags import part_of
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.inputs import KEY_VARIABLE, Inputs, default_of, inputs_of_command, key_in
from coval_gate.inputs.naming import flag_of

WRITTEN: Final = 0  # exit code
LONGEST_LOOK_UP: Final = 60.0  # s for all calls
CONNECTION_INPUTS: Final = ("api_base_url", "workspace_id")
LINKS: Final = (
    "To link simulations, too, set dashboard_url to https://app.coval.dev/ and your organization's name in the address."
)
SAFE: Final = re.compile(r"[\w.:/%-]+", re.ASCII)  # a word without a meaning in every file
PLACEHOLDER: Final = "your-org"  # until `make adopt` has named the owner
MOST_CHOICES: Final = 100  # agents, personas or test sets; one page
MOST_DEFINITIONS: Final = 200  # metrics; two pages
FAILED_SOME: Final = "EXECUTION_FAILURE"  # what Coval reports as soon as a single simulation failed

Ask = Callable[[str, Sequence[str]], str]


class InitOptions(NamedTuple):
    """`yes`: ask nothing. `system`: one of SYSTEM_WORDS. `agent`, `persona`, `test_set`: an id or a name."""

    yes: bool = False
    system: str = ""
    agent: str = ""
    persona: str = ""
    test_set: str = ""
    path: str = ""


def init(runtime: Runtime, options: InitOptions, ask: Ask | None = None) -> int:
    """Write a first workflow, and return the exit code: 0, or 2 if nothing was written.

    `ask` shows a question and its answers, and returns one of them; None: nothing is asked.
    """
    return reported(runtime, partial(_init, runtime, options, None if options.yes else ask))


def reported(runtime: Runtime, work: Callable[[Callable[[str], None], Callable[[str], str]], int]) -> int:
    """Return the exit code of `work`; 2 after a GateError, which the log tells.

    `work` gets the log, whose lines may have foreign text, and what masks the API key, in whatever form Coval repeats
    it.
    """
    redact = redactor(*filter(None, [key_in(runtime.environ)])).redact

    output, errors = Console(runtime.stdout), Console(runtime.errors)
    try:
        return work(lambda line: output.log(redact(line)), redact)
    except GateError as error:
        text = "\n".join([f"Error: {error.what}", *filter(None, error.advice.splitlines())])
        errors.log(redact(text))
        return USAGE_ERROR


def _init(
    runtime: Runtime,
    options: InitOptions,
    ask: Ask | None,
    log: Callable[[str], None],
    redact: Callable[[str], str],
) -> int:
    """Raises GateError."""
    workspace = Workspace(top_directory())
    used = [starter for starter in STARTERS if workspace.exists(starter.mark)]
    starter, how = starter_for(options.system, used, origin_host())
    path = _place(starter, options, workspace)
    inputs = inputs_of_command(runtime.environ, CONNECTION_INPUTS)
    log(f"CI system: {starter.name}, {how}.")
    connection = _settings(inputs)
    choices, last = _look_up(runtime, inputs, options, ask, log)
    runs = usable(last.runs)
    proposal = propose(runs, last.definitions) if runs else guess(last.reason or "none of the last runs can be judged")
    for choice in choices:
        log(_choice_text(choice))
    proposed = f"{len(proposal.lines)}, proposed from {plural(proposal.runs, 'completed run')}"
    log(f"Thresholds: {proposed if proposal.runs else proposal.lines[0].replace('  # ', ', ')}.")
    text = redact(fill_in(read_example(starter.example), choices, connection, proposal))
    try:
        if not workspace.create(path, text):
            raise _taken(path)
    except ValueError as problem:
        raise InputError([(quoted(path), str(problem))]) from None
    missing = [choice.variable for choice in choices if not choice.id]
    log("\n".join(["", f"Wrote {path}.", *_next_steps(starter, path, missing, text)]))
    return WRITTEN


def _place(starter: Starter, options: InitOptions, workspace: Workspace) -> str:
    """Raises InputError if the file exists."""
    paths = [options.path] if options.path else [*filter(None, (starter.path, starter.beside))]
    try:
        free = next((path for path in paths if not workspace.exists(path)), "")
    except ValueError as problem:
        raise InputError([("--path", str(problem))]) from None
    if not free:
        raise _taken(paths[-1])
    return free


def _taken(path: str) -> InputError:
    return InputError([(quoted(path), "exists, and init overwrites no file. Name another one with --path.")])


def _look_up(
    runtime: Runtime,
    inputs: Inputs,
    options: InitOptions,
    ask: Ask | None,
    log: Callable[[str], None],
) -> "tuple[list[Choice], LastRuns]":
    """Return the agent, persona and test set, and their last runs. Raises InputError for a name that Coval lacks."""
    wanted = dict(zip(RUN_RESOURCES.values(), (options.agent, options.persona, options.test_set), strict=True))
    if inputs.api_key is None:
        log(f"{KEY_VARIABLE} is not set, so nothing is looked up in Coval.")
        return [_unlisted(kind, text) for kind, text in wanted.items()], LastRuns(reason="there was no API key")
    until = runtime.clock.now() + LONGEST_LOOK_UP
    client = connect(inputs, runtime, log, ends=until)
    choices: list[Choice] = []
    try:
        for kind, text in wanted.items():
            choices.append(
                _choose(kind, run(client.list(kind, until=until, go_on=_is_short), runtime.clock), text, ask)
            )
        last = run(_last_runs(client, choices, until), runtime.clock)
    except CovalError as error:
        log(f"{error.what} {error.advice}".strip())
        choices += [_unlisted(kind, wanted[kind]) for kind in [*wanted][len(choices) :]]
        last = LastRuns(reason="Coval did not show the last runs")
    finally:
        client.close()
    return choices, last


def _choice_text(choice: Choice) -> str:
    subject = choice.kind.noun.capitalize()
    if choice.id:
        name = f"{one_line(choice.name)} ({choice.id})" if choice.name else choice.id
        return f"{subject}: {name}, {choice.how}."
    if choice.candidates:
        shown = [f"  {one.id}  {one_line(one.name)}".rstrip() for one in choice.candidates[:20]]
        more = len(choice.candidates) - len(shown)
        return "\n".join([f"{subject}: one of", *shown, *([f"  and {more} more"] if more else [])])
    return f"{subject}: unknown."


def _settings(inputs: Inputs) -> dict[str, str]:
    """Return those that differ from their defaults. Raises InputError."""
    values = {name: getattr(inputs, name) for name in CONNECTION_INPUTS}
    settings = {name: value for name, value in values.items() if value and value != default_of(name)}
    unsafe = [name for name, value in settings.items() if not SAFE.fullmatch(value)]
    if unsafe:
        what = "cannot be written to a workflow; got"
        raise InputError([(name, f"{what} {quoted(settings[name])}.") for name in unsafe])
    return settings


def _next_steps(starter: Starter, path: str, missing: Sequence[str], text: str) -> list[str]:
    """`missing`: the variables that stand for ids."""
    steps = [
        f"Add the API key {starter.secret}.",
        *([f"Set {in_words(missing)}, where the first lines of the file say."] if missing else []),
        *([f"Replace {PLACEHOLDER} with the owner of your copy of Coval Gate."] if PLACEHOLDER in text else []),
        *([starter.join] if path == starter.beside else []),
        LINKS,
        f"Commit, and open a {starter.request}: the gate evaluates the agent there.",
    ]
    return ["", "Next:", *(f"{number}. {step}" for number, step in enumerate(steps, start=1))]


class LastRuns(NamedTuple):
    """Completed runs, newest first. `reason`: why there are none."""

    runs: tuple[RunResult, ...] = ()
    definitions: Mapping[str, MetricDefinition] = {}
    reason: str = ""


def _is_short(listed: Sequence[object]) -> bool:
    return len(listed) < MOST_CHOICES


def _unlisted(kind: Resource[Candidate], wanted: str) -> Choice:
    if IDENTIFIER.fullmatch(wanted):
        return Choice(kind, wanted, how=f"as {flag_of(kind.key)} says, not looked up")
    return Choice(kind)


def _choose(kind: Resource[Candidate], listed: Sequence[Candidate], wanted: str, ask: Ask | None) -> Choice:
    """Return the resource that `wanted` names, by id or name, or the only one, or the one that a person chooses.

    Raises InputError if there is none that `wanted` could mean.
    """
    by_id = [one for one in listed if one.id == wanted]
    candidates = by_id or [one for one in listed if not wanted or folded(one.name) == folded(wanted)]
    if not candidates and wanted:
        if len(listed) == MOST_CHOICES and IDENTIFIER.fullmatch(wanted):
            return Choice(kind, wanted, how=f"as {flag_of(kind.key)} says, not among the first {MOST_CHOICES}")
        similar = most_similar(wanted, [one.name for one in listed if one.name])
        hint = f"did you mean {quoted(similar)}?" if similar else f"Coval lists {plural(len(listed), kind.noun)} first."
        raise InputError([(flag_of(kind.key), f"names no {kind.noun} of Coval: {quoted(wanted)}; {hint}")])
    if not candidates:
        return Choice(kind)
    if len(candidates) == 1:
        (only,) = candidates
        return Choice(kind, only.id, only.name, f"as {flag_of(kind.key)} says" if wanted else "the only one")
    if ask:
        shown = {f"{one_line(one.name) or 'without a name'} ({one.id})": one for one in candidates}
        chosen = shown.get(ask(f"Which {kind.noun}?", tuple(shown)))
        if chosen:
            return Choice(kind, chosen.id, chosen.name, "as chosen")
    return Choice(kind, candidates=tuple(candidates))


def _last_runs(client: Client, choices: Sequence[Choice], until: float) -> Procedure[LastRuns]:
    """Return completed runs. Raises CovalError."""
    ids = {choice.kind.input: choice.id for choice in choices}
    if not all(ids.values()):
        return LastRuns(reason="not all ids are known")
    listed = yield from client.list_runs(RunFilter(**ids, status=COMPLETED), until=until)
    # Coval may have ignored the filter.
    completed = [one for one in listed if one.ids == ids and one.status == COMPLETED]
    results = []
    usable = [one for one in completed if one.error_status.upper() in CLEAN | {FAILED_SOME} and not part_of(one)]
    for one in usable[:5]:
        whole = one if one.metrics and one.metadata else (yield from client.get_run(one.run_id, until=until))
        if part_of(whole):
            continue
        simulations = yield from client.list_simulations(one.run_id, until=until)
        results.append(RunResult(one.run_id, simulations, metrics=whole.metrics))
    if not results:
        return LastRuns(reason="Coval has no completed run of this agent, persona and test set")
    return LastRuns(tuple(results), (yield from _definitions(client, results, until)))


def _definitions(client: Client, results: Sequence[RunResult], until: float) -> Procedure[dict[str, MetricDefinition]]:
    """Empty if the API key may not read them."""
    needed = {metric.id for result in results for metric in result.metrics}

    def go_on(listed: Sequence[MetricDefinition]) -> bool:
        return not needed <= {definition.id for definition in listed} and len(listed) < MOST_DEFINITIONS

    try:
        definitions = yield from client.list(METRIC, until=until, go_on=go_on, once=True)
    except CovalError:
        return {}
    return {definition.id: definition for definition in definitions if definition.id in needed}
