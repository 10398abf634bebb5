"""Fixtures for all tests."""

import gc
import os
import sys
import threading
from collections.abc import Callable, Generator
from difflib import unified_diff
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING

import pytest

import coval_gate
import coval_sandbox

if TYPE_CHECKING:
    from support import VirtualClock

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"
# Golden files have the second text where a copy with another owner, or a release, has the first.
SAID = (
    (f"{coval_gate.REPOSITORY}/blob/{coval_gate.SOURCE}/", "your-org/coval-gate/blob/main/"),
    (f"{coval_gate.REPOSITORY}@{coval_gate.PIN}", "your-org/coval-gate@vX.Y"),
    (f"{coval_gate.REPOSITORY}.git#{coval_gate.PIN}", "your-org/coval-gate.git#vX.Y"),
    (coval_gate.REPOSITORY, "your-org/coval-gate"),
    (f"Replace {coval_gate.REPOSITORY.partition('/')[0]} with", "Replace your-org with"),
    (coval_gate.__version__, "X.Y.Z"),
)
PROCESS_CONFIG = "COVERAGE_PROCESS_CONFIG"  # the variable by which coverage traces other processes
IS_MEASURED = pytest.StashKey[bool]()  # whether the case counts for coverage

# requests would search the environment for a proxy before each request, which takes a quarter of its time.
os.environ["no_proxy"] = "127.0.0.1"


def pytest_xdist_auto_num_workers() -> int:
    """Use three workers on two cores: many tests wait for a socket or another process now and then."""
    return (os.cpu_count() or 2) * 3 // 2


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-profile"):
        register_profiles()


@cache
def register_profiles() -> None:
    """Set how hypothesis tries examples. No deadlines: the speed of the machine does not matter.

    `make test` tries the same examples in every run, so that a change fails only because of its own bugs. `make fuzz`
    searches at random; what it finds becomes an @example.
    """
    from hypothesis import settings

    settings.register_profile("same", deadline=None, max_examples=30, derandomize=True, database=None, print_blob=True)
    settings.register_profile("random", deadline=None, max_examples=1000, print_blob=True)
    settings.load_profile("same")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import hypothesis only before tests that use it: that takes half of the start of pytest."""
    if isinstance(collector, pytest.Module) and "hypothesis" in collector.path.read_text(encoding="utf-8"):
        register_profiles()


def is_left_out(folder: Path, config: pytest.Config) -> bool:
    """Return whether the run leaves out all tests of a folder, each of which has the folder's name as its marker."""
    return folder in (TESTS / "e2e", TESTS / "browser") and f"not {folder.name}" in config.option.markexpr


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no tests that the run leaves out: each of pytest's processes would load Playwright for nothing."""
    return is_left_out(collection_path, config) or None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")


@pytest.fixture
def clock() -> "VirtualClock":
    """Import what whole steps need only for tests that use it: that takes half of the start of pytest."""
    from support import VirtualClock

    return VirtualClock()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with tests/golden/<name>, or write it there with --update-golden."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        for now, written in SAID if ".." not in name else ():  # a picture of docs/ names what this copy names
            text = text.replace(now, written)
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"no golden file {name}; write it with --update-golden and read it"
        if text != (wanted := file.read_text(encoding="utf-8")):
            lines = unified_diff(wanted.splitlines(), text.splitlines(), f"tests/golden/{name}", "now", lineterm="")
            hint = "If the new text is right, write it with --update-golden, and read the difference as prose."
            pytest.fail("\n".join([hint, *lines]), pytrace=False)

    return compare


@pytest.hookimpl(trylast=True)  # after the cases that are not selected are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Measure the coverage of the first case of each test: the others reach few lines more, and tracing takes long.

    For the same reason, it measures nothing that is long or untraced.
    """
    if not config.pluginmanager.has_plugin("_cov"):
        return
    measured = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        counts = not any(item.get_closest_marker(marker) for marker in ("long", "untraced"))
        item.stash[IS_MEASURED] = counts and test not in measured
        if counts:
            measured.add(test)
    for package in (coval_gate, coval_sandbox):  # a case that is not measured may be the first to import a module
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Trace no case that is not measured, nor the processes that it starts.

    In a worker, the marker no_cover of pytest-cov leaves a second trace on.
    """
    if item.stash.get(IS_MEASURED, True):
        return (yield)
    tracer, tracer_of_threads = sys.gettrace(), threading.gettrace()
    process_config = os.environ.pop(PROCESS_CONFIG, None)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        if process_config is not None:
            os.environ[PROCESS_CONFIG] = process_config
        sys.settrace(tracer)
        threading.settrace(tracer_of_threads)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the garbage collector what the tests consist of, and a run without properties the plugin for them."""
    if "hypothesis" not in sys.modules:  # the plugin would import it at the end
        session.config.pluginmanager.unregister(name="hypothesispytest")
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the campaign's tally, which is a property of its test's report.

    With pytest-xdist, only the report gets from the worker to the process that prints, and that process loads no
    conftest.py in subdirectories.
    """
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call" and report.user_properties:
                from support import TALLY

                tallies = [tally for name, tally in report.user_properties if name == TALLY]
                for tally in tallies:
                    terminalreporter.write_line(str(tally))
