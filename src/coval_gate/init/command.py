"""Runs the command `init`: finds the CI system, looks up ids and runs, and writes one new file. It overwrites none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError, GateError, InputError, Rejected, Unavailable
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import run
from coval_gate.base.secret import redactor
from coval_gate.base.text import in_words, most_similar, one_line, plural, quoted
from coval_gate.ci.git import origin_host, top_directory
from coval_gate.ci.starters import ACTION, CONNECTION, KEY, STARTERS, WORDS, Setting, Starter, render, starter_for
from coval_gate.ci.workspace import Workspace
from coval_gate.config.inputs import default_of, key_in, parse_inputs
from coval_gate.coval.client import connect
from coval_gate.init.lookups import KINDS, REJECTED, Choice, LastRuns, choose, last_runs, list_resources, unlisted
from coval_gate.init.proposals import Proposal, guess, plain, propose, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.coval.resources import Listed
    from coval_gate.init.lookups import Kind

DONE, USAGE = 0, 2  # exit codes
LONGEST: Final = 60.0  # s for all calls
LONGEST_LIST: Final = LONGEST / 3  # s for the list of one kind, so that one that fails leaves time for the others
MOST_SHOWN: Final = 20  # candidates in the file
TODO: Final = "TODO:"
PLACEHOLDER: Final = "your-org"  # until `make adopt` has named the owner
OF_OWNER: Final = f"replace {PLACEHOLDER} with the owner of your copy of Coval Gate"


class Options(NamedTuple):
    """The options of the command.

    `yes`: ask nothing. `system`: the CI system, one of WORDS. `agent`, `persona` and `test_set`: an id or a name.
    `path`: the file to write, in place of the system's own.
    """

    yes: bool = False
    system: str = ""
    agent: str = ""
    persona: str = ""
    test_set: str = ""
    path: str = ""


class _Place(NamedTuple):
    """Where the workflow goes. `joined`: a person has to make it part of a file that exists."""

    path: str
    joined: bool = False


def init(runtime: Runtime, options: Options, ask: Callable[[str, Sequence[str]], str] | None = None) -> int:
    """Write a first workflow, and return the exit code: 0, or 2 if nothing was written.

    The API key is COVAL_API_KEY. `ask` shows a question and its answers, and returns one of them; None: there is no
    terminal, so nothing is asked.
    """
    redact = redactor(*filter(None, [key_in(runtime.environ)])).redact

    def log(line: str) -> None:
        runtime.stdout.write(f"{redact(line)}\n")
        runtime.stdout.flush()

    try:
        _init(runtime, options, None if options.yes else ask, log, redact)
    except GateError as error:
        log(f"Error: {error.what}")
        for line in filter(None, error.advice.splitlines()):
            log(line)
        return USAGE
    return DONE


def _init(
    runtime: Runtime,
    options: Options,
    ask: Callable[[str, Sequence[str]], str] | None,
    log: Callable[[str], None],
    redact: Callable[[str], str],
) -> None:
    """Do what `init` does. `redact` masks the API key, in whatever form Coval repeats it. Raises GateError."""
    workspace = Workspace(top_directory())
    starter, how = _starter(options, workspace)
    place = _place(starter, options, workspace)
    inputs = _connection(runtime)
    log(f"CI system: {starter.name}, {how}.")
    choices, last = _look_up(runtime, inputs, options, ask, log)
    runs = usable(last.runs)
    proposal = propose(runs, last.definitions) if runs else guess(last.reason or "none of the last runs can be judged")
    for choice in choices:
        log(_choice_text(choice))
    log(_thresholds_text(proposal))
    settings = [*_connection_settings(inputs), *map(_id_setting, choices), *_criteria(proposal)]
    text = redact(render(starter, settings))
    _write(workspace, place.path, text)
    log("")
    log(f"Wrote {place.path}.")
    for line in _next_steps(starter, place, text):
        log(line)


def _starter(options: Options, workspace: Workspace) -> tuple[Starter, str]:
    if options.system and options.system not in WORDS:
        similar = most_similar(options.system, WORDS)
        hint = f"; did you mean {similar}?" if similar else "."
        raise InputError([("--system", f"must be {in_words(WORDS, 'or')}; got {quoted(options.system)}{hint}")])
    used = [starter for starter in STARTERS if any(map(workspace.exists, starter.marks))]
    return starter_for(options.system, used, origin_host())


def _place(starter: Starter, options: Options, workspace: Workspace) -> _Place:
    """Return the file to write. Raises InputError if it exists."""
    place = _Place(options.path or starter.path)
    try:
        if not options.path and starter.beside and workspace.exists(place.path):
            place = _Place(starter.beside, joined=True)
        taken = workspace.exists(place.path)
    except ValueError as problem:
        raise InputError([("--path", str(problem))]) from None
    if taken:
        raise _taken(place.path)
    return place


def _taken(path: str) -> InputError:
    return InputError([(quoted(path), "exists, and init overwrites no file. Name another one with --path.")])


def _connection(runtime: Runtime) -> Inputs:
    """Return the inputs of the connection to Coval. Raises InputError; an empty key is none."""
    names = [f"INPUT_{name.upper()}" for name in (*CONNECTION, "api_key")]
    environ = {name: runtime.environ[name] for name in (*names, KEY) if name in runtime.environ}
    inputs, problems = parse_inputs(environ)
    if problems:
        raise InputError(problems)
    return inputs


def _look_up(
    runtime: Runtime,
    inputs: Inputs,
    options: Options,
    ask: Callable[[str, Sequence[str]], str] | None,
    log: Callable[[str], None],
) -> tuple[list[Choice], LastRuns]:
    """Return the agent, persona and test set, and their last runs. Raises InputError for a name that Coval lacks."""
    wanted = dict(zip(KINDS, (options.agent, options.persona, options.test_set), strict=True))
    if inputs.api_key is None:
        log(f"{KEY} is not set, so nothing is looked up in Coval.")
        return [unlisted(kind, text, None) for kind, text in wanted.items()], LastRuns(reason="there was no API key")
    until = runtime.clock.now() + LONGEST
    client = connect(inputs, runtime, log, ends=until)
    try:
        choices, refusal = [], None
        for kind, text in wanted.items():
            by = min(runtime.clock.now() + LONGEST_LIST, until)
            listed = refusal or run(_listed(client, kind, by), runtime.clock)
            if isinstance(listed, CovalError):
                if not refusal:
                    log(f"{listed.what} {listed.advice}".strip())
                # Every other call would fail, too: the key is rejected, or Coval cannot be reached.
                is_of_all = _is_of_key(listed) or (isinstance(listed, Unavailable) and not listed.arrived)
                refusal = listed if is_of_all else None
                choices.append(unlisted(kind, text, listed))
            else:
                choices.append(choose(kind, listed, text, ask))
        last = (
            LastRuns(reason="the API key was rejected" if _is_of_key(refusal) else "Coval did not respond")
            if refusal
            else run(last_runs(client, choices, until), runtime.clock)
        )
    finally:
        client.close()
    return choices, last


def _listed(client: Client, kind: Kind, until: float) -> Procedure[tuple[Listed, ...] | CovalError]:
    try:
        return (yield from list_resources(client, kind, until))
    except CovalError as error:
        return error


def _is_of_key(error: CovalError) -> bool:
    return isinstance(error, Rejected) and error.status == REJECTED


def _choice_text(choice: Choice) -> str:
    subject = choice.kind.noun.capitalize()
    if choice.id:
        name = f"{one_line(choice.name)} ({choice.id})" if choice.name else choice.id
        return f"{subject}: {name}, {choice.how}."
    if choice.candidates:
        return f"{subject}: {plural(len(choice.candidates), 'candidate')}; the file lists them."
    return f"{subject}: to fill in, because {choice.reason}."


def _thresholds_text(proposal: Proposal) -> str:
    if not proposal.runs:
        (line,) = proposal.lines
        return f"Thresholds: {line.threshold}, {line.reason}."
    advisory = sum(line.advisory for line in proposal.lines)
    more = f", {advisory} of them advisory" if advisory else ""
    return f"Thresholds: {len(proposal.lines)}{more}, proposed from {plural(proposal.runs, 'completed run')}."


def _connection_settings(inputs: Inputs) -> list[Setting]:
    """Return the settings of the connection that differ from their defaults."""
    values = {name: getattr(inputs, name) for name in CONNECTION}
    return [
        Setting(name, value) if plain(value) == value else Setting(name, comment=f"{TODO} as in your environment")
        for name, value in values.items()
        if value and value != default_of(name)
    ]


def _id_setting(choice: Choice) -> Setting:
    """Return the setting of an id, or a marked place for it."""
    name = choice.kind.input
    if choice.id:
        return Setting(name, choice.id, plain(choice.name))
    if choice.reason:
        return Setting(name, "", f"{TODO} its id; {choice.reason}")
    shown = [f"- {plain(one.name) or 'without a name'}: {one.id}" for one in choice.candidates[:MOST_SHOWN]]
    more = len(choice.candidates) - len(shown)
    return Setting(name, "", f"{TODO} choose one of:", (*shown, *([f"- and {more} more"] if more else [])))


def _criteria(proposal: Proposal) -> list[Setting]:
    allowed = [Setting("max_failed_simulations", proposal.max_failed, "as many as in the last runs")]
    thresholds = Setting("thresholds", lines=tuple(map(str, proposal.lines)))
    return [*(allowed if proposal.max_failed else []), thresholds]


def _write(workspace: Workspace, path: str, text: str) -> None:
    try:
        if not workspace.create(path, text):
            raise _taken(path)
    except ValueError as problem:
        raise InputError([(quoted(path), str(problem))]) from None


def _next_steps(starter: Starter, place: _Place, text: str) -> list[str]:
    """Return what a person has to do now."""
    marked = [number for number, line in enumerate(text.splitlines(), start=1) if TODO in line]
    lines = f"line{'s' if len(marked) > 1 else ''} {in_words([str(number) for number in marked])}"
    todo = [
        *([f"fill in what is marked {TODO.rstrip(':')} in {lines}"] if marked else []),
        *([OF_OWNER] if ACTION.startswith(PLACEHOLDER) else []),
        f"commit {place.path}",
    ]
    task = ", and ".join(filter(None, [", ".join(todo[:-1]), todo[-1]]))
    joining = ["", starter.join, *(f"    {line}" for line in starter.joining)] if place.joined else []
    return [
        *joining,
        "",
        "Next:",
        f"1. Add the API key {starter.secret}.",
        f"2. {task[0].upper()}{task[1:]}.",
        f"3. Open a {starter.request}: the gate evaluates the agent there.",
    ]
