"""The flags of each command, one for each input that affects it, and the errors in a command line. Pure."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NoReturn

from coval_gate import __version__
from coval_gate.base.text import in_words
from coval_gate.inputs.checks import has_effect
from coval_gate.inputs.fields import LISTS, MOST_SHOWN_RUNS, USUALLY_SHOWN_RUNS
from coval_gate.inputs.inputs import ALL_MODES, CONNECTION, FILE_NAME, KEY_VARIABLE, Input, declared
from coval_gate.inputs.naming import OTHER_NAMES, PROGRAM, VARIABLES, flag_of
from coval_gate.inputs.parsing import closest

COMMANDS: Final = {
    "run": "launch a run, wait for it, and judge it",
    "plan": "show what `run` would launch, and check the ids; launch nothing",
    "launch": "launch a run, and exit without waiting for it",
    "wait": "wait for runs and judge them; a finished run is judged again at no cost",
    "attach": "answer a run's simulations with your own code, in this job",
    "history": "show the newest runs of a branch side by side: their values and failed test cases",
    "cancel": "cancel unfinished runs",
    "post": "clean up after a command that was killed",
    "init": "write a workflow for your CI system: the first one, or another one for GitHub",
    "doctor": "report what your key may do and how your Coval workspace responds; without --launch, it only reads",
    "demo": "try it against a local sandbox, without an account",
}
OURS: Final = (*VARIABLES, "mode", "run_id")  # inputs that are no flags
# Commands that need a connection, and of the other inputs only those in MORE.
CONNECTED: Final = ("post", "init", "doctor", "attach")
MORE: Final = {
    "attach": {"max_wait_time": "Give up if the run is not over after this many seconds."},
    "doctor": {
        "agent_id": "With --launch, the agent.",
        "persona_id": "With --launch, the persona.",
        "test_set_id": "With --launch, the test set. One of its test cases is used.",
        "metric_ids": "With --launch, the metrics. Default: the agent's.",
        "max_wait_time": "With --launch, cancel the runs after this many seconds.",
        "json_path": "With --launch, write the findings as JSON to this file.",
    },
}
LESS: Final = {"attach": ("dashboard_url",), "doctor": ("dashboard_url",)}  # inputs of a connection that have no effect
ARGUMENT: Final = {"wait": "RUN", "cancel": "RUN", "history": "RUNS"}  # positional, by command
ON_OFF: Final = "true or false"  # the type of an input with two flags, such as --comment and --no-comment
KEY_FROM: Final = f"the key comes from the environment variable {KEY_VARIABLE} or from --key-file"
SECRETS: Final = {
    "api_key": KEY_FROM,
    "github_token": f"set the variable {VARIABLES['github_token']}",
}  # how to set them instead
SWITCHES: Final = {
    "doctor": {
        "--launch": "Launch two runs of one test case, at most three conversations, and report what they show.",
        "--yes": "With --launch, launch without asking.",
    },
    **{name: {"--open": "Open the HTML report. Requires --html-path."} for name in ("run", "wait", "history")},
}
HELP: Final = ("-h", "--help", "help")
HELP_WIDTH: Final = 100  # characters of the help
ATTACH_USAGE: Final = (
    f"{PROGRAM} attach [FLAG ...] --run RUN MODULE:HANDLER\n       {PROGRAM} attach [FLAG ...] --run RUN -- COMMAND ..."
)
ATTACH_CODES: Final = (
    "Exit codes: 0 all simulations answered, 1 some not answered, 2 the command cannot start, 130 stopped by a signal. "
    "The step that waits for the run judges the answers."
)


class UsageError(Exception):
    """The command line cannot be understood. Nothing was sent."""


def _flags_of(command: str) -> Iterator[Input]:
    """Yield the inputs that affect the command, or the other half of launch and wait."""
    for declaration in declared():
        is_flag = has_effect(declaration, command) or (command in CONNECTED and declaration.group == CONNECTION)
        is_flag |= declaration.name in MORE.get(command, {})
        if is_flag and declaration.name not in (*OURS, *LESS.get(command, ())):
            yield declaration


class _Parser(argparse.ArgumentParser):
    """A parser without abbreviations, which raises UsageError instead of exiting."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False, formatter_class=_Help, add_help=False)

    @property
    def flags(self) -> list[str]:
        return [*self._option_string_actions]

    @property
    def names(self) -> dict[str, str]:
        """How users write each option, by its name in the namespace."""
        return {action.dest: (*action.option_strings, str(action.metavar))[0] for action in self._actions}

    @property
    def single(self) -> list[argparse.Action]:
        """The flags that have one value, or are on or off."""
        repeatable = (argparse._AppendAction, argparse._StoreTrueAction)  # noqa: SLF001 - they have no other names
        return [action for action in self._actions if action.option_strings and not isinstance(action, repeatable)]

    def error(self, message: str) -> NoReturn:
        where = self.prog.removeprefix(PROGRAM).strip()
        raise UsageError(f"{f'{where}: ' if where else ''}{message}. {self.prog} --help shows the usage.")


class _Help(argparse.HelpFormatter):
    """Keeps the names of flags whole, because users search for --api-base-url, and copy it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=HELP_WIDTH)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def parse(arguments: Sequence[str], systems: Sequence[str], workflows: Sequence[str]) -> argparse.Namespace | str:
    """Return the options with their `command`, or the text to show for the help or the version. Raises UsageError.

    `systems`, `workflows`: the names of the CI systems and workflows that `init` can write.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", ())
    if name in (*HELP, "--version"):
        if rest:
            raise UsageError(f"{name} takes no argument {rest[-1]!r}. {PROGRAM} --help lists the commands.")
        return f"{PROGRAM} {__version__}\n" if name == "--version" else _overview()
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}{_guess(name, COMMANDS)} {PROGRAM} --help lists the commands.")
    parser = _parser_of(name, systems, workflows)
    answering: tuple[str, ...] | None = None
    if name == "attach" and "--" in rest:
        place = rest.index("--")
        rest, answering = rest[:place], tuple(rest[place + 1 :])
    if any(argument in ("-h", "--help") for argument in rest):
        return parser.format_help()
    given = [argument.partition("=")[0] for argument in rest]
    for flag in given:
        input_ = flag.strip("-").lower().replace("-", "_")
        if way := flag.startswith("-") and SECRETS.get(OTHER_NAMES.get(input_, input_)):
            raise UsageError(f"there is no flag {flag}: {way}, because other programs can read arguments.")
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        raise UsageError(_unknown_argument(name, unknown, parser.flags))
    _refuse_ignored(name, given, options, parser)
    if name in CHECKS:
        CHECKS[name](options, answering)
        options.answering = answering or ()
    options.command = name
    return options


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "".join(f"  {name:<{width}}  {what}\n" for name, what in COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND [FLAG ...]\n\nTest voice and chat agents with Coval.\n\n"
        f"commands:\n{commands}\n"
        f"{PROGRAM} COMMAND --help shows a command's flags. The API key is read from {KEY_VARIABLE}.\n"
        f"A flag overrides a variable such as INPUT_AGENT_ID, which overrides {FILE_NAME}.\n\n"
        "exit codes: 0 passed, 1 failed, 2 an error, 3 inconclusive, 4 timed out, 130 cancelled\n"
    )


def _parser_of(command: str, systems: Sequence[str], workflows: Sequence[str]) -> _Parser:
    summary, taken = COMMANDS[command], f" [{ARGUMENT[command]} ...]" if command in ARGUMENT else ""
    taken = " [WORKFLOW]" if command == "init" else taken
    usage = f"{PROGRAM} {command} [FLAG ...]{taken}"
    parser = _Parser(
        prog=f"{PROGRAM} {command}",
        usage=ATTACH_USAGE if command == "attach" else usage,
        description=f"{summary[:1].upper()}{summary[1:]}.".replace("`", ""),
        epilog=ATTACH_CODES if command == "attach" else None,
    )
    if command in ARGUMENT:
        parser.add_argument("run_id", nargs="*", metavar=ARGUMENT[command], help=_help("run_id"))
    if command == "attach":
        _add_attach(parser)
    for chapter, members in groupby(_flags_of(command), key=lambda declaration: declaration.chapter):
        group = parser.add_argument_group(chapter.name)
        for declaration in members:
            _add(group, declaration, MORE.get(command, {}).get(declaration.name, ""))
        if chapter == CONNECTION:
            group.add_argument(
                "--key-file",
                metavar="PATH",
                help=f"A file with the API key, instead of {KEY_VARIABLE}; - is standard input.",
            )
    if command == "init":
        _add_init(parser, systems, workflows)
    if command == "history":
        what = f"How many runs, up to {MOST_SHOWN_RUNS}. Default: {USUALLY_SHOWN_RUNS}."
        parser.add_argument("--last", metavar="N", help=what)
    for flag, what in SWITCHES.get(command, {}).items():
        parser.add_argument(flag, action="store_true", help=what)
    parser.add_argument("-h", "--help", action="store_true", help="Show this help.")
    return parser


def _add(group: argparse._ArgumentGroup, declaration: Input, description: str = "") -> None:
    """Add the flag of an input. `description` replaces the input's own."""
    kind, name = declaration.field.name, declaration.name
    given: dict[str, Any] = {"dest": name, "help": _help(name, description), "default": None}
    if kind == ON_OFF:
        group.add_argument(flag_of(name), action=argparse.BooleanOptionalAction, **given)
    else:
        action, metavar = "append" if kind in LISTS else "store", "LINE" if kind == "thresholds" else "VALUE"
        group.add_argument(flag_of(name), action=action, metavar=metavar, **given)


def _add_attach(parser: _Parser) -> None:
    group = parser.add_argument_group("What answers")
    group.add_argument(
        "handler",
        nargs="?",
        metavar="MODULE:HANDLER",
        help="An async function that takes a connection of Coval's Agent SDK: agent:answer is the function answer in "
        "agent.py. Or, after --, a command for each simulation: it reads the caller's audio on standard input and "
        "writes the agent's to standard output (PCM, 16 bit, mono, 16 kHz). COVAL_SIMULATION_ID names the simulation.",
    )
    group.add_argument("--run", metavar="RUN", help="The id of the run whose simulations to answer.")


def _add_init(parser: _Parser, systems: Sequence[str], workflows: Sequence[str]) -> None:
    first, *others = workflows
    what = f"{first} (the default) or, for GitHub, {in_words(others, 'or')}."
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", default=first, help=what)
    parser.set_defaults(workflows=workflows)
    parser.add_argument("--yes", action="store_true", help="Ask nothing; write a variable wherever there is a choice.")
    parser.add_argument("--system", choices=sorted(systems), help="The CI system. Default: the detected one.")
    for name in ("agent", "persona", "test_set"):
        help_ = f"The {name.replace('_', ' ')}, by id or by name. For legs, repeat it for each."
        parser.add_argument(flag_of(name), action="append", metavar="VALUE", help=help_)
    parser.add_argument("--preview-agent", metavar="VALUE", help="The agent of the preview, by id or by name.")
    parser.add_argument("--path", metavar="PATH", help="The file to write. Default: the system's own.")


def _check_init(options: argparse.Namespace, _: Sequence[str] | None) -> None:
    """Raise UsageError for an unknown workflow, or a flag that has no effect on it."""
    if options.workflow not in options.workflows:
        suggestion = _guess(options.workflow, options.workflows)
        raise UsageError(
            f"init: there is no workflow {options.workflow!r}{suggestion} There are {in_words(options.workflows)}."
        )
    for name in ("agent", "persona", "test_set"):
        if options.workflow != "legs" and len(getattr(options, name) or ()) > 1:
            raise UsageError(f"init: give {flag_of(name)} once; only `init legs` takes several.")
    if options.preview_agent and options.workflow != "preview":
        raise UsageError("init: --preview-agent has an effect only on `init preview`.")


def _check_attach(options: argparse.Namespace, answering: Sequence[str] | None) -> None:
    """Raise UsageError without a run, or without exactly one of a handler and a command."""
    if options.run is None:
        raise UsageError("attach: --run is required: the id of the run whose simulations to answer.")
    options.run = options.run.strip()
    if answering is not None and options.handler:
        raise UsageError("attach: give MODULE:HANDLER or a command after --, not both.")
    if not (options.handler or (answering and answering[0].strip())):
        raise UsageError("attach: MODULE:HANDLER, such as agent:answer, or -- and a command is required.")


def _check_doctor(options: argparse.Namespace, _: Sequence[str] | None) -> None:
    """Raise UsageError for a flag that has no effect."""
    unused = [flag_of(name) for name in (*MORE["doctor"], "yes") if getattr(options, name)]
    if unused and not options.launch:
        raise UsageError(
            f"doctor: {in_words(unused)} {'has' if len(unused) == 1 else 'have'} no effect without --launch."
        )


def _help(name: str, description: str = "") -> str:
    """Return the help for an input: flags in place of other inputs' names, and the default."""
    declaration = next(one for one in declared() if one.name == name)
    names = {one.name for one in declared() if one.name not in OURS}

    def shown(match: re.Match[str]) -> str:
        mode = match[1].removeprefix("mode: ")
        if mode != match[1] and mode in COMMANDS:
            return f"{PROGRAM} {mode}"
        return flag_of(match[1]) if match[1] in names else match[1]

    text = re.sub(r"`([^`]+)`", shown, description or declaration.description)
    default = declaration.default
    if declaration.field.name == ON_OFF:
        default = {"true": flag_of(name), "false": _off(flag_of(name))}.get(default, "")
    if default and not default.startswith("${{"):
        text += f" Default: {default}."
    return text.replace("%", "%%")


def _refuse_ignored(command: str, given: Sequence[str], options: argparse.Namespace, parser: _Parser) -> None:
    """Raise UsageError for a value that would be ignored: a second one, or an empty one (an unset shell variable)."""
    for action in parser.single:
        flags = [flag for flag in given if flag in action.option_strings]
        if len(flags) > 1:
            raise UsageError(f"{command}: {in_words(flags)} cannot be combined; give one of them.")
    for name, value in vars(options).items():
        values = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and not text.strip() for text in values):
            what = parser.names[name]
            raise UsageError(f"{command}: {what} is empty. Leave it out, or set the variable that it comes from.")


def _unknown_argument(command: str, unknown: Sequence[str], flags: Sequence[str]) -> str:
    """Return an error about an argument that the command does not have."""
    flag = next((argument.partition("=")[0] for argument in unknown if argument.startswith("-")), "")
    if not flag:
        return f"{command}: takes no argument {unknown[0]!r}. {PROGRAM} {command} --help shows the usage."
    others = [
        declaration
        for declaration in declared()
        if declaration.name not in OURS
        and (
            flag == flag_of(declaration.name)
            or (declaration.field.name == ON_OFF and flag == _off(flag_of(declaration.name)))
        )
    ]
    if others:
        modes = in_words([mode for mode in ALL_MODES if mode in others[0].modes])
        return f"{command}: {flag} has no effect here; it is a flag of {modes}."
    return f"{command}: there is no flag {flag}{_guess(flag, flags)}"


def _off(flag: str) -> str:
    return flag.replace("--", "--no-", 1)


def _guess(word: str, words: Iterable[str]) -> str:
    """Return the end of a sentence, which suggests the intended word if its first letter is right."""
    plain = {one.lstrip("-"): one for one in words}
    name = word.lstrip("-")
    usual = flag_of(OTHER_NAMES.get(name.replace("-", "_"), "")).lstrip("-")
    close = usual if usual in plain else closest(name, [one for one in plain if one[:1] == name[:1]])
    return f"; did you mean {plain[close]}?" if close else "."


CHECKS: Final = {"attach": _check_attach, "doctor": _check_doctor, "init": _check_init}
