"""The packages form layers: each imports only from those below it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import files
from pathlib import Path

import pytest

from coval_gate import how_to_install
from coval_gate.coval import model
from coval_gate.coval.model import RunFilter
from coval_gate.inputs.inputs import declared
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

PACKAGES = [
    "features",
    "step",
    "report",
    "history",
    "gate",
    "coval",
    "ci",
    "inputs",
    "base",
]
OURS = ("coval_gate", "coval_cli", "coval_attach", "coval_sandbox", "coval_demo")
PURE = ["gate", "report", "inputs"]  # neither environment, clock, network nor randomness
GITHUB_NAMES = re.compile(r"github|check_?run$|commit_?status", re.IGNORECASE)  # in identifiers
GITHUB_API = re.compile(r"(?<!INPUT_)GITHUB_|api\.github|/repos/|check-runs|/statuses|external_id|head_sha")
GITHUB = ("coval_gate.ci.github", "coval_gate.features.pages.github")
DETECTS = {"coval_gate.ci", "coval_gate.features.systems"}  # import the hosts by their names
GITLAB = "coval_gate.features.systems.gitlab"
TITLES = "coval_gate.base.titles"  # of all errors
GITLAB_NAMES = re.compile(r"gitlab|merge_?request", re.IGNORECASE)  # in identifiers
GITLAB_API = re.compile(r"GITLAB_TOKEN|CI_API_|PRIVATE-TOKEN|/projects/|/merge_requests|/notes|section_(start|end)")
DISK = "coval_gate.features.files.workspace"
IO_MODULES = {"os", "time", "random", "secrets", "socket", "requests", "pathlib", "subprocess", "datetime", "io", "sys"}


def modules(package: str) -> dict[str, Path]:
    """Return all modules below `src/<package>` by their dotted names."""
    modules = {}
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        modules[".".join(part for part in parts if part != "__init__")] = path
    return modules


GATE = modules("coval_gate")
PROGRAMS = {name: modules(name) for name in ("coval_cli", "coval_attach")}  # which stand on the gate
ALL = GATE | PROGRAMS["coval_cli"] | PROGRAMS["coval_attach"]


def package_of(module: str) -> str:
    """Return the package of a module of coval_gate; for a top-level module, its own name."""
    return module.removeprefix("coval_gate").removeprefix(".").split(".")[0]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a file."""
    return [*ast.walk(parsed(path))]


@cache
def imports(path: Path) -> set[str]:
    """Return all modules that a file imports, including imports in functions and for type checking."""
    return imported_by(nodes(path))


@cache
def imports_at_top(path: Path) -> set[str]:
    """Return all modules that a file imports when it is loaded."""
    return imported_by(parsed(path).body)


def imported_by(statements: Iterable[ast.AST]) -> set[str]:
    imported = set()
    for node in statements:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return imported


def test_every_module_is_in_known_package() -> None:
    assert {package_of(module) for module in GATE} == {*PACKAGES, ""}


def test_modules_import_only_from_lower_packages() -> None:
    """DOORS and TYPES list what the core imports from features in functions and for type checking."""
    climbing = []
    for module, path in GATE.items():
        package = package_of(module)
        below = {"", *(PACKAGES[PACKAGES.index(package) :] if package else ())}
        imported = {one for one in imports(path) & set(GATE) if package_of(one) != "features"} | imports_at_top(path)
        climbing += [f"{module} imports {one}" for one in sorted(imported & set(GATE)) if package_of(one) not in below]
    assert not climbing, "\n".join(climbing)


def test_formats_read_only_the_document() -> None:
    """What they show stands in it, so that the JSON report has everything that people see."""
    composing = ("coval_gate.gate.", "coval_gate.report.wording", "coval_gate.report.document.model")
    formats = re.compile(r"report\.formats\.|report\.tables|features\.(files|nights\.(formats|page|plot))")
    writers = {name: path for name, path in GATE.items() if formats.search(name)}
    for name, path in writers.items():
        found = [one for one in imports(path) if one.startswith(composing) and ".verdict" not in one]
        assert not found, (name, found)
        document_names = [one for one in imports(path) - set(GATE) if one.startswith("coval_gate.report.document.")]
        functions = {one.rpartition(".")[2] for one in document_names if one.rpartition(".")[2].islower()}
        assert functions <= {"plain"}, (name, functions)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gate_knows_no_program_and_no_program_the_other(program: str) -> None:
    others = {name: path for name, path in ALL.items() if name not in PROGRAMS[program]}
    assert [name for name, path in others.items() if imports(path) & PROGRAMS[program].keys()] == []


@pytest.mark.parametrize("package", [*PACKAGES, *PROGRAMS])
def test_package_has_no_import_cycle(package: str) -> None:
    inside = PROGRAMS.get(package) or {name: path for name, path in GATE.items() if package_of(name) == package}
    members = {name: imports(path) for name, path in inside.items()}
    while members:
        free = {name for name, imported in members.items() if not imported & (set(members) - {name})}
        assert free, f"these import each other: {sorted(members)}"
        members = {name: imported for name, imported in members.items() if name not in free}


DOORS = {  # where the core calls features, each behind the input that turns it on
    "ci.detect_host": ["systems"],
    "ci.github.pages": ["pages.github"],
    "ci.host.workspace": ["files.workspace"],
    "gate.criteria.check_variant": ["confidence.judge", "spending.judge"],
    "gate.criteria.missed": ["comparisons.words", "confidence.words"],
    "gate.findings._earlier": ["comparisons.causes"],
    "gate.judge._thresholds": ["comparisons.judge"],
    "gate.judge.judge": ["known_failures.judge"],
    "inputs.checks._gate_contradictions": ["comparisons.checks"],
    "inputs.checks._run_contradictions": ["spending.checks"],
    "inputs.checks._without_reference": ["comparisons.checks"],
    "inputs.thresholds.read_thresholds": ["advice.slips"],
    "report.document.criteria._comparison_texts": ["comparisons.document"],
    "report.document.legs._comparison": ["comparisons.document"],
    "report.document.references._reference": ["comparisons.document"],
    "report.wording._own_reasons": ["spending.words"],
    "report.wording.advice": ["comparisons.words", "spending.words"],
    "report.wording.checks.claim_text": ["comparisons.words", "confidence.words"],
    "step.cleanup._end_leftovers": ["reruns.step"],
    "step.collect.see": ["given.step"],
    "step.evaluate._find_baseline": ["comparisons.step"],
    "step.evaluate._owe_mark": ["comparisons.step"],
    "step.evaluate.judge_step": ["legs.judge"],
    "step.evaluate.judge_trial": ["base_agent.step", "known_failures.step"],
    "step.evaluate.show_leg": ["known_failures.step"],
    "step.launch.launch_in_turn": ["advice.ids"],
    "step.launch.take_over_or_launch": ["reruns.step", "reruns.takeover"],
    "step.lookups.prepare": ["comparisons.step"],
    "step.main._do": ["given.cancel", "nights.step"],
    "step.main._give_known": ["known_failures.step"],
    "step.main._prepare": ["advice.ids", "planning.decidable", "planning.sizes", "reruns.step"],
    "step.main._run_base_or_leg": ["base_agent.step"],
    "step.main._run_leg": ["repetition.step", "spending.step"],
    "step.main.judge_and_publish": ["comparisons.step"],
    "step.main.launch_legs": ["reruns.takeover"],
    "step.main.reach_judgement": ["planning.step"],
    "step.main.run_legs": ["given.step"],
    "step.post._finish_trials": ["comparisons.standing"],
    "step.post._mark": ["comparisons.standing"],
    "step.post.finish": ["pages.publisher"],
    "step.publish._renderer": ["files", "nights.formats"],
    "step.publish._summary": ["nights.formats"],
    "step.publish.pages": ["pages.publisher"],
    "step.read._read_and_check": ["comparisons.step", "legs.file"],
    "step.read._selected_parts": ["legs.selection"],
    "step.read.plan_legs": ["templates.step"],
    "step.read.read_inputs": ["advice.ids", "templates.step"],
    "step.read.select_legs": ["legs.selection"],
    "step.sizes.tell_size": ["planning.decidable"],
    "step.step.read_file": ["legs.file", "legs.nodes"],
    "step.watch.follow_trial": ["reruns.takeover"],
}
TYPES = {"known_failures.entries", "nights.document", "spending.sequential"}  # whose types stand in records of the core
BY_NAME = {  # modules that are found by name: two packages that may be missing, and a user's agent
    "coval_cli.command._attach",
    "coval_cli.command._demo",
    "coval_attach.handler._module",
}
FEATURES = sorted(path.name for path in (SOURCE / "coval_gate/features").iterdir() if (path / "__init__.py").is_file())


def features_in(imported: set[str]) -> list[str]:
    """Return the modules of features among these, without their common package."""
    prefix = "coval_gate.features."
    return sorted(one.removeprefix(prefix) for one in imported & GATE.keys() if one.startswith(prefix))


def test_imports_stand_at_the_top_but_for_doors() -> None:
    doors, by_name = dict[str, list[str]](), set()
    for module, path in ALL.items():
        functions = (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        for function in functions:
            inside = [*ast.walk(function)]
            calls = {node.func.id for node in inside if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
            imported = imported_by(inside) & ALL.keys()
            if opened := features_in(imported):
                doors[f"{module.removeprefix('coval_gate.')}.{function.name}"] = opened
            if "import_module" in calls or imported - {f"coval_gate.features.{one}" for one in opened}:
                by_name.add(f"{module}.{function.name}")
    assert doors == DOORS
    assert by_name == BY_NAME


def test_core_imports_of_features_nothing_but_doors_and_types() -> None:
    core = {name: path for name, path in GATE.items() if package_of(name) != "features"}
    opened = {one for behind in DOORS.values() for one in behind}
    assert {one for path in core.values() for one in features_in(imports(path))} == opened | TYPES


def test_tests_of_a_feature_stand_in_a_file_with_its_name() -> None:
    names = [path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")]
    assert [feature for feature in FEATURES if not any(f"{name}_".startswith(f"{feature}_") for name in names)] == []


@pytest.mark.parametrize("feature", FEATURES)
def test_docstring_of_a_feature_names_the_features_that_it_imports(feature: str) -> None:
    own = {name: path for name, path in GATE.items() if name.startswith(f"coval_gate.features.{feature}")}
    used = {one.split(".")[0] for path in own.values() for one in features_in(imports(path))} - {feature}
    named = set(re.findall(r"`(\w+)`", ast.get_docstring(parsed(own[f"coval_gate.features.{feature}"])) or ""))
    assert named & {*FEATURES} == used


def is_pure_part(module: str) -> bool:
    """Return whether a module of a feature has nothing to do with the step, or with the disk."""
    return package_of(module) == "features" and module != DISK and not features_use_step(GATE[module])


def features_use_step(path: Path) -> bool:
    return any(package_of(one) in ("step", "history", "coval", "ci") for one in imports(path) & GATE.keys())


def test_pure_modules_import_no_io() -> None:
    pure = {name: path for name, path in GATE.items() if package_of(name) in PURE or is_pure_part(name)}
    found = {name: imports(path) & IO_MODULES for name, path in pure.items()}
    assert {name: imported for name, imported in found.items() if imported} == {}


@pytest.mark.parametrize(("package", "other"), [("coval_gate", "coval_sandbox"), ("coval_sandbox", "coval_gate")])
def test_gate_and_sandbox_do_not_import_each_other(package: str, other: str) -> None:
    """Otherwise both could share the same misunderstanding of the API."""
    for path in modules(package).values():
        assert not any(name.split(".")[0] == other for name in imports(path)), path


def test_every_package_that_is_imported_is_declared() -> None:
    """What only another package needs may go with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everywhere, extras = project["dependencies"], project["optional-dependencies"]
    needs = {
        "coval_gate": [*everywhere, *extras["attach"]],
        "coval_sandbox": [*everywhere, *extras["demo"]],
        "coval_demo": [*everywhere, *extras["demo"], *extras["attach"]],
    }
    for package, needed in needs.items():
        brought = {name for line in needed for name in top_level(re.split(r"[\[<>=!~ ;]", line)[0])}
        found = {name.split(".")[0] for path in modules(package).values() for name in imports(path)}
        assert found - sys.stdlib_module_names - brought <= {*OURS, "pydantic_core"}, package


def top_level(distribution: str) -> set[str]:
    """Return the modules and packages that an installed distribution brings."""
    return {Path(file.parts[0]).stem for file in files(distribution) or ()}


INSTALLS = re.compile(
    r"\b(?:pip3? install|pipx (?:install|run)|uvx|uv (?:tool (?:install|run)|pip install|add|run))\b(.*)"
)
SOURCE_OF = re.compile(r"--(?:from|spec|with)[ =][\"']?(.*)")
BARE = re.compile(r"(?<![\w./+-])coval[-_]gate(?:\[[^\]]*\])?(?! ?@ |[\w./\[-])")


def installed_by_name(text: str) -> list[str]:
    """Return the commands that would install coval-gate from a package index, not from a repository or a wheel."""
    found = []
    for rest in INSTALLS.findall(text.replace("\\\n", " ")):
        source = SOURCE_OF.search(rest)
        if BARE.match(source[1]) if source else BARE.search(rest):
            found.append(rest)
    return found


@pytest.mark.parametrize(
    "command",
    [
        "pip install coval-gate",
        'pip install --quiet "coval_gate==0.1.0"',
        "python -m pip install -U \\\n  coval-gate",
        "uvx --from 'coval-gate[attach]' coval-gate attach",
        "pipx run --spec coval-gate coval-gate demo",
        "uv add coval-gate",
    ],
)
def test_installation_by_name_is_seen(command: str) -> None:
    assert installed_by_name(f"First: `{command}`.")


def test_nothing_is_installed_by_a_name_that_anyone_may_register() -> None:
    """The name is still free on the package index: a stranger who registers it could run code beside the API key."""
    command = ["git", "ls-files", "-z", "--", ".", ":!tests/*.py", ":!*.png"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    texts = {str(file): file.read_text(encoding="utf-8") for file in files if file.is_file()}
    assert sum("--require-hashes" in text for text in texts.values()) > 5
    assert {name: found for name, text in texts.items() if (found := installed_by_name(text))} == {}
    assert all(installed_by_name(how_to_install(extra)) == [] for extra in ("demo", "attach"))


def test_only_transport_imports_requests_and_only_host_imports_toolkit() -> None:
    users = {name for name, path in GATE.items() if "requests" in imports(path)}
    assert users == {"coval_gate.base.transport"}
    users = {name for name, path in GATE.items() if "actions_toolkit.command" in imports(path)}
    assert users == {"coval_gate.ci.github"}


def test_only_main_post_and_init_run_the_schedule() -> None:
    """All others are procedures, so that any number of legs can run side by side."""
    users = {name for name, path in ALL.items() if "coval_gate.base.schedule.run" in imports(path)}
    assert users == {
        "coval_gate.step.main",
        "coval_gate.step.post",
        "coval_cli.choices",
        "coval_cli.doctor",
        "coval_cli.proof",
        "coval_attach.command",
    }


@cache
def words(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the identifiers and the texts of a file."""
    values = [getattr(node, key, None) for node in nodes(path) for key in ("id", "attr", "name", "arg")]
    constants = [node.value for node in nodes(path) if isinstance(node, ast.Constant)]
    return tuple(frozenset(one for one in found if isinstance(one, str)) for found in (values, constants))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("own", "identifiers", "api", "tables"),
    [
        (GITHUB, GITHUB_NAMES, GITHUB_API, (*DETECTS, TITLES, GITLAB)),
        ((GITLAB,), GITLAB_NAMES, GITLAB_API, (*DETECTS, TITLES, "coval_gate.features.systems.variables")),
    ],
    ids=["GitHub", "GitLab"],
)
def test_only_its_package_knows_a_host(
    own: tuple[str, ...], identifiers: re.Pattern[str], api: re.Pattern[str], tables: tuple[str, ...]
) -> None:
    """`tables` are of all systems. Names that users or Bitbucket define do not count: inputs, ids of annotations."""
    inputs = {declaration.name for declaration in declared()}
    outside = {name: path for name, path in GATE.items() if not name.startswith(own)}
    assert not [name for name, path in outside.items() if imports(path).intersection(own) and name not in DETECTS]
    for name, path in outside.items():
        if name not in tables and not name.startswith(GITLAB):
            names, texts = words(path)
            shared = {"external_id"} if path.stem == "bitbucket" else set()
            assert not [word for word in names - inputs if identifiers.search(word)], path
            assert not [text for text in texts - shared if api.search(text)], path


# Only coval/ knows Coval's JSON: its client accepts and returns our types, so no other package reads a key

FACE = {  # what other packages may import from coval/: no reader of JSON
    "coval_gate.coval.client": {"FRESH_TIME", "SERVERS_SKEW", "Shown", "Client", "Launch", "Session", "connect"},
    "coval_gate.coval.errors": {"unavailable"},
    "coval_gate.coval.model": {"LaunchRequest", "RunFilter"},
    "coval_gate.coval.resources": {
        *("Resource", "Identified", "Agent", "Persona", "RunTemplate", "TestCase", "TestSet"),
        *("METRIC", "MetricDefinition", "MetricOutput"),
        *("AGENT", "PERSONA", "RUN_TEMPLATE", "TEST_CASE", "TEST_SET", "RUN_RESOURCES", "cases_of", "mutations_of"),
    },
}
FIELDS = "|".join([*RunFilter._fields, "run_id", "create_time"])
QUERY = re.compile(rf'\b({FIELDS})(<=|>=|!=|=|<|>)"|\bAND\b|^(order_by|page_size|page_token|next_page_token)$')


def test_other_packages_neither_read_json_of_coval_nor_build_its_queries() -> None:
    others = [path for name, path in GATE.items() if package_of(name) != "coval"]
    assert [f"{path.name}: {trespass}" for path in others for trespass in _trespasses(path)] == []


def _trespasses(path: Path) -> Iterator[str]:
    """Yield a module's imports from coval/ that FACE does not list, and its texts that are parts of a query."""
    for node in nodes(path):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and module.startswith("coval_gate.coval") and module != model.__name__:
            yield from {name.name for name in node.names} - FACE.get(module, set())
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and QUERY.search(node.value):
            yield node.value


# What a step loads only where it uses it

FAST = 2000  # times real time
HEAVY = {"jinja2", "junitparser", "rich", "yaml"}
# Python calls the hook with every request that the process sends. The first POST is the launch.
HOOKED = """
import json, os, runpy, sys

def on(event, arguments):
    if event == "http.client.send" and bytes(arguments[1]).startswith(b"POST"):
        print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
        os._exit(0)

sys.addaudithook(on)
runpy.run_path(sys.argv.pop(), run_name="__main__")
"""


def loaded_at_launch(directory: Path, **inputs: str) -> set[str]:
    """Return the names of the modules that are loaded when a step sends its launch."""
    with Server(World(SpeedClock(FAST))) as server:
        given = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url} | inputs
        done = subprocess.run(
            [sys.executable, "-I", "-c", HOOKED, str(ROOT / "entrypoint.py")],
            capture_output=True,
            text=True,
            check=False,
            env=LocalRunner(directory).environ(given),
        )
    assert done.returncode == 0, done.stdout
    return set(map(str, json.loads(done.stderr)))


def test_launch_waits_for_no_heavy_package_that_it_does_not_use(tmp_path: Path) -> None:
    assert not loaded_at_launch(tmp_path, thresholds="Resolved: rate(YES) >= 90%", html_path="report.html") & HEAVY
