"""The command `coval-gate`: the road of the action's step, on any CI system and on a laptop.

Its flags are the inputs. They become the environment of the step, beside what the environment and a file set, so that
nothing but their origin differs from the action.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import stat
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from coval_gate import __version__
from coval_gate.base.clock import SystemClock
from coval_gate.base.text import in_words
from coval_gate.config.file import LARGEST, NAME, PYPROJECT, beside_file, read_config
from coval_gate.config.inputs import ALL_MODES, CONNECTION, KEY_VARIABLE, declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

    from coval_gate.base.clock import Clock
    from coval_gate.base.runtime import Runtime
    from coval_gate.config.inputs import Input

PROGRAM: Final = "coval-gate"
USAGE_ERROR: Final = 2
KILLED: Final = 130
COMMANDS: Final = {
    "run": "launch a run, wait for it, and judge it",
    "plan": "show what `run` would launch, and check the ids; launch nothing",
    "launch": "launch a run, and end",
    "wait": "wait for runs and judge them; a finished run is judged again at no cost",
    "cancel": "cancel unfinished runs",
    "post": "end what a command left that was killed",
    "init": "write a first workflow for your CI system",
    "demo": "try it against a local sandbox, without an account",
}
SECRETS: Final = ("api_key", "github_token")
OURS: Final = (*SECRETS, "mode", "run_id")  # inputs that are no flags
CONNECTED: Final = ("post", "init")  # commands that need nothing but a connection
TAKEN: Final = {"wait": "RUN", "cancel": "RUN"}  # what the argument of a command is
READABLE: Final = "other programs can read arguments"
KEY_ADVICE: Final = f"the key comes from the environment variable {KEY_VARIABLE} or from --key-file, because {READABLE}"
LARGEST_KEY: Final = 4096  # bytes
NAMED: Final = re.compile(rb"coval.{0,6}gate", re.IGNORECASE)  # a pyproject.toml that has our table, perhaps misspelt
PATIENCE, PAUSE = 8.0, 0.2  # s to wait for a command that is ending, and between two looks
# The live line hid the cursor.
PARTING: Final = b"\x1b[?25h\nLeft before the run was cancelled. `coval-gate post` in this directory cancels it.\n"
WIDTH: Final = 100  # characters of the help


class UsageError(Exception):
    """The command line cannot be understood. Nothing was sent."""


class TerminalClock(SystemClock):
    """The machine's clock. The first Ctrl-C ends the run, as a closed terminal does; a second one leaves at once."""

    def listen(self) -> None:
        super().listen()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *signalled: object) -> None:
        if self._signalled and signal.SIGINT in signalled and sys.stdout and sys.stdout.isatty():
            with suppress(OSError):
                os.write(sys.stdout.fileno(), PARTING)
            os._exit(KILLED)
        super()._note(*signalled)


def command() -> NoReturn:
    """Run the program."""
    clock = TerminalClock()
    clock.listen()
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    code = main(sys.argv[1:], os.environ, sys.stdout, sys.stderr, clock)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    if "coval_gate.base.runtime" not in sys.modules:  # nothing ran
        sys.exit(code)
    from coval_gate.base.runtime import leave

    leave(code)


def _usable(stream: TextIO | None) -> TextIO:
    """Return a stream that takes any text; one that leads nowhere if the shell closed it."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - as long as the process
    stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]
    return stream


def _say(stream: TextIO, text: str) -> None:
    with suppress(OSError, ValueError):
        stream.write(text)


def _flush(stream: TextIO) -> None:
    """Write what is left of a stream. If nobody reads it, or its disk is full, the exit code is still the verdict."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes it again


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO, clock: Clock) -> int:
    """Run a command, and return its exit code."""
    if arguments[:1] == ["demo"]:
        return _demo(arguments[1:], stderr)
    try:
        options = _parse(arguments, stdout)
        if options is None:
            return 0
        environ = _environment(options, environ, stderr)
    except UsageError as error:
        _say(stderr, f"{PROGRAM}: {error}\n")
        return USAGE_ERROR
    from coval_gate.base.runtime import Runtime  # brings requests, which a help does not need

    runtime = Runtime(environ=environ, stdout=stdout, clock=clock)
    if options.command == "init":
        from coval_gate.init.command import Options, init

        return init(runtime, Options(**{name: getattr(options, name) for name in Options._fields}), _asker(environ))
    if options.command == "post":
        return _post(runtime)
    from coval_gate.main import run_step

    report = run_step(runtime)
    written = report.files.get("html_path")  # another file at this path may be anyone's
    if written and getattr(options, "open", False):
        _open(Path(written))
    return report.exit_code


def _post(runtime: Runtime) -> int:
    """End what killed commands left. One that was only just told to end may still end its runs itself."""
    from coval_gate.base.clock import Interrupted
    from coval_gate.ci.plain import PlainHost, others_run
    from coval_gate.post import post

    clock, workspace = runtime.clock, PlainHost.workspace
    until = clock.now() + PATIENCE
    try:
        while others_run(workspace) and clock.now() < until:
            clock.sleep(PAUSE)
    except Interrupted:
        return KILLED
    if others_run(workspace):
        _say(runtime.stdout, "Another command still runs in this directory. Its runs are left alone.\n")
    return post(runtime)


def flag_of(name: str) -> str:
    """Return the flag of an input. A line of thresholds is one."""
    return "--threshold" if name == "thresholds" else f"--{name.replace('_', '-')}"


def _flags_of(command: str) -> Iterator[Input]:
    """Yield the inputs that are flags of a command: those that have an effect there. A plan has those of `run`."""
    mode = "run" if command == "plan" else command
    for declaration in declared():
        of_command = mode in declaration.modes or (command in CONNECTED and declaration.group == CONNECTION)
        if of_command and declaration.name not in OURS:
            yield declaration


class _Parser(argparse.ArgumentParser):
    """A parser that knows no abbreviations, and raises its errors."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False, formatter_class=_formatter, add_help=False)

    @property
    def flags(self) -> list[str]:
        """Every flag, in each of its forms."""
        return [flag for action in self._actions for flag in action.option_strings]

    @property
    def single(self) -> list[argparse.Action]:
        """The flags that take one value, or one of on and off."""
        repeatable = (argparse._AppendAction, argparse._StoreTrueAction)  # noqa: SLF001 - they have no other names
        return [action for action in self._actions if action.option_strings and not isinstance(action, repeatable)]

    def error(self, message: str) -> NoReturn:
        where = self.prog.removeprefix(PROGRAM).strip()
        raise UsageError(f"{f'{where}: ' if where else ''}{message}. {self.prog} --help shows what there is.")


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=30, width=WIDTH)


def _parse(arguments: Sequence[str], stdout: TextIO) -> argparse.Namespace | None:
    """Return the options; None after the help or the version was shown. Raises UsageError."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(stdout, _overview())
        return None
    if arguments[0] == "--version":
        _say(stdout, f"{PROGRAM} {__version__}\n")
        return None
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}{_meant(name, COMMANDS)} {PROGRAM} --help lists the commands.")
    parser = _parser_of(name)
    if any(argument in ("-h", "--help") for argument in rest):
        _say(stdout, parser.format_help())
        return None
    _refuse_secrets(rest)
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        raise UsageError(_about(name, unknown, parser.flags))
    _refuse_repeated(name, rest, parser)
    _refuse_empty(name, options)
    options.command = name
    return options


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "".join(f"  {name:<{width}}  {what}\n" for name, what in COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND [FLAG ...]\n\nPut voice and chat agents under test with Coval.\n\n"
        f"commands:\n{commands}\n"
        f"{PROGRAM} COMMAND --help shows a command's flags. The API key is read from {KEY_VARIABLE}.\n"
        f"A flag wins over a variable such as INPUT_AGENT_ID, and that over {NAME}.\n\n"
        "exit codes: 0 passed, 1 failed, 2 an error, 3 inconclusive, 4 timed out, 130 cancelled\n"
        "On a CI system: 0, or 1 for all others, unless --detailed-exit-codes is given.\n"
    )


def _parser_of(command: str) -> _Parser:
    """Return the parser of a command, with a group of flags for each group of inputs."""
    taken = f" {TAKEN[command]} ..." if command in TAKEN else ""
    parser = _Parser(
        prog=f"{PROGRAM} {command}",
        usage=f"{PROGRAM} {command} [FLAG ...]{taken}",
        description=_sentence(COMMANDS[command]),
    )
    if command in TAKEN:
        parser.add_argument("run_id", nargs="+", metavar=TAKEN[command], help=_help("run_id"))
    for title, members in groupby(_flags_of(command), key=lambda declaration: declaration.group):
        group = parser.add_argument_group(title)
        for declaration in members:
            _add(group, declaration)
        if title == CONNECTION:
            group.add_argument(
                "--key-file", metavar="PATH", help=f"A file with the API key, instead of {KEY_VARIABLE}."
            )
    if command == "init":
        _add_init(parser)
    if command in ("run", "wait"):
        parser.add_argument("--open", action="store_true", help="Open the HTML report. Requires --html-path.")
    parser.add_argument("-h", "--help", action="store_true", help="Show this.")
    return parser


def _add(group: argparse._ArgumentGroup, declaration: Input) -> None:
    """Add the flag of an input: on and off, repeatable, or with one value."""
    flag, kind = flag_of(declaration.name), declaration.field.name
    given: dict[str, Any] = {"dest": declaration.name, "help": _help(declaration.name), "default": None}
    if kind == "true or false":
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **given)
    elif kind == "thresholds":
        group.add_argument(flag, action="append", metavar="LINE", **given)
    elif "list" in kind:
        group.add_argument(flag, action="append", metavar="VALUE", **given)
    else:
        group.add_argument(flag, metavar="VALUE", **given)


def _add_init(parser: _Parser) -> None:
    from coval_gate.ci.starters import WORDS

    add = parser.add_argument
    add("--yes", action="store_true", help="Ask nothing; leave a marked place where there is a choice.")
    add("--system", choices=sorted(WORDS), default="", help="The CI system. Default: the one that is found.")
    for name in ("agent", "persona", "test_set"):
        add(flag_of(name), default="", metavar="VALUE", help=f"The {name.replace('_', ' ')}, by id or by name.")
    add("--path", default="", metavar="PATH", help="The file to write. Default: the system's own.")


def _asker(environ: Mapping[str, str]) -> Callable[[str, Sequence[str]], str] | None:
    """Return the function that asks a person; None where nobody can answer."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()) or environ.get("CI"):
        return None

    def ask(question: str, answers: Sequence[str]) -> str:
        print(question)  # noqa: T201
        for number, answer in enumerate(answers, 1):
            print(f"  {number}  {answer}")  # noqa: T201
        while True:
            chosen = input("Number: ").strip()
            if chosen.isdecimal() and 1 <= int(chosen) <= len(answers):
                return answers[int(chosen) - 1]

    return ask


def _help(name: str) -> str:
    """Return the description of an input, with flags in place of inputs, and its default."""
    declaration = next(one for one in declared() if one.name == name)
    names = {one.name for one in declared() if one.name not in OURS}

    def shown(match: re.Match[str]) -> str:
        mode = match[1].removeprefix("mode: ")
        if mode != match[1] and mode in COMMANDS:
            return f"{PROGRAM} {mode}"
        return flag_of(match[1]) if match[1] in names else match[1]

    text = re.sub(r"`([^`]+)`", shown, declaration.description)
    default = declaration.default
    if default and not default.startswith("${{") and declaration.field.name != "true or false":
        text += f" Default: {default}."
    elif declaration.field.name == "true or false":
        text += f" Default: {flag_of(name) if default == 'true' else flag_of(name).replace('--', '--no-', 1)}."
    return text.replace("%", "%%")


def _refuse_secrets(arguments: Sequence[str]) -> None:
    for argument in arguments:
        flag = argument.partition("=")[0]
        spelled = f"--{flag.strip('-').lower().replace('_', '-')}"
        if spelled in (flag_of("api_key"), "--apikey"):
            raise UsageError(f"there is no flag {flag}: {KEY_ADVICE}.")
        for name in SECRETS:
            if spelled == flag_of(name):
                variable = f"INPUT_{name.upper()}"
                raise UsageError(f"there is no flag {flag}: set the variable {variable}, because {READABLE}.")


def _refuse_repeated(command: str, arguments: Sequence[str], parser: _Parser) -> None:
    """Raise UsageError if a flag that takes one value has two: one of them would be ignored."""
    given = [argument.partition("=")[0] for argument in arguments]
    for action in parser.single:
        flags = [flag for flag in given if flag in action.option_strings]
        if len(flags) > 1:
            raise UsageError(f"{command}: {in_words(flags)} cannot both count; give one of them.")


def _refuse_empty(command: str, options: argparse.Namespace) -> None:
    """Raise UsageError if a value is empty, as that of a shell's variable which is not set: it would be ignored."""
    for name in ("run_id", "key_file", *(declaration.name for declaration in declared())):
        value = getattr(options, name, None)
        values = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and not text.strip() for text in values):
            what = TAKEN[command] if name == "run_id" else flag_of(name)
            raise UsageError(f"{command}: {what} is empty. Leave it out, or set the variable that it comes from.")


def _about(command: str, unknown: Sequence[str], flags: Sequence[str]) -> str:
    """Return what is wrong with an argument that the command does not know."""
    flag = next((argument.partition("=")[0] for argument in unknown if argument.startswith("-")), "")
    if not flag:
        return f"{command}: takes no argument {unknown[0]!r}. {PROGRAM} {command} --help shows what there is."
    others = [declaration for declaration in declared() if flag in _forms(declaration) and declaration.name not in OURS]
    if others:
        modes = in_words([mode for mode in ALL_MODES if mode in others[0].modes])
        return f"{command}: {flag} has no effect here; it is a flag of {modes}."
    return f"{command}: there is no flag {flag}{_meant(flag, flags)}"


def _forms(declaration: Input) -> tuple[str, ...]:
    flag = flag_of(declaration.name)
    return (flag, flag.replace("--", "--no-", 1)) if declaration.field.name == "true or false" else (flag,)


def _meant(word: str, words: Sequence[str] | Mapping[str, str]) -> str:
    close = get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _environment(options: argparse.Namespace, environ: Mapping[str, str], stderr: TextIO) -> dict[str, str]:
    """Return the environment of the step: flags, what the environment has, and the file. Raises UsageError."""
    flags = {
        f"INPUT_{name.upper()}": _written(value)
        for name, value in vars(options).items()
        if name in {declaration.name for declaration in declared()} and value is not None
    }
    merged = {**environ, **flags}
    if options.command in ALL_MODES:
        merged["INPUT_MODE"] = options.command
    if options.key_file:
        merged[KEY_VARIABLE] = _key_in(Path(options.key_file))
        merged.pop("INPUT_API_KEY", None)
    if getattr(options, "open", False) and not merged.get("INPUT_HTML_PATH"):
        raise UsageError(f"{options.command}: --open needs --html-path, the report to open.")
    path = merged.pop("INPUT_CONFIG_PATH", "").strip()
    try:
        texts = _config(path)
    except UsageError as error:
        if options.command != "post":
            raise
        _say(stderr, f"{PROGRAM}: {error} The file is ignored: what was left must end.\n")
        texts = {}
    return beside_file(merged, texts, defaults_count=True)


def _written(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "\n".join(value)
    return str(value)


def _key_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_KEY + 1).decode()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the file of --key-file cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}."
        ) from None
    if len(text) > LARGEST_KEY:
        raise UsageError("the file of --key-file is too long for a key.")
    return text.strip()


def _config(path: str) -> dict[str, str]:
    """Return what the configuration file sets: the one that is named, else the usual one, if there is any."""
    for name in [path] if path else [NAME, PYPROJECT]:
        try:
            texts = read_config(_contents(name, is_named=bool(path)), name, is_named=bool(path))
        except FileNotFoundError as error:
            if path or Path(name).is_symlink():
                raise UsageError(f"the file {name} cannot be read: {error.strerror}.") from None
            continue
        except OSError as error:
            raise UsageError(f"the file {name} cannot be read: {error.strerror}.") from None
        except ValueError as problem:
            raise UsageError(f"{name} {problem}") from None
        if texts or name == NAME:
            return texts
    return {}


def _contents(name: str, *, is_named: bool) -> bytes:
    """Return the contents of a configuration file; none of a usual pyproject.toml that does not name us.

    A file that is only come across must be a regular one: reading a pipe may never end. Raises OSError, ValueError.
    """
    flags = 0 if is_named else os.O_NONBLOCK
    with open(name, "rb", opener=lambda path, own: os.open(path, own | flags)) as file:
        if not (is_named or stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
            raise ValueError("must be a regular file.")
        contents = file.read(LARGEST + 1)
    is_ours = is_named or name == NAME or len(contents) > LARGEST or NAMED.search(contents)
    return contents if is_ours else b""


def _demo(arguments: Sequence[str], stderr: TextIO) -> int:
    """Show the step against the sandbox, which only an extra of the package brings: the image has none."""
    if not all(map(find_spec, ("coval_demo", "fastapi", "uvicorn"))):
        _say(stderr, f"{PROGRAM}: demo needs a local sandbox; install it with: pip install '{PROGRAM}[demo]'\n")
        return USAGE_ERROR
    code: int = import_module("coval_demo").main(arguments)
    return code


def _open(report: Path) -> None:
    import webbrowser

    webbrowser.open(report.absolute().as_uri())


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}.".replace("`", "")
