"""The step's inputs: the only place that states an input's name, type, default and description.

`action.yml` and docs/inputs.md are rendered from `Inputs`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from coval_gate.base.errors import InputError
from coval_gate.base.secret import Secret
from coval_gate.base.text import plural
from coval_gate.inputs import fields
from coval_gate.inputs.aggregates import parse_value
from coval_gate.inputs.fields import UNFILLED, Age, Allowance, BaselineSource, ChosenRuns, Field
from coval_gate.inputs.parsing import KEY_PATTERN, MOST_TAGS, REFERENCE, TEXT_LIMIT, Matrix, evaluated, read_metadata
from coval_gate.inputs.thresholds import Threshold, WrongThresholds, forbidding, read_thresholds

T = TypeVar("T")

ALL_MODES: Final = ("run", "launch", "wait", "cancel", "plan", "history")
LAUNCHING_MODES, WAITING_MODES, TAKING_MODES = ("run", "launch"), ("run", "wait"), ("wait", "cancel", "history")
RUNNING_MODES: Final = ("run", "launch", "wait")
SHOWN_MODES, COUNTING_MODES = (*RUNNING_MODES, "history"), (*WAITING_MODES, "history")

KEY_VARIABLE: Final = "COVAL_API_KEY"
FILE: Final = "config_path"
FILE_NAME: Final = "coval-gate.yml"  # as the command line looks for it
LAUNCH_IDS: Final = ("agent_id", "persona_id", "test_set_id")
LABELS: Final = ("display_name", "tags", "created_by", "metadata")  # of a run; they change nothing about it
MOST_LEGS: Final = 100  # of a step
LONGEST_PATTERN: Final = 500  # characters; as many of a name are compared
LONGEST_WAIT: Final = 5 * 24 * 3600  # s; the longest possible GitHub job
MOST_TEST_CASES: Final = 100  # in test_case_ids
MOST_MUTATIONS: Final = 100
ALL_AT_ONCE, UNTIL_CLEAR = "all at once", "until clear"  # what `spend` may be
CONTEXT_LIMIT: Final = 255  # characters; GitHub's limit for the names of commit statuses and check runs


class Group(NamedTuple):
    """Inputs on one subject, which have an effect in its `modes` unless they say others."""

    name: str
    modes: tuple[str, ...]

    def input(
        self,
        field: Field[T],
        description: str,
        default: str = "",
        *,
        usual_length: int | None = None,
        modes: tuple[str, ...] = (),
    ) -> T:
        """Declare an input. For the type checker, it returns the input's value."""
        return cast("T", (self, field, default, description, usual_length, modes or self.modes))


CONNECTION: Final = Group("Connection", ALL_MODES)
WHAT: Final = Group("What to run", LAUNCHING_MODES)
MODE: Final = Group("Mode", ALL_MODES)
WAITING: Final = Group("Waiting", WAITING_MODES)
GATE: Final = Group("Gate", WAITING_MODES)
REPORT: Final = Group("Report", ALL_MODES)
ESSENTIAL: Final = Group("Essential", ALL_MODES)  # what most steps set, of all groups
RARE: Final = Group("Old names, and rarely needed", ALL_MODES)  # of all groups
CHAPTERS: Final = (ESSENTIAL, CONNECTION, WHAT, MODE, WAITING, GATE, REPORT, RARE)
ESSENTIAL_INPUTS: Final = frozenset(
    ("api_key", *LAUNCH_IDS, "thresholds", "baseline", "confidence", "comment", "html_path")
)
RARE_INPUTS: Final = frozenset(
    ("matrix", "created_by", "display_name", "mutation_id", "fail_on_metric_id", "fail_on_metric_value")
)


class Input(NamedTuple):
    """An input with an effect in `modes`. `default` is text, as in a workflow file; `usual_length`: of its ids."""

    name: str
    group: Group
    field: Field[Any]
    default: str
    description: str
    usual_length: int | None
    modes: tuple[str, ...]

    @property
    def chapter(self) -> Group:
        """Where lists of inputs show it."""
        return ESSENTIAL if self.name in ESSENTIAL_INPUTS else RARE if self.name in RARE_INPUTS else self.group

    @property
    def default_value(self) -> Any:
        return self.field.parse(self.default) if self.default else self.field.empty


class InvalidInput(NamedTuple):
    """An invalid input. `what` ends a sentence that begins with the input's name."""

    name: str
    what: str


class Inputs(NamedTuple):
    """Every input, parsed. Attributes have the names of the inputs."""

    api_key: Secret | None = CONNECTION.input(
        fields.secret(), f"Coval API key, from a secret. Or set the variable `{KEY_VARIABLE}`."
    )
    agent_id: tuple[str, ...] = WHAT.input(
        fields.selection(MOST_LEGS),
        "The agent to test, or several. The step launches a run for each combination of agents, personas and test "
        "sets; the worst verdict decides.",
        usual_length=22,
        modes=SHOWN_MODES,
    )
    persona_id: tuple[str, ...] = WHAT.input(
        fields.selection(MOST_LEGS),
        "The persona that talks to the agent, or several.",
        usual_length=22,
        modes=SHOWN_MODES,
    )
    test_set_id: tuple[str, ...] = WHAT.input(
        fields.selection(MOST_LEGS), "The test set, or several.", usual_length=8, modes=SHOWN_MODES
    )
    thresholds: tuple[Threshold, ...] = GATE.input(
        Field("thresholds", (), read_thresholds),
        "What the run must meet, one condition per line, such as `Latency: p(95) < 1.5`.",
        modes=COUNTING_MODES,
    )
    baseline: BaselineSource | None = GATE.input(
        fields.baseline(),
        "Earlier runs to compare with, as in `Latency: avg <= baseline * 1.1`. `tag:<tag> last 7`: the first seven "
        "runs of a branch that count get the tag, and only `accept` changes them. `branch:<name> last 7`: the "
        "branch's newest seven. Without `last 7`: one run. `run:<id>`: that run. `base`: the agent itself, for "
        "mutations.",
        modes=SHOWN_MODES,
    )
    confidence: float | None = GATE.input(
        fields.optional(fields.confidence()),
        "Confidence, such as `95%`: a `rate`, `pass_rate`, `avg`, `med` or `p(N)` passes only if the run shows that "
        "the agent meets it, and fails only if the run shows that it does not or, against a baseline, got worse. "
        "Empty: decide as counted.",
    )
    comment: str = REPORT.input(
        fields.choice("never", "always", "on_failure"),
        "Keep one comment on the pull request up to date. `on_failure`: once a run has failed. Requires "
        "`pull-requests: write`.",
        "never",
        modes=RUNNING_MODES,
    )
    html_path: str = REPORT.input(fields.path("HTML report"), "Write an HTML report to this file.")

    api_base_url: str = CONNECTION.input(
        fields.url("https://api.coval.dev/v1", encrypted=True),
        "Base URL of Coval's API: https, except on the same machine.",
        "https://api.coval.dev/v1",
    )
    workspace_id: str = CONNECTION.input(fields.identifier(), "Coval workspace. Empty: the organization's default.")
    dashboard_url: str = CONNECTION.input(
        fields.url("https://app.coval.dev/acme", encrypted=False),
        "Base URL for links to runs. With your organization, as in `https://app.coval.dev/acme`, also to simulations.",
        "https://app.coval.dev",
    )
    github_token: Secret | None = CONNECTION.input(
        fields.token(), "Token for `comment`, `commit_status` and `check_run`, and nothing else.", "${{ github.token }}"
    )
    config_path: str = CONNECTION.input(
        fields.path(),
        f"A YAML or JSON file, such as `{FILE_NAME}`, with inputs that the step does not set and, under `legs`, those "
        "of each leg. It cannot set `api_key`, `github_token` or `api_base_url`.",
    )

    base_agent_id: str = WHAT.input(
        fields.identifier(),
        "Another agent, such as the deployed one, to run beside the tested one. Thresholds compare with `base`: "
        "`Latency: avg <= base * 1.1`.",
        usual_length=22,
        modes=RUNNING_MODES,
    )
    run_template_id: str = WHAT.input(
        fields.identifier(),
        "A run template in Coval, for ids and options that the step leaves empty. Tags add up. The API key needs "
        "`run-templates:read`.",
        usual_length=22,
    )
    metric_ids: tuple[str, ...] = WHAT.input(
        fields.identifiers(500), "Metrics to evaluate. Empty: the agent's default metrics.", usual_length=22
    )
    persona_metrics: tuple[str, ...] = WHAT.input(
        fields.texts(100, 200), "Metrics that evaluate the persona, such as `latency`."
    )
    mutation_ids: tuple[str, ...] = WHAT.input(
        fields.identifiers(MOST_MUTATIONS),
        f"Up to {MOST_MUTATIONS} mutations of the agent to run beside it.",
        usual_length=26,
    )
    iteration_count: int = WHAT.input(
        fields.count(), "How often each test case runs. Empty: once, or as the template says."
    )
    max_parallel_runs: int | None = WHAT.input(
        fields.optional(fields.whole(1)),
        "How many runs may be in progress, without a base agent's. Empty: all. With `mode: launch`: how many are "
        "launched at a time.",
    )
    max_simulations: int | None = WHAT.input(
        fields.optional(fields.whole(1)),
        "Launch nothing if the step would launch more simulations than this in all, and no repetition that would "
        "exceed it. With `spend: until clear`, it limits the drawn test cases instead. The API key needs "
        "`test-sets:read`, except with `test_case_ids`.",
    )
    spend: str = WHAT.input(
        fields.choice(ALL_AT_ONCE, UNTIL_CLEAR),
        "`until clear`: launch each leg in up to five runs, each with a part of the test cases, until every "
        "threshold is decided or can no longer be. Requires `confidence`. The API key needs `test-cases:read`, "
        "except with `test_case_ids`.",
        ALL_AT_ONCE,
        modes=("run",),
    )
    concurrency: int = WHAT.input(
        fields.count(), "How many simulations run at once. Empty: 1, or as the template says."
    )
    sub_sample_size: int | None = WHAT.input(
        fields.optional(fields.whole(0)), "How many test cases to draw at random. Empty or 0: all."
    )
    sub_sample_seed: int | None = WHAT.input(
        fields.optional(fields.whole(0, 2**31 - 1)),
        "The same seed draws the same test cases. Requires `sub_sample_size`.",
    )
    test_case_ids: tuple[str, ...] = WHAT.input(
        fields.identifiers(MOST_TEST_CASES),
        f"Run only these test cases, up to {MOST_TEST_CASES}. Not with `sub_sample_size`.",
    )
    display_name: str = WHAT.input(
        fields.text(TEXT_LIMIT), "Run's name in Coval. Empty: repository, pull request, commit and workflow."
    )
    tags: tuple[str, ...] = WHAT.input(fields.texts(MOST_TAGS, TEXT_LIMIT), f"Up to {MOST_TAGS} tags for the run.")
    created_by: str = WHAT.input(
        fields.text(TEXT_LIMIT), "Run's creator in Coval. Empty: the user who started the workflow."
    )
    metadata: dict[str, Any] | None = WHAT.input(
        fields.json_object('{"team": "voice"}', read_metadata),
        "Metadata to store with the run. Coval's own keys keep their meaning; inputs of the same name win. Other "
        "keys are stored under `customer`.",
    )
    config_overrides: dict[str, Any] | None = WHAT.input(
        fields.json_object('{"simulation_timeout_seconds": 300}'),
        "Simulator configuration for this run, over the agent's own.",
    )

    mode: str = MODE.input(
        fields.choice(*ALL_MODES),
        "`run`: launch a run, wait for it and judge it. `launch`: launch it and end. `wait`: wait for the run in "
        "`run_id` and judge it. `cancel`: cancel the unfinished runs in `run_id`. `plan`: launch nothing; show what "
        "`run` would. `history`: show the newest runs in `run_id` side by side.",
        "run",
    )
    run_id: ChosenRuns = MODE.input(
        fields.runs(100),
        "The runs for `mode: wait` or `cancel`. To wait for several, also set the inputs of their launch. `wait` "
        "also accepts `tag:<tag>`, `branch:<name>` or `schedule:<id>`: the newest such run of `agent_id`, "
        "`persona_id` and `test_set_id`, all required. `history` requires `branch:<name> last 30` or `tag:<tag> last "
        "30`, up to 100.",
        usual_length=22,
        modes=TAKING_MODES,
    )
    run_max_age: Age = MODE.input(
        fields.age(),
        "Maximum age, such as `12h` or `7d`, of a run that `run_id` finds by tag, branch or schedule, or that a "
        "re-run of the job keeps (`resume`).",
        "24h",
        modes=("run", "launch", "wait"),
    )
    resume: bool = MODE.input(
        fields.flag(),
        "When a job is re-run, continue the earlier attempt's unfinished run, or cancel it if its request has "
        "changed. If a leg has no completed run, keep the completed runs of the others; otherwise launch all again.",
        "true",
        modes=LAUNCHING_MODES,
    )
    supersede: bool = MODE.input(
        fields.flag(),
        "Before launching, cancel older unfinished runs of the same pull request (or branch), workflow, job, step, "
        "agent, persona and test set. The jobs of a `matrix` count separately.",
        "false",
        modes=LAUNCHING_MODES,
    )
    matrix: Matrix = MODE.input(
        fields.matrix(),
        "The job's matrix values, filled in by GitHub. They distinguish its runs, comments, statuses and reports.",
        "${{ toJSON(matrix) }}",
    )
    only_legs: tuple[str, ...] | None = MODE.input(
        fields.patterns(MOST_LEGS, LONGEST_PATTERN),
        "Evaluate only these legs, such as `booking*, refunds` (`*` and `?` as in a shell). Empty: all. `[]`: none; "
        "the step is `skipped` and passes.",
        modes=SHOWN_MODES,
    )

    max_wait_time: float = WAITING.input(
        fields.seconds(1, LONGEST_WAIT),
        "Stop waiting this long after the step began: verdict `timed_out`, or `error` with `mode: cancel`. The step "
        "ends within 10 more seconds.",
        "3600",
        modes=ALL_MODES,
    )
    check_interval: float | None = WAITING.input(
        fields.optional(fields.seconds(1, LONGEST_WAIT), "adaptive"),
        "Longest pause between two polls. `adaptive`: follows the run's progress.",
        "adaptive",
    )
    max_queue_time: float | None = WAITING.input(
        fields.optional(fields.seconds(1, LONGEST_WAIT)),
        "Stop waiting if the run has not started after this long: verdict `timed_out`.",
    )
    abort_after_failures: int | None = WAITING.input(
        fields.optional(fields.whole(1)),
        "Cancel the run when this many simulations have failed and none has completed: verdict `failed`.",
    )
    on_timeout: str = WAITING.input(
        fields.choice("fail", "pass"),
        "Whether a time-out fails or passes the check. It passes only if Coval shows that nothing had failed, and no "
        "threshold is missed as counted.",
        "fail",
    )
    cancel_on_timeout: bool = WAITING.input(
        fields.flag(),
        "Cancel the run when the step times out. Otherwise, it continues in Coval. A repetition is always cancelled.",
        "false",
    )
    cancel_on_interrupt: bool = WAITING.input(
        fields.flag(),
        "Cancel the unfinished run when the step is cancelled or killed, or ends in an error.",
        "true",
        modes=RUNNING_MODES,
    )
    metrics_grace_time: float = WAITING.input(
        fields.seconds(0, LONGEST_WAIT),
        "How long to wait for missing simulations and values after the run completes.",
        "180",
    )

    use_metric_targets: bool = GATE.input(
        fields.flag(),
        "Check each simulation against its metrics' targets in Coval. All must pass, unless a threshold such as "
        "`pass_rate >= 90%` allows less.",
        "false",
        modes=COUNTING_MODES,
    )
    baseline_max_age: Age = GATE.input(
        fields.age(),
        "Maximum age of a run of `baseline: branch:…`, such as `36h` or `2w`. A tag does not age.",
        "30d",
        modes=COUNTING_MODES,
    )
    accept: bool = GATE.input(
        fields.flag(),
        "Make this run the new baseline: only absolute thresholds judge it, and later runs are compared with it. "
        "With `mode: wait` and `run_id`, accept an earlier run. Only in a job that a person started, on GitHub by "
        "`workflow_dispatch`.",
        "false",
    )
    on_inconclusive: str = GATE.input(
        fields.choice("fail", "pass"),
        "Whether the check fails or passes if a threshold is neither met nor missed: verdict `inconclusive`. Empty: "
        "`pass` for thresholds against a baseline that ask for no improvement, otherwise `fail`.",
    )
    repeat_on_failure: int = GATE.input(
        fields.whole(0, 1),
        "`1`: if the run fails, run all of it once more. Averages, rates and percentiles then cover both runs; "
        "everything else must pass in each. With `confidence`, only a run that failed nothing but comparisons is "
        "repeated.",
        "0",
    )
    max_failed_simulations: Allowance = GATE.input(
        fields.allowance(), "How many simulations may fail to complete, or what percentage, such as `5%`.", "0"
    )
    on_missing_api_key: str = GATE.input(
        fields.choice("error", "skip"),
        "If GitHub withholds the API key, as from forks and Dependabot: `error`, or `skip` (the check passes). "
        "Elsewhere, a missing key is an error.",
        "error",
        modes=ALL_MODES,
    )

    summary: bool = REPORT.input(fields.flag(), "Write a summary to the workflow run's page.", "true")
    annotations: bool = REPORT.input(
        fields.flag(), "Annotate a failed step: its verdict and worst simulations.", "true"
    )
    commit_status: str = REPORT.input(
        fields.page_name(CONTEXT_LIMIT, "coval"),
        "Name of a commit status: pending after the launch, then the verdict, also of a later `mode: wait`. Requires "
        "`statuses: write`.",
        modes=RUNNING_MODES,
    )
    check_run: str = REPORT.input(
        fields.page_name(CONTEXT_LIMIT, "Coval"),
        "Name of a check run: a commit status with the summary. Must differ from the workflow's job names. Requires "
        "`checks: write`.",
        modes=RUNNING_MODES,
    )
    include_transcripts: str = REPORT.input(
        fields.choice("none", "failures"),
        "`failures`: show transcripts of the worst simulations, which can contain personal data, in `html_path` and "
        "`digest_path`, and their durations in `junit_path`.",
        "none",
        modes=WAITING_MODES,
    )
    junit_path: str = REPORT.input(fields.path("JUnit report"), "Write a JUnit report to this file.")
    json_path: str = REPORT.input(fields.path("JSON report"), "Write the result as JSON to this file.")
    digest_path: str = REPORT.input(
        fields.path("digest for coding agents"), "Write a digest of what failed, for coding agents, to this file."
    )


class OldInputs(NamedTuple):
    """Inputs of the older action that others replace. Only `translate` knows what they mean."""

    mutation_id: str = WHAT.input(fields.identifier(), "A mutation, like one of `mutation_ids`.", usual_length=26)
    fail_on_metric_id: str = GATE.input(
        fields.text(200, evaluated),
        "Id or name of a metric. With `fail_on_metric_value`: the threshold `<metric>: count(<value>) == 0`.",
    )
    fail_on_metric_value: str = GATE.input(
        fields.text(200, parse_value),
        "The value that fails the check. Quote a text with a `,` `;` or `|`: `'\"a, b\"'`.",
    )


class LegInputs(NamedTuple):
    """`inputs`: the step's with the leg's own. `places`, by input: the line, and the leg; no leg where all have it."""

    name: str
    line: int
    inputs: Inputs
    places: Mapping[str, tuple[int, str]]


class FromFile(NamedTuple):
    """What a step takes from its configuration file: the places of inputs, as in `LegInputs`, and the legs."""

    path: str = ""
    places: Mapping[str, tuple[int, str]] = {}
    legs: Sequence[LegInputs] = ()

    def parts(self, inputs: Inputs) -> Sequence[LegInputs]:
        """Return the legs in the file, or the whole step in their place."""
        return self.legs or (LegInputs("", 0, inputs, self.places),)


NO_FILE: Final = FromFile()


class SelectedLegs(NamedTuple):
    """How many legs a step evaluates, of how many that it has."""

    legs: int
    total: int

    def __str__(self) -> str:
        return f"{self.legs:,} of {plural(self.total, 'leg')}"


def noun(name: str) -> str:
    """Return what the id in an input is of: "test set" for test_set_id."""
    return name.removesuffix("_id").replace("_", " ")


def ids_of(inputs: Inputs) -> dict[str, str]:
    """Return the agent, persona and test set of a leg; the first ones of a step with several, empty where unset."""
    return {name: next(iter(getattr(inputs, name)), "") for name in LAUNCH_IDS}


@cache
def effective() -> tuple[Input, ...]:
    return tuple(Input(name, *declaration) for name, declaration in Inputs._field_defaults.items())


@cache
def declared() -> tuple[Input, ...]:
    """Return every input that a user may set, in the order in which docs/inputs.md and action.yml list them."""
    old = (Input(name, *declaration) for name, declaration in OldInputs._field_defaults.items())
    return tuple(sorted((*effective(), *old), key=lambda declaration: CHAPTERS.index(declaration.chapter)))


def default_of(name: str) -> Any:
    return next(declaration.default_value for declaration in declared() if declaration.name == name)


def key_in(environ: Mapping[str, str]) -> str:
    """Return the unchecked key, to mask before any output; not `secrets.COVAL_API_KEY`, which an error shows."""
    key = _written_key(environ)
    return "" if REFERENCE.fullmatch(key) else key


def inputs_of_command(environ: Mapping[str, str], names: Collection[str]) -> Inputs:
    """Return the key and the inputs with these names; all others are unset. Raises InputError."""
    variables = [KEY_VARIABLE, "INPUT_API_KEY", *(f"INPUT_{name.upper()}" for name in names)]
    inputs, problems = parse_inputs({name: environ[name] for name in variables if name in environ})
    if problems:
        raise InputError(problems)
    return inputs


def _written_key(environ: Mapping[str, str]) -> str:
    return environ.get("INPUT_API_KEY", "").strip() or environ.get(KEY_VARIABLE, "").strip()


def token_in(environ: Mapping[str, str]) -> str:
    """Return the unchecked GitHub token, for the same reason; empty if the runner did not fill it in."""
    token = environ.get("INPUT_GITHUB_TOKEN", "").strip()
    return "" if token.startswith(UNFILLED) or REFERENCE.fullmatch(token) else token


def stray_keys_in(environ: Mapping[str, str]) -> list[str]:
    """Return what looks like an API key in an input where none belongs: errors and reports would show it."""
    others = (text for name, text in environ.items() if name.startswith("INPUT_") and name != "INPUT_API_KEY")
    return [key for text in others for key in KEY_PATTERN.findall(text)]


def what_is_given(environ: Mapping[str, str]) -> str:
    """Return the inputs that say what to run, as the user wrote them: they distinguish the calls of a workflow."""
    names = ("config_path", *(declaration.name for declaration in declared() if declaration.group == WHAT))
    return repr([(name, text) for name in names if (text := environ.get(f"INPUT_{name.upper()}"))])


def parse_inputs(environ: Mapping[str, str]) -> tuple[Inputs, list[InvalidInput]]:
    """Parse all inputs from `INPUT_<NAME>`, as the runner passes them. Return them with every problem found.

    An invalid input gets its default: the valid inputs still decide where the error report goes. Of thresholds, the
    valid lines stay, so that what contradicts them is reported in the same round.
    """
    values: dict[str, Any] = {}
    problems: list[InvalidInput] = []
    for declaration in declared():
        name = declaration.name
        text = _written_key(environ) if name == "api_key" else environ.get(f"INPUT_{name.upper()}", "").strip()
        try:
            values[name] = declaration.field.parse(text) if text else declaration.default_value
        except ValueError as problem:
            problems.append(InvalidInput(name, str(problem)))
            values[name] = problem.meant if isinstance(problem, WrongThresholds) else declaration.default_value
    wrong = {name for name, _ in problems}
    problems += [problem for problem in translate(values) if problem.name not in wrong]
    return Inputs(**values), problems


def translate(values: dict[str, Any]) -> Iterator[InvalidInput]:
    """Replace the inputs of the older action among parsed `values`. Yield a problem with a half that stands alone."""
    mutation, metric, value = (values.pop(name, None) for name in OldInputs._fields)
    if mutation is not None:
        ids = dict.fromkeys((*values.get("mutation_ids", ()), *filter(None, [mutation])))
        values["mutation_ids"] = tuple(ids)
    if len(values.get("mutation_ids", ())) > MOST_MUTATIONS:
        yield InvalidInput("mutation_id", f"is one mutation more than the {MOST_MUTATIONS} that a run can have.")
    if metric and value:
        values["thresholds"] = (*values.get("thresholds", ()), forbidding(metric, value, "fail_on_metric_id"))
    elif metric:
        yield InvalidInput("fail_on_metric_value", "is required with fail_on_metric_id.")
    elif value:
        yield InvalidInput("fail_on_metric_id", "is required with fail_on_metric_value.")


def api_root(inputs: Inputs) -> str:
    """Return the URL that API paths are appended to. A base URL without a path gets `/v1`."""
    return inputs.api_base_url + ("" if urlsplit(inputs.api_base_url).path else "/v1")
