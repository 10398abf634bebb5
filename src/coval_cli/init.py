"""Runs the command `init`: finds the CI system, looks up ids and runs, and writes a workflow. It overwrites no file.

No look-up is required: the workflow is written without what the API key may not read, or Coval does not show in time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from coval_cli.choices import Ask, InitOptions, combinations, look_up
from coval_cli.installation import GITHUB as GITHUB_SERVER
from coval_cli.installation import Installation, find_installation
from coval_cli.proposals import Proposal, plain
from coval_cli.workflow import (
    FIRST_WORKFLOW,
    GITHUB,
    STARTERS,
    WORKFLOWS,
    Choice,
    FileLeg,
    Starter,
    config_file,
    fill_in,
    fill_in_legs,
    on_branch,
    read_example,
    starter_for,
)
from coval_gate.base.errors import GateError, InputError
from coval_gate.base.runtime import USAGE_ERROR, Runtime
from coval_gate.base.secret import redactor
from coval_gate.base.text import in_words, one_line, plural, quoted
from coval_gate.ci.host import Console
from coval_gate.features.files.workspace import Workspace
from coval_gate.features.legs.file import BASE_LEG
from coval_gate.features.systems.plain import main_branch, origin_host, top_directory
from coval_gate.inputs.inputs import FILE_NAME, Inputs, default_of, inputs_of_command, key_in
from coval_gate.inputs.naming import TOGETHER_NAME, as_argument

WRITTEN: Final = 0  # exit code
CONNECTION_INPUTS: Final = ("api_base_url", "workspace_id")
LINKS: Final = (
    "To link simulations, too, set dashboard_url to https://app.coval.dev/ and your organization's name in the address."
)
SAFE: Final = re.compile(r"[\w.:/%-]+", re.ASCII)  # characters that no file format treats specially
BRANCH: Final = re.compile(r"(?!(?i:true|false|null|yes|no|on|off)\Z)[A-Za-z][\w./-]*", re.ASCII)  # a text in YAML
PLACEHOLDER: Final = "your-org"  # until `make adopt` has named the owner
OTHER_FILE: Final = "coval-gate-legs.yml"  # the configuration file beside another one


def init(runtime: Runtime, options: InitOptions, ask: Ask | None = None) -> int:
    """Write a workflow, and return the exit code: 0, or 2 if nothing was written.

    `ask` shows a question and its answers, and returns one of them; None: nothing is asked.
    """
    return reported(runtime, partial(_init, runtime, options, None if options.yes else ask))


def reported(runtime: Runtime, work: Callable[[Callable[[str], None], Callable[[str], str]], int]) -> int:
    """Return the exit code of `work`; 2 after a GateError, which is logged.

    `work` gets the log, whose lines may contain foreign text, and a function that masks the API key in every form in
    which Coval may repeat it.
    """
    redact = redactor(*filter(None, [key_in(runtime.environ)])).redact

    output, errors = Console(runtime.stdout), Console(runtime.errors)
    try:
        return work(lambda line: output.log(redact(line)), redact)
    except GateError as error:
        shown = error.with_names(as_argument) if isinstance(error, InputError) else error
        errors.log(redact("\n".join([f"Error: {shown.what}", *filter(None, shown.advice.splitlines())])))
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
    system, how = starter_for(options.system, used, origin_host())
    starter = _starter(system, how, options.workflow)
    path = _free(workspace, [options.path] if options.path else [*filter(None, (starter.path, starter.beside))])
    config_path = _free(workspace, [one for one in (FILE_NAME, OTHER_FILE) if one != path]) if starter.has_legs else ""
    inputs = inputs_of_command(runtime.environ, CONNECTION_INPUTS)
    log(f"CI system: {starter.name}, {how}.")
    connection, origin = _settings(inputs), _origin_for(starter)
    chosen, proposals = look_up(runtime, inputs, options, starter, ask, log)
    choices = [choice for several in chosen for choice in several]
    for choice in choices:
        log(_choice_text(choice))
    example = read_example(starter.example)
    branch = main_branch()
    branch = branch if BRANCH.fullmatch(branch) else "main"
    if config_path:
        shared = [several[0] for several in chosen if len(several) == 1]
        unknown = [choice for choice in choices if not choice.id]
        text = fill_in_legs(example, unknown, connection, config_path, origin)
        files = {config_path: config_file(path, shared, _legs(chosen, proposals)), path: text}
    else:
        files = {path: fill_in(example, choices, connection, proposals[0], origin, branch)}
    log(_thresholds_text(proposals))
    _write(workspace, {place: redact(text) for place, text in files.items()})
    missing = [choice.variable for choice in choices if not choice.id]
    steps = _next_steps(starter, path, missing, origin, branch)
    log("\n".join(["", *(f"Wrote {place}." for place in files), *steps]))
    return WRITTEN


def _starter(system: Starter, how: str, word: str) -> Starter:
    """Raises InputError for a workflow that the system does not have."""
    if word == FIRST_WORKFLOW:
        return system
    if system is not GITHUB:
        what = f"is a workflow for GitHub Actions, but the CI system is {system.name}, {how}."
        advice = f"`coval-gate init` alone writes one for {system.name}. For GitHub Actions, add --system github."
        raise InputError([(f"init {word}", what)], advice=advice)
    return WORKFLOWS[word]


def _origin_for(starter: Starter) -> Installation:
    """GitHub runs actions of its own server and of github.com."""
    origin = find_installation()
    hosts = (GITHUB_SERVER, f"https://{origin_host()}")
    is_reachable = origin.server in hosts and origin.repository.count("/") == 1
    return origin if is_reachable or starter.word != GITHUB.word else Installation()


def _free(workspace: Workspace, paths: Sequence[str]) -> str:
    """Return the first path without a file. Raises InputError if all have one."""
    try:
        free = next((path for path in paths if not workspace.exists(path)), "")
    except ValueError as problem:
        raise InputError([("--path", str(problem))]) from None
    if not free:
        raise _taken(paths[-1])
    return free


def _write(workspace: Workspace, files: Mapping[str, str]) -> None:
    """Write all files or none. Raises InputError."""
    for number, (path, text) in enumerate(files.items()):
        try:
            problem = None if workspace.create(path, text) else _taken(path)
        except ValueError as error:
            problem = InputError([(quoted(path), str(error))])
        if problem:
            for other in [*files][:number]:
                workspace.remove(other)
            raise problem


def _taken(path: str) -> InputError:
    advice = "Add the legs to it yourself." if path == OTHER_FILE else "Name another one with --path."
    return InputError([(quoted(path), f"exists, and init overwrites no file. {advice}")])


def _thresholds_text(proposals: Sequence[Proposal]) -> str:
    """Log what the thresholds come from."""
    texts = dict.fromkeys(
        f"{len(one.lines)}, proposed from {plural(one.runs, 'completed run')}"
        if one.runs
        else one.lines[0].replace("  # ", ", ")
        for one in proposals
    )
    return "\n".join(f"Thresholds: {text}." for text in texts)


def _legs(chosen: Sequence[Sequence[Choice]], proposals: Sequence[Proposal]) -> list[FileLeg]:
    """Return a leg for each combination, named by what it does not share with all others."""
    legs: dict[str, FileLeg] = {}
    for combination, proposal in zip(combinations(chosen), proposals, strict=True):
        own = [choice for choice, several in zip(combination, chosen, strict=True) if len(several) > 1 and choice.id]
        shown = own or [choice for choice in combination[-1:] if choice.id]
        name = ", ".join(plain(choice.name, 60) or choice.id for choice in shown) or "first"
        if name in legs or name == BASE_LEG or name.endswith(TOGETHER_NAME):
            name = ", ".join(choice.id for choice in shown)
        legs[name] = FileLeg(name, {choice.kind.input: choice.id for choice in own}, proposal)
    return [*legs.values()]


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
    """Return the settings that differ from their defaults. Raises InputError."""
    values = {name: getattr(inputs, name) for name in CONNECTION_INPUTS}
    settings = {name: value for name, value in values.items() if value and value != default_of(name)}
    unsafe = [name for name, value in settings.items() if not SAFE.fullmatch(value)]
    if unsafe:
        what = "cannot be written to a workflow; got"
        raise InputError([(name, f"{what} {quoted(settings[name])}.") for name in unsafe])
    return settings


def _next_steps(starter: Starter, path: str, missing: Sequence[str], origin: Installation, branch: str) -> list[str]:
    """`missing`: the variables that stand for ids."""
    owner = origin.repository.partition("/")[0]
    steps = [
        f"Add the API key {starter.secret}.",
        *([f"Set {in_words(missing)}, where the first lines of the file say."] if missing else []),
        *([f"Replace {PLACEHOLDER} with the owner of your copy of Coval Gate."] if owner == PLACEHOLDER else []),
        *([starter.remains] if starter.remains else []),
        *([starter.join] if path == starter.beside else []),
        LINKS,
        f"Commit, and {on_branch(starter.starts, branch)}.",
    ]
    return ["", "Next:", *(f"{number}. {step}" for number, step in enumerate(steps, start=1))]
