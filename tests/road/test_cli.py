"""The command: its flags, its file, its environment and its exit codes, against the sandbox and on a virtual clock."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from coval_cli.command import main
from coval_cli.flags import ARGUMENT, COMMANDS, OURS
from coval_gate.inputs.checks import has_effect
from coval_gate.inputs.inputs import ALL_MODES, declared
from coval_gate.inputs.naming import flag_of
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.test_files import Killed, kill
from support import IDS, KEY, VirtualClock

Command = Callable[..., tuple[int, str, str]]


FLAGS = [part for name, value in IDS.items() for part in (flag_of(name), value)]


@pytest.fixture(autouse=True)
def _laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory that is no repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def world(clock: VirtualClock) -> World:
    return World(clock.time)


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with Server(world) as server:
        yield server


@pytest.fixture
def command(server: Server, clock: VirtualClock) -> Command:
    """Return the function that runs a command, and returns its exit code, output and errors."""

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        given = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url, "PATH": ""} | environ
        code = main(arguments, given, out, err, clock)
        assert KEY not in out.getvalue() + err.getvalue()
        return code, out.getvalue(), err.getvalue()

    return run


@pytest.mark.parametrize(
    ("flags", "code", "verdict"),
    [
        ([], 0, "✅ Passed"),
        (["--threshold", "Latency: p(95) < 0.5"], 1, "❌ Failed"),
        (["--threshold", "Nothing: avg < 1"], 2, "⚠️ Error"),
        (["--threshold", "pass_rate >= 95%", "--confidence", "99%"], 3, "Inconclusive"),
        (["--max-wait-time", "20"], 4, "Timed out"),
    ],
)
def test_exit_code_shows_the_verdict(command: Command, flags: list[str], code: int, verdict: str) -> None:
    flags += ["--on-inconclusive", "fail"] if "--confidence" in flags else []
    found, log, errors = command("run", *FLAGS, *flags)
    assert found == code, log
    assert verdict in log.splitlines()[-1]
    assert errors.startswith('Error: --threshold names the metric "Nothing"') if code == 2 else errors == ""
    assert "Outputs" not in log


def test_launch_wait_and_cancel_accept_the_ids_of_runs(command: Command, world: World, clock: VirtualClock) -> None:
    assert command("launch", *FLAGS)[0] == 0
    (record,) = world.runs
    assert command("wait", "--threshold", "Latency: p(95) < 0.1", INPUT_RUN_ID=record.run_id)[0] == 1
    assert command("wait", record.run_id, INPUT_RUN_ID="none")[0] == 0
    assert command("launch", *FLAGS)[0] == 0
    assert command("cancel", INPUT_RUN_ID=world.runs[-1].run_id)[0] == 0
    assert world.runs[-1].status(clock.time()) == "CANCELLED"


def test_judging_a_run_again_on_a_laptop_changes_nothing_in_coval(command: Command, server: Server) -> None:
    """A mark would remove a branch's baseline, and so break every later step that is compared with it."""
    ci = {"CI": "true", "CI_REPOSITORY": "acme/voice", "CI_COMMIT_SHA": "a" * 40, "CI_COMMIT_REF_NAME": "main"}
    assert command("run", *FLAGS, **ci)[0] == 0
    launch = next(request for request in server.requests_seen if request.method == "POST")
    assert "/branch/main/" in str(launch.json)
    (run_id,) = {request.path.rpartition("/")[2] for request in server.requests_seen if "/runs/" in request.path}
    server.requests_seen.clear()
    flags = ["--threshold", "No such metric: avg < 1"]  # data are missing
    assert command("wait", run_id, *flags)[0] != 0
    assert {request.method for request in server.requests_seen} == {"GET"}
    assert command("wait", run_id, *flags, **ci)[0] != 0
    assert "PATCH" in {request.method for request in server.requests_seen}


def test_report_is_opened(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = opener(monkeypatch)
    command("run", *FLAGS, "--threshold", "nonsense", "--html-path", "a b.html", "--open")
    assert opened() == [Path("a b.html").absolute().as_uri()]
    Path("other.html").write_text("<script>")
    Path("x.html").symlink_to("other.html")
    assert command("run", *FLAGS, "--html-path", "x.html", "--open")[0] == 2
    assert len(opened()) == 1, "that is no report of this command"


def opener(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Make a browser that notes what it opens; return the function that reads its notes."""
    notes, browser = Path("notes").absolute(), Path("browser").absolute()
    browser.write_text(f'#!/bin/sh\necho "$1" >> {notes}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    return lambda: notes.read_text().splitlines() if notes.exists() else []


def test_local_run_is_of_no_branch_and_gets_no_tag(command: Command, world: World) -> None:
    assert command("run", *FLAGS, "--baseline", "tag:stable")[0] == 0
    assert not [tag for record in world.runs for tag in record.tags if "/branch/" in tag or tag == "stable"]


class TestState:
    """What a command leaves for `post`, beside other commands in the same directory."""

    @staticmethod
    def killed(command: Command, *arguments: str) -> None:
        with pytest.raises(Killed):
            command(*arguments)

    def test_of_every_killed_command_is_ended_by_one_post(
        self, command: Command, clock: VirtualClock, world: World
    ) -> None:
        """Another command in between removes nothing."""
        for _ in range(2):
            clock.at(clock.now() + 5, lambda: command("plan", *FLAGS))
            clock.at(clock.now() + 10, kill)
            self.killed(command, "run", *FLAGS)
        code, log, _ = command("post")
        assert (code, log.count("The main step left a run behind: the run was cancelled")) == (0, 2)
        assert [record.status(clock.time()) for record in world.runs] == ["CANCELLED"] * 2

    def test_of_running_command_is_left_alone(self, command: Command, clock: VirtualClock) -> None:
        said: list[str] = []
        clock.at(10, lambda: said.append(command("post")[1]))
        assert command("run", *FLAGS)[0] == 0
        assert said == ["Another command is still running in this directory. Its runs are left alone.\n"]

    def test_from_a_checkout_ends_no_run(self, command: Command, clock: VirtualClock, world: World) -> None:
        """Anyone who knows the id of a run could have it cancelled, or marked as failed."""
        clock.at(10, kill)
        self.killed(command, "run", *FLAGS)
        (state,) = Path(".coval-gate").glob("state-*.json")
        for forged in (state.read_text().replace(world.runs[0].run_id, "another"), '{"legs": "[]"}', "[]", ""):
            state.write_text(forged)
            code, log, _ = command("post")
            assert code == 0
            assert not forged or "is left alone: no command with this API key wrote it." in log
        assert world.runs[0].status(clock.time()) == "IN PROGRESS"

    def test_needs_the_key_of_the_run(self, command: Command, clock: VirtualClock, world: World) -> None:
        clock.at(10, kill)
        self.killed(command, "run", *FLAGS)
        code, log, errors = command("post", COVAL_API_KEY="")
        assert "cancelling needs the API key" in log
        assert (code, errors) == (2, "The cleanup is incomplete: see above. Run `coval-gate post` again.\n")
        assert command("post", COVAL_API_KEY="", CI="true")[0] == 0
        assert command("post")[0] == 0
        assert world.runs[0].status(clock.time()) == "CANCELLED"

    def test_of_another_workspace_waits_for_its_own_post(
        self, command: Command, clock: VirtualClock, world: World
    ) -> None:
        """Elsewhere, the run would be unknown, as if it were deleted."""
        clock.at(10, kill)
        self.killed(command, "run", *FLAGS, "--workspace-id", "w1")
        _, log, _ = command("post")
        assert 'A killed command had workspace_id "w1": give the same to end what it left.' in log
        assert world.runs[0].status(clock.time()) == "IN PROGRESS"
        command("post", "--workspace-id", "w1")
        assert world.runs[0].status(clock.time()) == "CANCELLED"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run", "--treshold", "a"], "run: there is no flag --treshold; did you mean --threshold?"),
        (
            ["cancel", "--threshold", "a"],
            "cancel: --threshold has no effect here; it is a flag of run, wait and history.",
        ),
        (["init", "--sytem", "gitlab"], "init: there is no flag --sytem; did you mean --system?"),
        (["rnu"], "there is no command 'rnu'; did you mean run?"),
        (["watch"], "there is no command 'watch'; did you mean wait?"),
        (["open"], "there is no command 'open'. coval-gate --help"),
        (["help", "run", "x"], "help takes no argument 'x'. coval-gate --help"),
        (["--version", "x"], "--version takes no argument 'x'. coval-gate --help"),
        (["run", "--timeout", "9"], "run: there is no flag --timeout; did you mean --max-wait-time?"),
        (["init", "--agent", ""], "init: --agent is empty. Leave it out, or set the variable"),
        (["init", "--system="], "init: argument --system: invalid choice: ''"),
        (["attach", "--run", "", "a:b"], "attach: --run is empty."),
        (["wait"], "wait: RUN is required: give run ids, or set INPUT_RUN_ID."),
        (["run", "--agent-id"], "run: argument --agent-id: expected one argument."),
        (["run", "--open"], "run: --open needs --html-path"),
        (["run", "--key-file", "none"], "the file of --key-file cannot be read: No such file or directory."),
        (["run", f"--API_KEY={KEY}"], "there is no flag --API_KEY: the key comes from the environment variable"),
        (
            ["run", "--github-token", "t"],
            "there is no flag --github-token: set the variable INPUT_GITHUB_TOKEN, because",
        ),
        (
            ["run", "--baseline", "a", "--baseline=b"],
            "run: --baseline and --baseline cannot be combined; give one of them.",
        ),
        (["run", "--threshold", ""], "run: --threshold is empty. Leave it out, or set the variable"),
        (["run", "--key-file", "/dev/zero"], "the file of --key-file is too long to be a key."),
    ],
)
def test_misuse_is_an_error_and_sends_nothing(
    command: Command, server: Server, arguments: list[str], problem: str
) -> None:
    code, log, errors = command(*arguments)
    assert (code, log) == (2, "")
    assert errors.startswith(f"coval-gate: {problem}"), errors
    assert errors.count("\n") == 1
    assert server.requests_seen == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", KEY],
        ["run", f"--{KEY}"],
        ["run", "--config-path", KEY, "--key-file", "key"],
        ["init", "--system", KEY],
        ["post", "--config-path", "named.yml"],
        ["attach", "--run", "run1", KEY, KEY],
    ],
)
def test_key_in_a_misuse_is_masked(command: Command, arguments: list[str]) -> None:
    """An unset key is recognized by its form."""
    Path("key").write_text(KEY, encoding="utf-8")
    Path("named.yml").write_text(f"{KEY}: 1\n", encoding="utf-8")
    for is_set in (KEY, ""):
        assert command(*arguments, COVAL_API_KEY=is_set)[0] == (0 if arguments[0] == "post" else 2)


def test_misuse_leaves_no_verdict_of_another_step_to_later_jobs(command: Command) -> None:
    report = Path("coval-gate.env")
    report.write_text("PASSED=true\nVERDICT=passed\n", encoding="utf-8")
    assert command("post", "--threshold", "a", GITLAB_CI="true")[0] == 2
    assert report.read_text(encoding="utf-8") == "PASSED=true\nVERDICT=passed\n", "post has no outputs"
    code, log, _ = command("run", "--treshold", "a", GITLAB_CI="true")
    assert (code, log) == (2, "")
    assert {"PASSED=false", "VERDICT=error"} <= {*report.read_text(encoding="utf-8").split()}


def test_key_may_be_in_a_file(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input."""
    Path("key").write_text(f"{KEY}\n", encoding="utf-8")
    for other in ("", "coval_sk_of_another_one"):
        assert command("launch", *FLAGS, "--key-file", "key", COVAL_API_KEY=other)[0] == 0
    with Path("key").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert command("launch", *FLAGS, "--key-file", "-", COVAL_API_KEY="")[0] == 0
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        assert "pipe it in" in command("launch", *FLAGS, "--key-file", "-", COVAL_API_KEY="")[2]


class TestFile:
    """coval-gate.yml, here or above; test_legs_file.py tests its contents."""

    CONTENTS = "".join(f"{name}: {value}\n" for name, value in IDS.items())

    def test_flag_wins_over_variable_and_that_over_file(self, command: Command, world: World) -> None:
        own = 'display_name: file\ntags: [a, b]\nconcurrency: 2\nresume: false\nmetadata: {"team": "voice"}\n'
        Path("coval-gate.yml").write_text(self.CONTENTS + own)
        for given in ({"INPUT_DISPLAY_NAME": "variable"}, {}):
            assert command("launch", **given)[0] == 0
        assert command("launch", "--display-name", "flag", INPUT_DISPLAY_NAME="variable")[0] == 0
        metadata = [record.body["metadata"] for record in world.runs]
        assert [entry["display_name"] for entry in metadata] == ["variable", "file", "flag"]
        assert metadata[0]["tags"][:2] == ["a", "b"]
        assert metadata[0]["customer"]["team"] == "voice"
        assert command("launch", "--concurrency", "1")[0] == 0
        sent = [record.body.get("options", {}).get("concurrency", 1) for record in world.runs]
        assert sent == [2, 2, 2, 1]  # a flag that equals its default counts

    def test_is_looked_for_up_to_the_root_of_the_repository(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        legs = "legs:\n  one: {}\n  two: {test_set_id: passing2, thresholds: 'Latency: p(95) < 0.5'}\n"
        Path("coval-gate.yml").write_text(self.CONTENTS + legs)
        Path("repository/evals").mkdir(parents=True)
        monkeypatch.chdir("repository/evals")
        code, log, _ = command("plan")
        assert (code, "coval-gate.yml" in log) == (2, False), "without a repository, only here"
        Path("../../.git").mkdir()
        code, log, _ = command("run", "--threshold", "total >= 1")
        assert (code, "Read inputs from ../../coval-gate.yml." in log) == (1, True)
        assert log.count("total >= 1") >= 2, "thresholds add up"
        Path("../.git").mkdir()
        assert command("plan")[0] == 2

    def test_that_cannot_be_read_is_not_ignored(self, command: Command, server: Server) -> None:
        """It may contain the thresholds, without which a run is green."""
        os.mkfifo("coval-gate.yml")
        assert command("run", *FLAGS) == (2, "", "coval-gate: coval-gate.yml must be a file.\n")
        Path("coval-gate.yml").unlink()
        name = "coval-gate.toml"
        Path(name).write_text("thresholds = ['Latency: p(95) < 0.5']\n")
        code, _, errors = command("run", *FLAGS)
        assert (code, errors.startswith(f"coval-gate: {name} is not read. Use coval-gate.yml,")) == (2, True)
        code, _, errors = command("run", *FLAGS, "--config-path", name)
        assert (code, f"{name}, line 1: " in errors, server.requests_seen) == (2, True, [])

    def test_mistake_does_not_keep_post_from_its_work(
        self, command: Command, clock: VirtualClock, world: World
    ) -> None:
        clock.at(10, kill)
        TestState.killed(command, "run", *FLAGS)
        Path("coval-gate.yml").write_text("agnt_id: a")
        code, _, errors = command("post")
        assert code == 0
        assert "did you mean agent_id? The file is ignored, so that the cleanup can go on." in errors
        assert world.runs[0].status(clock.time()) == "CANCELLED"


def test_help_is_for_people(command: Command, server: Server, subtests: pytest.Subtests) -> None:
    for name in COMMANDS.keys() - {"demo"}:  # which has a help of its own
        with subtests.test(name):
            code, text, _ = command(name, "--help")
            assert code == 0
            assert text.startswith(f"usage: coval-gate {name} [FLAG ...]")
            assert not re.search(r"`|%%|\{\{", text)
            assert max(map(len, text.splitlines())) <= 100
    assert server.requests_seen == []


def test_every_input_is_a_flag_of_the_commands_where_it_has_an_effect(command: Command) -> None:
    shown = {mode: command(mode, "--help")[1] for mode in ALL_MODES}
    for declaration in declared():
        for mode, text in shown.items():
            is_flag = has_effect(declaration, mode) and declaration.name not in OURS
            is_shown = re.search(rf"^  {flag_of(declaration.name)}[ ,]", text, re.MULTILINE)
            assert bool(is_shown) == is_flag, (mode, declaration.name)


@pytest.mark.parametrize("name", [*ALL_MODES, "init", "doctor", "attach"])
def test_error_of_every_command_goes_to_standard_error(command: Command, name: str) -> None:
    """On a CI system, steps have one log."""
    given = {"INPUT_API_BASE_URL": "http://example.com"}
    flags = ["--run", "no id", "agent:answer"] if name == "attach" else ["run1"] * (name in ARGUMENT)
    code, log, errors = command(name, *flags, **given)
    assert (code, errors.startswith("Error: "), "Error: " in log.replace("⚠️ Error: ", "")) == (2, True, False)
    if name in ALL_MODES:
        assert log.splitlines()[-1].startswith("⚠️ Error: ")
        assert command(name, *flags, **given, CI="true")[2] == ""


def test_history_accepts_a_number_of_runs_and_opens_its_page(
    command: Command, world: World, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    for _ in range(3):
        world.launch(IDS | {"metadata": {"tags": ["nightly"]}})
        clock.sleep(86_400)
    flags = [*FLAGS, "--threshold", "total > 0", "--html-path", "history.html", "--open"]
    code, log, errors = command("history", "tag:nightly", "--last", "2", *flags)
    assert (code, errors) == (0, "")
    assert log.splitlines()[-1] == "📈 History: The newest 2 runs with tag nightly."
    assert [address.rpartition("/")[2] for address in opened] == ["history.html"]
    assert "--last is empty" in command("history", "tag:nightly", "--last", "")[2]
    assert "RUNS is required: give branch:<name> or tag:<tag>" in command("history", *FLAGS)[2]
    assert "must be branch:<name> last <N>" in command("history", "run1", *FLAGS)[2]


def test_overview_and_version(command: Command) -> None:
    assert re.fullmatch(r"coval-gate \d+\.\d+\.\d+\n", command("--version")[1])
    for arguments in ([], ["--help"], ["help"]):
        code, text, _ = command(*arguments)
        assert code == 0
        assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in COMMANDS)
    assert command("help", "run") == command("-h", "run") == command("run", "--help")


WINDOWS: Final = """
import json, os, signal, sys, sysconfig
sysconfig.get_config_vars()  # of this system
sys.platform = "win32"
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
for module, prefixes, kept in ((signal, ("SIG",), ("SIGINT", "SIGTERM", "SIG_DFL", "SIG_IGN")),
                               (os, ("O_DIR", "O_NO", "O_CLO", "fork", "getuid", "kill", "set"), ())):
    for name in [name for name in dir(module) if name.startswith(prefixes) and name not in kept]:
        delattr(module, name)
from coval_cli.command import command
os._exit = sys.exit
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        command()
    except SystemExit as end:
        print("ended with", end.code or 0, flush=True)
"""


def test_windows_has_help_and_is_refused_anything_else() -> None:
    """Its consoles have encodings of their own."""
    helps = [*([name, "--help"] for name in COMMANDS), ["help"], ["--version"]]
    given = json.dumps([*helps, ["run"], ["doctor"], ["rnu"]])
    environ = os.environ | {"PYTHONIOENCODING": "cp1252", "GITHUB_ACTIONS": "true"}
    done = subprocess.run([sys.executable, "-c", WINDOWS, given], capture_output=True, encoding="utf-8", env=environ)
    *shown, end = re.split(r"^ended with (\d)\n", done.stdout, flags=re.MULTILINE)
    assert (done.returncode, end) == (0, ""), done.stderr
    assert shown[1::2] == ["0"] * len(helps) + ["2"] * 3
    assert [bool(text) for text in shown[::2]] == [True] * len(helps) + [False] * 3
    needs = "coval-gate: needs Linux or macOS. On Windows, run it in WSL or in the container.\n"
    assert done.stderr.startswith(needs * 2)
    assert "did you mean run?" in done.stderr


class TestGit:
    """A repository that another person made."""

    @staticmethod
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=Mona", "-c", "user.email=mona@example.com")
        subprocess.run(["git", *author, *arguments], check=True, capture_output=True)  # noqa: S607

    def test_repository_in_a_checkout_starts_no_program(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """git would treat a directory like this as a repository, and git can carry it in a commit."""
        here = Path("evals")
        here.mkdir()
        monkeypatch.chdir(here)
        program = Path("program")
        program.write_text("#!/bin/sh\ntouch started\n")
        program.chmod(0o755)
        self.git("init", "--quiet", "--bare", ".")
        for name, value in (("core.bare", "false"), ("core.worktree", ".")):
            self.git("--git-dir", ".", "config", name, value)
        Path("prompt.md").write_text("Hello")
        Path(".gitattributes").write_text("prompt.md filter=own\n")
        self.git("--git-dir", ".", "--work-tree", ".", "add", "prompt.md")
        self.git("--git-dir", ".", "--work-tree", ".", "commit", "--quiet", "--message", "Greet")
        self.git("--git-dir", ".", "config", "filter.own.clean", str(program.absolute()))
        Path("prompt.md").write_text("Howdy")  # as long, so that git looks into it
        os.utime("prompt.md", (1, 1))
        assert command("launch", *FLAGS)[0] == 0
        assert not Path("started").exists()

    def test_programs_of_git_do_not_see_the_key_and_a_directory_counts_as_changed_unless_they_show_that_it_is_not(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A commit that was not what ran must not look as if it was."""
        tools = Path("tools").absolute()
        tools.mkdir()
        cases = f"*rev-parse*) echo {'a' * 40};; *status*) exit 1;;"
        (tools / "git").write_text(f'#!/bin/sh\nenv >> {tools}/environ\ncase "$*" in {cases} esac\n')
        (tools / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        monkeypatch.setenv("COVAL_API_KEY", KEY)
        monkeypatch.setenv("INPUT_API_KEY", KEY)
        assert command("run", *FLAGS, "--html-path", "x.html")[0] == 0
        assert "PATH=" in (tools / "environ").read_text()
        assert KEY not in (tools / "environ").read_text()
        assert "with changes that are not committed" in Path("x.html").read_text()


class TestProcess:
    """The command as a process of its own, with the machine's clock, signals and streams."""

    COMMAND = (sys.executable, "-m", "coval_cli")

    def test_terminal_that_is_closed_ends_the_run(self) -> None:
        world = World(time.time)
        with (
            Server(world) as server,
            subprocess.Popen(
                [*self.COMMAND, "run", *FLAGS],
                env=self.environ() | {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url},
                stdout=subprocess.PIPE,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
            ) as process,
        ):
            assert process.stdout
            while b"Waiting for the run" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            assert process.wait(60) == 130
        assert [record.status(time.time()) for record in world.runs] == ["CANCELLED"]

    def test_streams_that_accept_nothing_change_no_exit_code(self) -> None:
        """There is no key, so nothing is sent."""
        command = ["sh", "-c", '"$@" >&- 2>&- <&-', "sh", *self.COMMAND, "run", *FLAGS]
        done = subprocess.run(command, env=self.environ(), capture_output=True, check=False)
        assert done.returncode == 2

    @staticmethod
    def environ() -> dict[str, str]:
        others = ("CI", "GITHUB_", "INPUT_", "COVAL_")
        return {name: value for name, value in os.environ.items() if not name.startswith(others)}


@pytest.mark.parametrize(
    ("name", "flags", "status"),
    [("run", [], "CANCELLED"), ("wait", [], "IN PROGRESS"), ("wait", ["--cancel-on-interrupt"], "CANCELLED")],
)
def test_person_who_stops_watching_a_run_ends_it_only_if_it_is_ours_or_asked_to(
    command: Command, world: World, clock: VirtualClock, name: str, flags: list[str], status: str
) -> None:
    given = FLAGS
    if name == "wait":
        assert command("launch", *FLAGS)[0] == 0
        given = [world.runs[0].run_id]
    clock.at(clock.now() + 20, clock.interrupt)
    code, log, _ = command(name, *given, *flags)
    assert (code, "the run was cancelled" in log) == (130, status == "CANCELLED")
    assert world.runs[0].status(clock.time()) == status
