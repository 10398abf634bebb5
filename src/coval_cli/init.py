"""Runs the command `init`: finds the CI system, looks up ids and runs, and writes a workflow. It overwrites no file.

No look-up is required: the workflow is written without what the API key may not read, or Coval does not show in time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Final, NamedTuple

from coval_cli.installation import GITHUB as GITHUB_SERVER
from coval_cli.installation import Installation, find_installation
from coval_cli.proposals import Proposal, guess, plain, propose, usable
from coval_cli.workflow import (
    FIRST_WORKFLOW,
    GITHUB,
    PREVIEW_AGENT,
    STARTERS,
    WORKFLOWS,
    Candidate,
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
from coval_gate.base.errors import CovalError, GateError, InputError
from coval_gate.base.runtime import USAGE_ERROR, Runtime
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.secret import redactor
from coval_gate.base.text import folded, in_words, most_similar, one_line, plural, quoted
from coval_gate.ci.host import Console
from coval_gate.ci.plain import main_branch, origin_host, top_directory
from coval_gate.ci.workspace import Workspace
from coval_gate.coval.client import Client, connect
from coval_gate.coval.model import CLEAN, COMPLETED, RunFilter, RunResult
from coval_gate.coval.resources import METRIC, RUN_RESOURCES, MetricDefinition, Resource
from coval_gate.history.tags import part_of
from coval_gate.inputs.fields import IDENTIFIER
from coval_gate.inputs.file import BASE_LEG
from coval_gate.inputs.inputs import FILE_NAME, KEY_VARIABLE, Inputs, default_of, inputs_of_command, key_in
from coval_gate.inputs.naming import TOGETHER_NAME, as_argument, flag_of

WRITTEN: Final = 0  # exit code
LONGEST_LOOK_UP: Final = 60.0  # s for all calls
CONNECTION_INPUTS: Final = ("api_base_url", "workspace_id")
LINKS: Final = (
    "To link simulations, too, set dashboard_url to https://app.coval.dev/ and your organization's name in the address."
)
SAFE: Final = re.compile(r"[\w.:/%-]+", re.ASCII)  # characters that no file format treats specially
BRANCH: Final = re.compile(r"(?!(?i:true|false|null|yes|no|on|off)\Z)[A-Za-z][\w./-]*", re.ASCII)  # a text in YAML
PLACEHOLDER: Final = "your-org"  # until `make adopt` has named the owner
MOST_CHOICES: Final = 100  # agents, personas or test sets; one page
MOST_DEFINITIONS: Final = 200  # metrics; two pages
MOST_LEGS: Final = 20  # in a new file
OTHER_FILE: Final = "coval-gate-legs.yml"  # the configuration file beside another one
FAILED_SOME: Final = "EXECUTION_FAILURE"  # what Coval reports as soon as a single simulation failed

Ask = Callable[[str, Sequence[str]], str]


class InitOptions(NamedTuple):
    """`workflow`: a key of WORKFLOWS. `yes`: ask nothing. `system`: one of SYSTEM_WORDS.

    `agent`, `persona`, `test_set`: ids or names; several only for legs. `preview_agent`: only for a preview.
    """

    workflow: str = FIRST_WORKFLOW
    yes: bool = False
    system: str = ""
    agent: Sequence[str] = ()
    persona: Sequence[str] = ()
    test_set: Sequence[str] = ()
    preview_agent: str = ""
    path: str = ""


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
    chosen, proposals = _look_up(runtime, inputs, options, starter, ask, log)
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


def _look_up(
    runtime: Runtime,
    inputs: Inputs,
    options: InitOptions,
    starter: Starter,
    ask: Ask | None,
    log: Callable[[str], None],
) -> tuple[list[list[Choice]], list[Proposal]]:
    """Return the agents, personas and test sets, and the thresholds of each combination.

    Only legs have several of a kind. A preview also has its agent. Raises InputError for a name that Coval lacks.
    """
    wanted: dict[Resource[Candidate], Sequence[str]] = dict(
        zip(RUN_RESOURCES.values(), (options.agent, options.persona, options.test_set), strict=True)
    )
    if starter.preview:
        wanted[PREVIEW_AGENT] = [options.preview_agent] if options.preview_agent else []
    if inputs.api_key is None:
        log(f"{KEY_VARIABLE} is not set, so nothing is looked up in Coval.")
        unlisted = [_unlisted(kind, texts) for kind, texts in wanted.items()]
        return unlisted, [guess("there was no API key", starter.against)] * len(_combinations(unlisted))
    until = runtime.clock.now() + LONGEST_LOOK_UP
    client = connect(inputs, runtime, log, ends=until)
    chosen: list[list[Choice]] = []
    proposals: list[Proposal] = []
    try:
        for kind, texts in wanted.items():
            listed = run(client.list(kind, until=until, go_on=_is_short), runtime.clock)
            if kind is PREVIEW_AGENT:
                listed = tuple(one for one in listed if one.id != chosen[0][0].id)
            chosen.append(_choose_all(kind, listed, texts, ask, several=starter.has_legs))
        for combination in _combinations(chosen):
            last = run(_last_runs(client, combination, until), runtime.clock)
            proposals.append(_proposal(last, starter.against))
    except CovalError as error:
        log(f"{error.what} {error.advice}".strip())
        chosen += [_unlisted(kind, texts) for kind, texts in [*wanted.items()][len(chosen) :]]
        rest = len(_combinations(chosen)) - len(proposals)
        proposals += [guess("Coval did not show the last runs", starter.against)] * rest
    finally:
        client.close()
    return chosen, proposals


def _combinations(chosen: Sequence[Sequence[Choice]]) -> list[tuple[Choice, ...]]:
    """Return each agent with each persona and test set. Raises InputError if these are too many legs."""
    combinations = [*product(*chosen[: len(RUN_RESOURCES)])]
    if len(combinations) > MOST_LEGS:
        names = in_words([flag_of(kind.key) for kind in RUN_RESOURCES.values()])
        raise InputError([(names, f"make {len(combinations)} legs; init writes at most {MOST_LEGS}.")])
    return combinations


def _proposal(last: "LastRuns", against: str) -> Proposal:
    if runs := usable(last.runs):
        return propose(runs, last.definitions, against)
    return guess(last.reason or "none of the last runs can be judged", against)


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
    for combination, proposal in zip(_combinations(chosen), proposals, strict=True):
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


class LastRuns(NamedTuple):
    """Completed runs, newest first. `reason`: why there are none."""

    runs: tuple[RunResult, ...] = ()
    definitions: Mapping[str, MetricDefinition] = {}
    reason: str = ""


def _is_short(listed: Sequence[object]) -> bool:
    return len(listed) < MOST_CHOICES


def _unlisted(kind: Resource[Candidate], wanted: Sequence[str]) -> list[Choice]:
    """Names cannot be looked up; only ids can be written."""
    how = f"as {flag_of(kind.key)} says, not looked up"
    known = [Choice(kind, text, how=how) for text in dict.fromkeys(wanted) if IDENTIFIER.fullmatch(text)]
    return known if known and len(known) == len({*wanted}) else [Choice(kind)]


def _choose_all(
    kind: Resource[Candidate], listed: Sequence[Candidate], wanted: Sequence[str], ask: Ask | None, *, several: bool
) -> list[Choice]:
    """Return what each of `wanted` names. Without any, the user chooses one or, if there may be `several`, all.

    Raises InputError.
    """
    if not wanted and several and ask and 1 < len(listed) <= MOST_LEGS:
        one_of_all = f"all {len(listed)}, with a leg for each"
        answers: list[str] = []

        def ask_for_all(question: str, shown: Sequence[str]) -> str:
            answers.append(ask(question, (*shown, one_of_all)))
            return answers[-1]

        choice = _choose(kind, listed, "", ask_for_all)
        if answers == [one_of_all]:
            return [Choice(kind, one.id, one.name, "one of all") for one in listed]
        return [choice]
    choices = [_choose(kind, listed, text, ask) for text in wanted or [""]]
    return [*{choice.id: choice for choice in choices}.values()]


def _choose(kind: Resource[Candidate], listed: Sequence[Candidate], wanted: str, ask: Ask | None) -> Choice:
    """Return the resource that `wanted` names, by id or name, or the only one, or the one that the user chooses.

    Raises InputError if `wanted` names none.
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
        other = "other one" if kind is PREVIEW_AGENT else "one"
        return Choice(kind, only.id, only.name, f"as {flag_of(kind.key)} says" if wanted else f"the only {other}")
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
