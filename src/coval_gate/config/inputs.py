"""The step's inputs: the one place where an input's name, kind, default and description live.

`action.yml` and README's tables are rendered from `Inputs`; nothing else states a default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from coval_gate.config import fields
from coval_gate.config.fields import UNFILLED, Field
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coval_gate.config.fields import Allowance
    from coval_gate.config.thresholds import Threshold
    from coval_gate.secret import Secret

T = TypeVar("T")

CONNECTION: Final = "Connection"
WHAT: Final = "What to run"
MODE: Final = "Mode"
WAITING: Final = "Waiting"
GATE: Final = "Gate"
REPORT: Final = "Report"

KEY_VARIABLE: Final = "COVAL_API_KEY"
LAUNCH_IDS: Final = ("agent_id", "persona_id", "test_set_id")
MOST_TAGS: Final = 18  # of a user; Coval takes 20, and two are ours
LONGEST_WAIT: Final = 5 * 24 * 3600  # s; no job of GitHub's lasts longer
CONTEXT_LIMIT: Final = 255  # characters of a commit status's name, as GitHub has it


class Input(NamedTuple):
    """How a user sees one input. `default` is text, as in a workflow file; `usual` an id's usual length."""

    name: str
    group: str
    kind: Field[Any]
    default: str
    about: str
    usual: int | None


class Problem(NamedTuple):
    """What is wrong with an input: the rest of a sentence that begins with its name."""

    name: str
    what: str


def _thresholds(written: str) -> tuple[Threshold, ...]:
    try:
        return parse_thresholds(written)
    except ThresholdSyntaxError as error:
        count = len(error.errors)
        raise ValueError(f"has {'a wrong line' if count == 1 else f'{count} wrong lines'}.\n{error}") from None


def given(group: str, kind: Field[T], about: str, default: str = "", usual: int | None = None) -> T:
    """Declare an input; to a type checker it is the value that the input has."""
    return cast("T", dataclasses.field(metadata={"input": (group, kind, default, about, usual)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Every input, parsed and checked. Fields are named as users name them."""

    api_key: Secret | None = given(
        CONNECTION,
        fields.secret(),
        f"Coval API key, from a secret. The environment variable `{KEY_VARIABLE}` serves as well.",
    )
    api_base_url: str = given(
        CONNECTION,
        fields.url(encrypted=True),
        "Where the Coval API is. https only, but for a server on the same machine.",
        "https://api.coval.dev/v1",
    )
    workspace_id: str = given(
        CONNECTION,
        fields.identifier(),
        "Coval workspace. Empty: the organization's default workspace.",
    )
    dashboard_url: str = given(
        CONNECTION,
        fields.url(encrypted=False),
        "Where links to runs lead. With your organization's name in it, as `https://app.coval.dev/acme`, simulations "
        "are linked as well.",
        "https://app.coval.dev",
    )
    github_token: Secret | None = given(
        CONNECTION,
        fields.token(),
        "Token for `comment` and `commit_status`; nothing else uses it.",
        "${{ github.token }}",
    )

    agent_id: str = given(WHAT, fields.identifier(), "The agent to test.", usual=22)
    persona_id: str = given(WHAT, fields.identifier(), "The persona that talks to the agent.", usual=22)
    test_set_id: str = given(WHAT, fields.identifier(), "The test set to run through.", usual=8)
    metric_ids: tuple[str, ...] = given(
        WHAT, fields.identifiers(500), "Metrics to evaluate. Empty: the agent's default metrics.", usual=22
    )
    persona_metrics: tuple[str, ...] = given(
        WHAT,
        fields.texts(100, 200),
        "Names of metrics that evaluate the persona instead of the agent, such as `latency`.",
    )
    mutation_id: str = given(
        WHAT, fields.identifier(), "One mutation of the agent to run beside the agent itself.", usual=26
    )
    mutation_ids: tuple[str, ...] = given(
        WHAT, fields.identifiers(100), "Several mutations, 100 at most. Excludes `mutation_id`.", usual=26
    )
    iteration_count: int = given(WHAT, fields.whole(1), "How often each test case runs.", "1")
    concurrency: int = given(WHAT, fields.whole(1), "How many simulations run at the same time.", "1")
    sub_sample_size: int | None = given(
        WHAT, fields.optional(fields.whole(0)), "Run this many test cases, drawn at random. Empty or 0: all of them."
    )
    sub_sample_seed: int | None = given(
        WHAT,
        fields.optional(fields.whole(0, 2**31 - 1)),
        "Seed of that draw, so that the same test cases are drawn again.",
    )
    test_case_ids: tuple[str, ...] = given(
        WHAT, fields.identifiers(100), "Run these test cases only, 100 at most. Excludes `sub_sample_size`."
    )
    display_name: str = given(
        WHAT,
        fields.text(200),
        "The run's name in Coval. Empty: repository, pull request, commit and workflow.",
    )
    tags: tuple[str, ...] = given(WHAT, fields.texts(MOST_TAGS, 200), f"Tags of the run, {MOST_TAGS} at most.")
    created_by: str = given(
        WHAT, fields.text(200), "Who launched the run, as Coval shows it. Empty: who started the workflow."
    )
    metadata: dict[str, Any] | None = given(
        WHAT,
        fields.json_object('{"team": "voice"}'),
        "Facts of your own to keep with the run. Repository, commit, pull request and workflow run are added.",
    )
    config_overrides: dict[str, Any] | None = given(
        WHAT,
        fields.json_object('{"simulation_timeout_seconds": 300}'),
        "Simulator configuration for this run, in place of the agent's own.",
    )

    mode: str = given(
        MODE,
        fields.choice("run", "launch", "wait", "cancel"),
        "`run` launches and waits. `launch` launches and ends. `wait` waits for the run `run_id`. `cancel` ends "
        "the runs `run_id`, unless they are over.",
        "run",
    )
    run_id: tuple[str, ...] = given(
        MODE,
        fields.identifiers(100),
        "The run to wait for with `mode: wait`; one or several to end with `mode: cancel`.",
        usual=22,
    )
    resume: bool = given(
        MODE,
        fields.flag(),
        "When a job runs again, take over the run that its earlier attempt left unfinished instead of launching "
        "another.",
        "true",
    )
    supersede: bool = given(
        MODE,
        fields.flag(),
        "Before a launch, end older unfinished runs of the same pull request (or branch), workflow, job, step, agent, "
        "persona and test set, also those of other workflow runs.",
        "false",
    )

    max_wait_time: float = given(
        WAITING,
        fields.seconds(1, LONGEST_WAIT),
        "Give up this many seconds after the step began: verdict `timed_out`.",
        "3600",
    )
    check_interval: float | None = given(
        WAITING,
        fields.optional(fields.seconds(1, LONGEST_WAIT), "adaptive"),
        "Longest pause between two looks at the run, in seconds. `adaptive`: follows the run's progress.",
        "adaptive",
    )

    max_queue_time: float | None = given(
        WAITING,
        fields.optional(fields.seconds(1, LONGEST_WAIT)),
        "Give up if the run has not started after this many seconds: verdict `timed_out`.",
    )
    stall_timeout: float | None = given(
        WAITING,
        fields.optional(fields.seconds(1, LONGEST_WAIT)),
        "Give up if a run that has started makes no progress for this many seconds: verdict `timed_out`.",
    )
    cancel_on_timeout: bool = given(
        WAITING,
        fields.flag(),
        "End the run when the step gives up on it. Otherwise it goes on in Coval.",
        "false",
    )
    cancel_on_interrupt: bool = given(
        WAITING,
        fields.flag(),
        "End the run when the step is cancelled, killed, or ends in an error before the run is over.",
        "true",
    )
    metrics_grace_time: float = given(
        WAITING,
        fields.seconds(0, LONGEST_WAIT),
        "Wait at most this many seconds, after the run completed, for simulations and values that lag behind.",
        "180",
    )

    thresholds: tuple[Threshold, ...] = given(
        GATE,
        Field("thresholds", (), _thresholds),
        "What the run must reach, one threshold per line, such as `Latency: p(95) < 1.5`.",
    )
    use_metric_targets: bool = given(
        GATE,
        fields.flag(),
        "Hold every simulation against the targets that metrics have in Coval. All must be met, unless a threshold on "
        "`pass_rate` says how many.",
        "false",
    )
    fail_on_metric_id: str = given(
        GATE, fields.text(200), "Id or name of a metric that must nowhere have the value `fail_on_metric_value`."
    )
    fail_on_metric_value: str = given(GATE, fields.text(200), "That value: a number or a text.")
    max_failed_simulations: Allowance = given(
        GATE,
        fields.allowance(),
        "How many simulations may fail to complete, as a number or a share such as `5%`.",
        "0",
    )
    min_simulations: int = given(GATE, fields.whole(1), "How many simulations must complete at least.", "1")
    on_missing_api_key: str = given(
        GATE,
        fields.choice("error", "skip"),
        "What an empty API key means: `error`, or `skip` (the check passes, for pull requests from forks).",
        "error",
    )

    summary: bool = given(REPORT, fields.flag(), "Write a summary to the workflow run's page.", "true")
    annotations: bool = given(
        REPORT,
        fields.flag(),
        "Show the verdict of a step that fails, and the worst simulations, as annotations.",
        "true",
    )
    comment: str = given(
        REPORT,
        fields.choice("never", "always", "on_failure"),
        "Keep one comment on the pull request up to date. `on_failure`: it appears with the first failure. Needs "
        "`pull-requests: write`.",
        "never",
    )
    commit_status: str = given(
        REPORT,
        fields.text(CONTEXT_LIMIT),
        "Name of a commit status that is pending from the launch on and has the verdict in the end, also of a later "
        "step with `mode: wait`. Needs `statuses: write`.",
    )
    junit_path: str = given(REPORT, fields.path(), "Write a JUnit report to this file in the workspace.")
    json_path: str = given(REPORT, fields.path(), "Write the whole result as JSON to this file in the workspace.")


def declared() -> Iterator[Input]:
    """Every input, in the order in which README and action.yml list them."""
    for each in dataclasses.fields(Inputs):
        yield Input(each.name, *each.metadata["input"])


def key_in(environ: Mapping[str, str]) -> str:
    """The API key as given, unchecked; needed before all else, to keep it out of whatever is written."""
    return environ.get("INPUT_API_KEY", "").strip() or environ.get(KEY_VARIABLE, "").strip()


def token_in(environ: Mapping[str, str]) -> str:
    """GitHub's token as given, unchecked; for the same reason. Empty where the runner did not fill it in."""
    given = environ.get("INPUT_GITHUB_TOKEN", "").strip()
    return "" if given.startswith(UNFILLED) else given


def parse_inputs(environ: Mapping[str, str]) -> tuple[Inputs, list[Problem]]:
    """Parse all inputs (`INPUT_<NAME>`, as the runner passes them), and tell what is wrong with them.

    A wrong input has its default: the report on what is wrong goes where the others say.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, _, kind, default, _, _ in declared():
        text = key_in(environ) if name == "api_key" else environ.get(f"INPUT_{name.upper()}", "").strip() or default
        try:
            values[name] = kind.parse(text) if text else kind.empty
        except ValueError as problem:
            problems.append(Problem(name, str(problem)))
            values[name] = kind.parse(default) if default else kind.empty
    return Inputs(**values), problems


def api_root(inputs: Inputs) -> str:
    """The URL that API paths are appended to; a bare host means its `/v1`."""
    return inputs.api_base_url + ("" if urlsplit(inputs.api_base_url).path else "/v1")
