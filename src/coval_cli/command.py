"""The program `coval-gate`: its process and its commands.

A command passes the step its environment: the flags, the key and the inputs of the configuration file.
"""

import os
import signal
import sys
import webbrowser
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn, TextIO

from coval_cli.choices import InitOptions
from coval_cli.doctor import doctor
from coval_cli.flags import ARGUMENT, HELP, UsageError, parse
from coval_cli.init import init
from coval_cli.proof import prove
from coval_cli.workflow import SYSTEM_WORDS, WORKFLOWS
from coval_gate import how_to_install
from coval_gate.base.clock import Clock, Interrupted, SystemClock
from coval_gate.base.errors import GateError
from coval_gate.base.runtime import KILLED, USAGE_ERROR, Runtime, leave
from coval_gate.base.text import one_line
from coval_gate.ci import detect_host
from coval_gate.ci.host import Console
from coval_gate.features.files.workspace import Workspace
from coval_gate.features.legs.file import ConfigFile, beside_file, read_file
from coval_gate.features.legs.nodes import LARGEST_FILE
from coval_gate.features.systems.plain import left_behind, others_run
from coval_gate.features.systems.variables import system_in
from coval_gate.inputs.inputs import ALL_MODES, FILE_NAME, KEY_VARIABLE, declared, key_in, token_in
from coval_gate.inputs.naming import PROGRAM
from coval_gate.inputs.parsing import KEY_PATTERN
from coval_gate.report.formats.outputs import unfinished
from coval_gate.step.main import run_step
from coval_gate.step.post import post

WITHOUT_OUTPUTS: Final = ("", "post", "init", "doctor", "attach")  # the commands
POST_PATIENCE, POST_PAUSE = 8.0, 0.2  # s to wait for a command that is ending, and between two looks
# The live line hid the cursor.
LEFT_AT_ONCE: Final = (
    b"\x1b[?25h\nStopped before the cleanup was complete. Run `coval-gate post` in this directory to finish it.\n"
)
LARGEST_KEY: Final = 4096  # bytes
OTHER_FILES: Final = (
    "coval-gate.yaml",
    "coval-gate.json",
    "coval-gate.toml",
)  # names that are not read


class TerminalClock(SystemClock):
    """Ends the run at the first Ctrl-C, or when the terminal is closed; exits at once at the second Ctrl-C."""

    def listen(self) -> None:
        super().listen()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(signal.SIGHUP, self._note)

    def _note(self, *signalled: object) -> None:
        if self._signalled and signal.SIGINT in signalled and sys.stdout and sys.stdout.isatty():
            with suppress(OSError):
                os.write(sys.stdout.fileno(), LEFT_AT_ONCE)
            os._exit(KILLED)
        super()._note(*signalled)


def command() -> NoReturn:
    clock = TerminalClock()
    if sys.platform != "win32":
        clock.listen()
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    leave(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr, clock))


def _usable(stream: TextIO | None) -> TextIO:
    """Return a stream that accepts any text; it discards the text if the shell closed the stream."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - as long as the process
    stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]
    return stream


def _write(stream: TextIO, text: str) -> None:
    with suppress(OSError, ValueError):
        stream.write(text)


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO, clock: Clock) -> int:
    """Run a command, and return its exit code."""
    if len(arguments) == 2 and arguments[0] in HELP and arguments[1] not in HELP:
        arguments = [arguments[1], "--help"]
    if arguments[:1] == ["demo"] and sys.platform != "win32":
        return _demo(arguments[1:], stderr)
    errors = Console(stderr)
    for secret in (key_in(environ), token_in(environ), *KEY_PATTERN.findall("\n".join(arguments))):
        errors.mask(secret)
    try:
        options = parse(arguments, SYSTEM_WORDS, [*WORKFLOWS])
        if isinstance(options, str):
            _write(stdout, options)
            return 0
        _refuse_windows()
        environ, read = environment_of(options, environ, errors)
    except UsageError as error:
        errors.log(f"{PROGRAM}: {error}")
        if next(iter(arguments), "") not in WITHOUT_OUTPUTS and system_in(environ):
            with suppress(GateError):  # later jobs would read an earlier step's outputs as this one's
                detect_host(Runtime(environ=environ, stdout=stdout, clock=clock)).set_outputs(unfinished())
        return USAGE_ERROR
    runtime = Runtime(environ=environ, stdout=stdout, clock=clock, stderr=stderr)
    if options.command in OWN:
        try:
            return OWN[options.command](runtime, options)
        except (Interrupted, KeyboardInterrupt):
            return KILLED
    published = run_step(runtime, read)
    written = published.files.get("html_path")  # not any other file at this path
    if written and getattr(options, "open", False):
        webbrowser.open(Path(written).absolute().as_uri())
    codes = {"error": USAGE_ERROR, "inconclusive": 3, "timed_out": 4, "cancelled": KILLED}
    judgement = published.report.judgement
    return 0 if judgement.passes_gate else codes.get(judgement.verdict or "", 1)


def _refuse_windows() -> None:
    """Raise UsageError on Windows, which lacks directory descriptors, file locks and some signals."""
    if sys.platform == "win32":
        raise UsageError("needs Linux or macOS. On Windows, run it in WSL or in the container.")


def _init(runtime: Runtime, options: Namespace) -> int:
    given = {name: getattr(options, name) for name in InitOptions._fields}
    chosen = InitOptions(**{name: value for name, value in given.items() if value is not None})
    return init(runtime, chosen, _asker(runtime.environ))


def _attach(runtime: Runtime, options: Namespace) -> int:
    if find_spec("coval_attach") is None:
        _write(runtime.errors, _needs("attach", "Coval's Agent SDK, where your agent runs"))
        return USAGE_ERROR
    attach = import_module("coval_attach.command")  # not in the image
    code: int = attach.attach(runtime, attach.AttachOptions(options.run, options.handler or "", options.answering))
    return code


def _doctor(runtime: Runtime, options: Namespace) -> int:
    if not options.launch:
        return doctor(runtime)
    return prove(runtime, options.json_path or "", yes=options.yes, ask=_asker(runtime.environ))


def _post(runtime: Runtime, _: Namespace) -> int:
    """Clean up after killed commands. A command that just received a signal may still cancel its own runs."""
    clock, workspace = runtime.clock, Workspace("")
    until = clock.now() + POST_PATIENCE
    while others_run(workspace) and clock.now() < until:
        clock.sleep(POST_PAUSE)
    if others_run(workspace):
        _write(runtime.stdout, "Another command is still running in this directory. Its runs are left alone.\n")
    code = post(runtime)
    is_local = system_in(runtime.environ) is None  # on a CI system, this must not fail the job
    if is_local and left_behind(workspace, key_in(runtime.environ)):
        _write(runtime.errors, "The cleanup is incomplete: see above. Run `coval-gate post` again.\n")
        return USAGE_ERROR
    return code


def _asker(environ: Mapping[str, str]) -> Callable[[str, Sequence[str]], str] | None:
    """Return a function that asks a question in the terminal; None without a terminal."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()) or environ.get("CI"):
        return None

    def ask(question: str, answers: Sequence[str]) -> str:
        choices = "".join(f"  {number}  {one_line(answer)}\n" for number, answer in enumerate(answers, 1))
        _write(sys.stdout, f"{question}\n{choices}")
        noted = signal.signal(signal.SIGINT, signal.default_int_handler)  # a noted signal would not interrupt it
        try:
            while True:
                chosen = input("Number: ").strip()
                if chosen.isascii() and chosen.isdecimal() and 1 <= int(chosen[:9]) <= len(answers):
                    return answers[int(chosen) - 1]
        except EOFError:  # Ctrl-D: no answer
            _write(sys.stdout, "\n")
            return ""
        finally:
            signal.signal(signal.SIGINT, noted)

    return ask


def _needs(command: str, what: str) -> str:
    """Return an error: the command needs an extra of the package, which is not in the image."""
    return f"{PROGRAM}: {command} needs {what}; install it with: {how_to_install(command)}\n"


def _demo(arguments: Sequence[str], stderr: TextIO) -> int:
    if not all(map(find_spec, ("coval_demo", "uvicorn"))):
        _write(stderr, _needs("demo", "a local sandbox"))
        return USAGE_ERROR
    code: int = import_module("coval_demo").main(arguments)
    return code


def environment_of(
    options: Namespace, environ: Mapping[str, str], errors: Console
) -> tuple[dict[str, str], ConfigFile | None]:
    """Return the step's environment and the configuration file. Flags override `environ`, which overrides the file.

    A step reports mistakes in the file itself; in any other command, they raise UsageError. `errors` masks a key that
    is read from a file.
    """
    flags = {
        f"INPUT_{name.upper()}": _raw(value)
        for name, value in vars(options).items()
        if name in {declaration.name for declaration in declared()} and value not in (None, [])
    }
    merged = {**environ, **flags}
    has_runs = merged.get("INPUT_RUN_ID", "").strip() or merged.get("INPUT_ONLY_LEGS", "").strip() == "[]"
    if (what := ARGUMENT.get(options.command)) and not has_runs:
        kind = "branch:<name> or tag:<tag>" if options.command == "history" else "run ids"
        raise UsageError(f"{options.command}: {what} is required: give {kind}, or set INPUT_RUN_ID.")
    if last := getattr(options, "last", None):
        merged["INPUT_RUN_ID"] += f" last {last}"
    if options.command in ALL_MODES:
        merged["INPUT_MODE"] = options.command
    if options.key_file:
        merged[KEY_VARIABLE] = _key_in(options.key_file)
        merged.pop("INPUT_API_KEY", None)
        errors.mask(merged[KEY_VARIABLE])
    if getattr(options, "open", False) and not merged.get("INPUT_HTML_PATH"):
        raise UsageError(f"{options.command}: --open needs --html-path, the report to open.")
    path, read = merged.pop("INPUT_CONFIG_PATH", "").strip(), None
    is_step = options.command in ALL_MODES
    try:
        if path := path or _find_file():
            merged, read = _with_file(merged, path, is_step=is_step)
    except UsageError as error:
        if options.command != "post":
            raise
        errors.log(f"{PROGRAM}: {error} The file is ignored, so that the cleanup can go on.")
    if options.command == "wait" and system_in(merged) is None:
        # Ctrl-C stops watching the run; it cancels the run only if the user sets that.
        merged.setdefault("INPUT_CANCEL_ON_INTERRUPT", "false")
    return merged, read


def _raw(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "\n".join(value)
    return str(value)


def _key_in(path: str) -> str:
    """`-` is standard input, unless that is a terminal, which would show the key."""
    is_input = path == "-"
    if is_input and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("--key-file - reads the key from standard input: pipe it in, as in `COMMAND | coval-gate …`.")
    try:
        with open(sys.stdin.fileno() if is_input else path, "rb", closefd=not is_input) as file:
            text = file.read(LARGEST_KEY + 1).decode()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the file of --key-file cannot be read: {getattr(error, 'strerror', '') or 'it is not text'}."
        ) from None
    if len(text) > LARGEST_KEY:
        raise UsageError("the file of --key-file is too long to be a key.")
    if not text.strip():
        raise UsageError("the file of --key-file is empty.")
    return text.strip()


def _find_file() -> str:
    """Return the path of the nearest file, up to the repository's root; "" without one. Raises UsageError."""
    here = Path.cwd()
    places = [here, *here.parents]
    root = next((place for place in places if _exists(place / ".git")), here)
    for place in places[: places.index(root) + 1]:
        path = os.path.relpath(place / FILE_NAME)
        if os.path.lexists(path):
            if not Path(path).is_file():  # reading a pipe may never end
                raise UsageError(f"{path} must be a file.")
            return path
        if other := next((name for name in OTHER_FILES if _exists(place / name)), ""):
            raise UsageError(
                f"{os.path.relpath(place / other)} is not read. Use {FILE_NAME}, or name the file with --config-path."
            )
    return ""


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - a parent directory may be unreadable


def _with_file(environ: dict[str, str], path: str, *, is_step: bool) -> tuple[dict[str, str], ConfigFile]:
    """Return the environment with the file's inputs, and the file.

    Raises UsageError; for a mistake in the file only if no step reports it.
    """
    try:
        with Path(path).open("rb") as opened:
            read: ConfigFile = read_file(opened.read(LARGEST_FILE + 1), path, key_in(environ))
    except OSError as error:
        raise UsageError(f"the file {path} cannot be read: {error.strerror}.") from None
    if read.problems and not is_step:
        raise UsageError("".join(read.problems[0]))
    merged, read = beside_file(environ, read, defaults_count=True)
    return merged | ({"INPUT_CONFIG_PATH": os.path.relpath(path)} if is_step else {}), read


OWN: Final[dict[str, Callable[[Runtime, Namespace], int]]] = {
    "init": _init,
    "doctor": _doctor,
    "attach": _attach,
    "post": _post,
}
"""The commands that are not modes of a step."""
