"""The host of a step without a CI system that the gate knows how to show pages on: everything goes to its log.

On a laptop, git shows what is tested.
"""

import hmac
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from coval_gate.base.errors import RunnerError
from coval_gate.base.runtime import Runtime
from coval_gate.base.text import json_in, one_line, quoted, stopwatch
from coval_gate.ci.host import DIRECTORY, GATE_NAME, IGNORED, NO_REPOSITORY, Console, Context, Host, Level, Page
from coval_gate.features.files.workspace import Lock, Workspace
from coval_gate.features.systems.variables import context_in, repository_of, system_in, website_of
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import KEY_VARIABLE, Inputs, key_in

OUTPUTS_FILE: Final = f"{DIRECTORY}/outputs.json"
LINE_STYLES: Final = {  # by how a line begins: parameters of a terminal's colour (ECMA-48, SGR)
    "✓": "32",
    "✗": "31",
    "✅": "1;32",
    "❌": "1;31",
    "⚠": "1;33",
    "❔": "1;33",
    "⏱": "1;33",
    "🚫": "1;33",
    "Missed": "31",
    "Warning:": "33",
    "Error:": "1;31",
    "Run:": "36",
}
STATE_FILE: Final = re.compile(r"state-[0-9a-f]{16}\.json")  # a file for each command: several may run side by side
WORKSPACE: Final = "workspace_id"  # in the state: where the runs are
WHOLE: Final = 40  # characters of a commit's hash, at least
MOST_STATE: Final = 1024 * 1024  # bytes
GIT_TIMEOUT: Final = 5.0  # s for all calls of git
# A foreign checkout may contain a repository whose settings name programs: git neither looks for one nor asks
# fsmonitor.
SAFE_GIT: Final = ("git", "-c", "core.fsmonitor=false", "-c", "safe.bareRepository=explicit", "--no-optional-locks")
SECRET: Final = (KEY_VARIABLE, "INPUT_")  # git and what it may start need none of these variables


class PlainHost(Host):
    """A host without summary or pages. On a CI system, a file has the outputs.

    A file keeps the state for the post step, as long as something is open. Each command has and locks its own: the post
    step leaves alone what a command still works on.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._system = system_in(self._environ)
        self._outputs: dict[str, str] = {}
        self._written = ""  # the path of the file with the outputs, once it exists
        self._state: dict[str, str] = {}
        self._own = ""  # the path of the file with the state, once it exists
        self._lock: Lock | None = None
        self._taken_over: dict[str, tuple[Lock, dict[str, str]]] = {}  # by path, what killed commands left

    def context(self) -> Context:
        context = context_in(self._system, self._environ) if self._system else None
        if context and len(context.sha) >= WHOLE and context.repository:
            return context
        here = read_git()
        if not context:
            return here
        if not context.repository:
            context = context._replace(server_url=here.server_url, repository=here.repository, web=here.web)
        whole = _git("rev-parse", "--verify", "--quiet", f"{context.sha}^{{commit}}") if context.sha else here.sha
        return context._replace(sha=whole or context.sha)  # git may not know the commit

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:  # noqa: ARG002
        return [Page(page, NO_REPOSITORY) for page in wanted_pages(inputs)]

    def log_error(self, text: str) -> None:
        """A shell keeps errors apart from what a command shows, unless both are the terminal."""
        stdout, errors = self._runtime.stdout, self._runtime.errors
        if self._system or errors is stdout or (errors.isatty() and stdout.isatty()):
            self.log(text)
        else:
            Console(errors).log(self.redact(text))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        self.log(title)
        yield

    def annotate(self, level: Level, title: str, message: str) -> None:
        heading = title.removeprefix(GATE_NAME).removeprefix(": ")
        text = "\n".join(filter(None, (heading, message)))
        (self.log_error if level == "error" else self.log)(f"{level.capitalize()}: {text}")

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """A file that cannot be written changes no verdict: the log then has the outputs."""
        self._outputs |= {name: self.redact(value) for name, value in outputs.items()}
        if self._system:
            self._written = ""
            with suppress(RunnerError):
                self.workspace.write(IGNORED, "*\n")
                self.workspace.write(OUTPUTS_FILE, json.dumps(self._outputs, indent=2, ensure_ascii=False) + "\n")
                self._written = OUTPUTS_FILE

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        if self._written:
            self.log(f"Outputs: {self._written}")
        elif self._system:
            self.fold("Outputs", (f"{name}={value}" for name, value in outputs.items()))

    def _emit(self, text: str) -> None:
        # As people ask for by the variables of no-color.org and force-color.org, or where the system shows colours.
        paints = self._environ.get("FORCE_COLOR") or (self._system and self._system.colours)
        if paints and not self._environ.get("NO_COLOR"):
            text = "\n".join(map(painted, text.split("\n")))
        super()._emit(text)

    def save_state(self, state: Mapping[str, str]) -> None:
        self._state |= state
        try:
            if any(map(_is_open, self._state.values())):
                self._write_state()
            else:
                self._remove_state()
        except RunnerError as error:
            self.annotate("warning", GATE_NAME, f"{error.what} If this step is killed, nothing ends its run.")

    def take_over(self) -> None:
        for path, lock, state in _left(self.workspace, self._key):
            if state is None:
                self.annotate("warning", GATE_NAME, f"{path} is left alone: no command with this API key wrote it.")
            if not state:
                continue
            workspace_id = state.pop(WORKSPACE, "")
            if workspace_id == self._workspace_id:
                self._taken_over[path] = (lock, state)
            else:
                given = f"workspace_id {quoted(workspace_id)}" if workspace_id else "no workspace_id"
                self.annotate("warning", GATE_NAME, f"A killed command had {given}: give the same to end what it left.")

    def read_state(self, name: str) -> str:
        texts = [state[name] for _, state in self._taken_over.values() if name in state]
        lists = [json_in(text) for text in texts]
        if len(texts) > 1 and all(isinstance(entries, list) for entries in lists):
            return json.dumps([entry for entries in lists for entry in entries])
        return texts[0] if texts else ""

    def release(self) -> None:
        self._lock, self._taken_over = None, {}

    def _write_state(self) -> None:
        """Replace what was taken over, too. Raises RunnerError."""
        if not self._own:
            if left_behind(self.workspace, self._key):
                self.log("An earlier command here was killed. `coval-gate post` ends what it left.")
            self._own = f"{DIRECTORY}/state-{os.urandom(8).hex()}.json"
            self.workspace.write(IGNORED, "*\n")
            self._lock = self.workspace.lock(self._own, create=True)
        text = self.redact(json.dumps({**self._state, WORKSPACE: self._workspace_id}))
        self.workspace.write(self._own, json.dumps({"state": text, "seal": _seal(text, self._key)}))
        for path in self._taken_over:
            self.workspace.remove(path)
        self._taken_over = {}

    def _remove_state(self) -> None:
        """Remove the directory, too, unless another command needs it."""
        for path in filter(None, (self._own, *self._taken_over)):
            is_last = _states(self.workspace) == [path] and not self.workspace.exists(OUTPUTS_FILE)
            self.workspace.remove(path, *([IGNORED] if is_last else []))
        self._own, self._lock, self._taken_over = "", None, {}

    @property
    def _key(self) -> str:
        return key_in(self._environ)

    @property
    def _workspace_id(self) -> str:
        return self._environ.get("INPUT_WORKSPACE_ID", "").strip()


class TerminalHost(PlainHost):
    """A live line for each run that is waited for, and the rest in colour. rich itself keeps NO_COLOR, and the width.

    Raises ModuleNotFoundError without rich.
    """

    def __init__(self, runtime: Runtime) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        super().__init__(runtime)
        self._console = Console(
            file=runtime.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, _environ=self._environ
        )
        self._text = Text
        self._new_live = partial(
            Live,
            get_renderable=self._shown,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live: Live | None = None
        self._lines: dict[str, tuple[str, float, str]] = {}  # label, beginning and line, by the key of a run

    def progress(self, key: str, label: str, seconds: float, line: str, *, is_over: bool) -> bool:
        if is_over:
            self._lines.pop(key, None)
            if not self._lines:
                self._stop()
            return False
        self._lines[key] = (label, self._console.get_time() - seconds, self._clean(line))
        if self._live is None:
            self._live = self._new_live()
            self._live.start()
        self._live.refresh()
        return True

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        super().set_outputs(outputs)
        self._lines.clear()
        self._stop()

    def release(self) -> None:
        self._stop()  # gives the cursor back
        super().release()

    def _shown(self) -> Any:
        now = self._console.get_time()
        lines = [f"{label}{stopwatch(now - began):>7}  {line}" for label, began, line in [*self._lines.values()]]
        return self._text("\n".join(lines), style="bold", no_wrap=True, overflow="ellipsis")

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError, ValueError):
                live.stop()

    def _emit(self, text: str) -> None:
        with suppress(OSError, ValueError):
            for line in text.split("\n"):
                self._console.print(self._text.from_ansi(painted(line)))


def terminal_or_log(runtime: Runtime) -> PlainHost:
    environ = runtime.environ
    if runtime.stdout.isatty() and environ.get("TERM", "") not in ("", "dumb") and system_in(environ) is None:
        with suppress(ModuleNotFoundError):  # the image has no rich
            return TerminalHost(runtime)
    return PlainHost(runtime)


def painted(line: str) -> str:
    begin = line.strip()
    style = next((style for mark, style in LINE_STYLES.items() if begin.startswith(mark)), "")
    return f"\x1b[{style}m{line}\x1b[0m" if style else line


def others_run(workspace: Workspace) -> bool:
    def is_locked(path: str) -> bool:
        try:
            return workspace.lock(path) is None
        except RunnerError:
            return False

    return any(map(is_locked, _states(workspace)))


def left_behind(workspace: Workspace, key: str) -> bool:
    return any(state for _, _, state in _left(workspace, key))


def _left(workspace: Workspace, key: str) -> Iterator[tuple[str, Lock, dict[str, str] | None]]:
    """Yield the path, the lock and the state of each file that a killed command left, unless it cannot be changed."""
    for path in _states(workspace):
        with suppress(RunnerError):
            if lock := workspace.lock(path):
                yield path, lock, _sealed_state(workspace, path, key)


def _sealed_state(workspace: Workspace, path: str, key: str) -> dict[str, str] | None:
    """Empty if the file is gone, None if no command with this key wrote it: a checkout may bring one."""
    try:
        sealed = json_in(workspace.read(path, MOST_STATE)[1])
    except ValueError:
        return {}
    text, seal = (sealed.get(name) for name in ("state", "seal")) if isinstance(sealed, dict) else ("", "")
    if not isinstance(text, str) or (key and seal != _seal(text, key)):
        return None
    state = json_in(text)
    entries = state.items() if isinstance(state, dict) else ()
    return {name: value for name, value in entries if isinstance(value, str)}


def _seal(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


def _states(workspace: Workspace) -> list[str]:
    return [f"{DIRECTORY}/{name}" for name in workspace.files(DIRECTORY) if STATE_FILE.fullmatch(name)]


def _is_open(state: str) -> bool:
    entries = json_in(state)
    return isinstance(entries, list) and any(not (isinstance(one, dict) and one.get("is_done")) for one in entries)


def read_git() -> Context:
    """Return a context without a branch: runs of a branch may be its baseline, but it is never theirs."""
    until = time.monotonic() + GIT_TIMEOUT
    commit = _git("rev-parse", "HEAD", until=until)
    server, repository = repository_of(_git("remote", "get-url", "origin", until=until))
    return Context(
        # A path on this machine names no repository.
        repository=repository if server else "",
        server_url=server,
        sha=commit,
        ref=_git("branch", "--show-current", until=until),
        actor=one_line(_git("config", "user.name", until=until)),
        is_local=True,
        web=website_of(server),
        # In a huge repository, git may run out of time before it finds that nothing has changed.
        is_changed=bool(commit)
        and _git("status", "--porcelain", "--untracked-files=no", until=until, otherwise="?") != "",
    )


def commit_of(checkout: Path) -> str:
    """Empty unless the directory is that of a whole checkout."""
    top, _, commit = _git("-C", str(checkout), "rev-parse", "--show-toplevel", "HEAD").partition("\n")
    return commit if top == str(checkout) else ""


def published_at(checkout: Path, commit: str) -> str:
    """Return the address of origin; empty unless origin had the commit when git last asked it."""
    branches = _git("-C", str(checkout), "branch", "--remotes", "--list", "origin/*", "--contains", commit)
    return _git("-C", str(checkout), "remote", "get-url", "origin") if branches else ""


def main_branch() -> str:
    """Return the name of origin's default branch, as far as git knows it; "main" otherwise."""
    branch = _git("symbolic-ref", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    if branch:
        return branch
    places = [f"{place}/{name}" for place in ("refs/heads", "refs/remotes/origin") for name in ("main", "master")]
    names = {*_git("for-each-ref", "--format=%(refname:lstrip=-1)", *places).splitlines()}
    return names.pop() if len(names) == 1 else "main"


def top_directory() -> str:
    """Empty outside of a repository."""
    return _git("rev-parse", "--show-toplevel")


def origin_host() -> str:
    """Empty without a remote `origin`."""
    return repository_of(_git("remote", "get-url", "origin"))[0].removeprefix("https://")


def _git(*arguments: str, until: float | None = None, otherwise: str = "") -> str:
    """Return `otherwise` without git or a repository, or if it takes too long."""
    left = GIT_TIMEOUT if until is None else until - time.monotonic()
    if left <= 0:
        return otherwise
    command = [*SAFE_GIT, *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(SECRET)}
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, env=environ, capture_output=True, text=True, timeout=left, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return otherwise
    return done.stdout.strip() if done.returncode == 0 else otherwise
