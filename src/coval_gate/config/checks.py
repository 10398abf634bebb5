"""Checks on inputs that are each valid: combinations that contradict each other, and likely mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.baseline_fields import OWN_TAGS
from coval_gate.config.inputs import GATE, LAUNCH_IDS, MODES, Problem, declared
from coval_gate.config.metadata import read_metadata
from coval_gate.config.threshold_checks import threshold_contradictions, threshold_warnings
from coval_gate.errors import InputError
from coval_gate.text import one_line, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.config.inputs import Input, Inputs

SECRETS_GUIDE: Final = "https://docs.github.com/actions/security-guides/using-secrets-in-github-actions"

MOST_ITERATIONS: Final = 50
MOST_CONCURRENT: Final = 100
SIMILAR: Final = 0.75  # of 1; how alike a misspelt name of an input is to the right one
PREFIX: Final = "INPUT_"
OF_COMMIT: Final = ("commit_status", "check_run")  # pages that are about the tested commit
OF_RUNNER: Final = ("args", "entrypoint")  # keys of `with` that the runner itself understands
OTHER_NAMES: Final = {  # what inputs are called elsewhere
    "timeout": "max_wait_time",
    "poll_interval": "check_interval",
    "iterations": "iteration_count",
    "metrics": "metric_ids",
    "mutations": "mutation_ids",
    "test_cases": "test_case_ids",
    "name": "display_name",
    "token": "github_token",
    "key": "api_key",
    "coval_api_key": "api_key",
    "base_url": "api_base_url",
    "api_url": "api_base_url",
    "workspace": "workspace_id",
    "dataset_id": "test_set_id",
    "test_set_name": "test_set_id",
    "overrides": "config_overrides",
}


class NoKey(NamedTuple):
    """The reason why the API key is missing, as the end of a sentence, and what to do about it."""

    reason: str
    advice: str


WITHHELD: Final = {  # by `Context.secrets_withheld_from`
    "": NoKey("", "Set api_key: ${{ secrets.COVAL_API_KEY }} in the step, and add that secret to the repository."),
    "fork": NoKey(
        ", because GitHub withholds secrets from pull requests from forks",
        "To let pull requests from forks pass without an evaluation, set on_missing_api_key to skip.",
    ),
    "dependabot": NoKey(
        ", because workflows that Dependabot starts can read Dependabot secrets only",
        "Add the key to the repository's Dependabot secrets too, or set on_missing_api_key to skip.",
    ),
}


def check_inputs(inputs: Inputs, problems: Sequence[Problem], environ: Mapping[str, str], withheld: str) -> None:
    """Raise InputError with every problem: the `problems` found so far, and inputs that contradict each other.

    A missing API key is a problem too, unless `on_missing_api_key` is skip and GitHub withholds the secrets: then
    `api_key` is None. `withheld` is the value of `Context.secrets_withheld_from`.
    """
    problems = [problem for problem in problems if problem.name != "github_token" or wanted_pages(inputs)]
    wrong = {name for name, _ in problems}
    found = [
        *problems,
        *(contradiction for contradiction in _contradictions(inputs, environ) if contradiction.name not in wrong),
    ]
    skips = inputs.on_missing_api_key == "skip"
    key_is_missing = inputs.api_key is None and "api_key" not in wrong and not (skips and withheld)
    if key_is_missing:
        reason = missing_key_reason(withheld)
        reason += "; on_missing_api_key: skip is for pull requests from forks and for Dependabot" if skips else ""
        found.append(Problem("api_key", f"is empty{reason}."))
    if found:
        alone = key_is_missing and len(found) == 1
        raise InputError(found, advice=_key_advice(withheld) if alone else "", link=SECRETS_GUIDE if alone else "")


def warnings_about(inputs: Inputs, environ: Mapping[str, str]) -> list[str]:
    """Return a sentence about each input that may work, but looks like a mistake."""
    found = []
    for declaration in declared():
        name, usual, value = declaration.name, declaration.usual_length, getattr(inputs, declaration.name)
        found += [
            f"{name} {quoted(each)} has {plural(len(each), 'character')}; such an id usually has {usual}."
            for each in ([value] if isinstance(value, str) else value if usual else [])
            if usual and each and len(each) != usual
        ]
    found += [f"{each.name} has no effect in mode {inputs.mode}." for each in _unused(inputs)]
    if inputs.iteration_count > MOST_ITERATIONS:
        found.append(f"iteration_count is {inputs.iteration_count}; Coval may reject more than {MOST_ITERATIONS}.")
    if inputs.concurrency > MOST_CONCURRENT:
        found.append(f"concurrency is {inputs.concurrency}; Coval may reject more than {MOST_CONCURRENT}.")
    judges = inputs.mode in MODES[GATE]
    if judges and inputs.include_transcripts != "none" and not (inputs.html_path or inputs.digest_path):
        found.append("include_transcripts shows no transcripts without html_path or digest_path.")
    if judges and inputs.annotate_file and not (inputs.annotations or inputs.check_run):
        found.append("annotate_file has no effect without annotations or check_run.")
    found += threshold_warnings(inputs)
    found += [
        f"{name} in metadata has no effect, because the input {name} is set."
        for name in ("display_name", "created_by", "tags")
        if getattr(inputs, name) and getattr(read_metadata(inputs.metadata), name)
    ]
    return [*found, *(f"{name} is not an input and has no effect." for name, meant in _unknown(environ) if not meant)]


def _contradictions(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each input that contradicts another one."""
    yield from _mode_contradictions(inputs)
    yield from _key_elsewhere(inputs, environ)
    for name, meant in _unknown(environ):
        if meant:  # the user takes it for that input
            yield Problem(name, f"is not an input; did you mean {meant}?")
    yield from _gate_contradictions(inputs)
    if inputs.mutation_id and inputs.mutation_ids:
        yield Problem("mutation_ids", "cannot be combined with mutation_id; list all mutations in mutation_ids.")
    if inputs.test_case_ids and inputs.sub_sample_size:
        yield Problem("sub_sample_size", "cannot be combined with test_case_ids; set one of the two.")
    if inputs.sub_sample_seed is not None and not inputs.sub_sample_size:
        yield Problem("sub_sample_seed", "requires a sub_sample_size above 0.")
    # A run that a user marks as accepted would hide every baseline from later runs.
    for name, tags in (("tags", inputs.tags), ("metadata", read_metadata(inputs.metadata).tags)):
        if reserved := next((tag for tag in tags if tag.lower().startswith(OWN_TAGS)), ""):
            yield Problem(name, f"must have no tag that begins with {OWN_TAGS}; got {quoted(reserved)}.")


def _mode_contradictions(inputs: Inputs) -> Iterator[Problem]:
    if inputs.mode in ("wait", "cancel"):
        if not inputs.run_id:
            yield Problem(
                "run_id", f"is required in mode {inputs.mode}: the output run_id of the step that launched it."
            )
        if inputs.mode == "wait" and len(inputs.run_id) > 1:
            yield Problem("run_id", f"must name one run in mode wait; got {len(inputs.run_id)}.")
        return
    for name in LAUNCH_IDS:
        if not getattr(inputs, name):
            yield Problem(name, f"is required in mode {inputs.mode}.")
    if inputs.run_id:
        yield Problem("run_id", f"must be empty in mode {inputs.mode}, which launches a run; mode wait waits for one.")


def _unused(inputs: Inputs) -> Iterator[Input]:
    """Yield the inputs that the user set although they have no effect in the step's mode."""
    for each in declared():
        if inputs.mode not in each.modes and getattr(inputs, each.name) != each.default_value:
            yield each


def _gate_contradictions(inputs: Inputs) -> Iterator[Problem]:
    judges = inputs.mode in MODES[GATE]
    for each in _unused(inputs):
        if each.group == GATE:  # the user takes the check for a verdict
            why = "launches" if judges else "judges"
            ways = " or ".join(each.modes)
            yield Problem(each.name, f"has no effect in mode {inputs.mode}, which {why} nothing; use mode {ways}.")
    pair = ("fail_on_metric_id", "fail_on_metric_value")
    given = [name for name in pair if getattr(inputs, name)]
    if len(given) == 1:
        (missing,) = set(pair) - set(given)
        yield Problem(missing, f"is required with {given[0]}.")
    yield from threshold_contradictions(inputs)


def _key_elsewhere(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each other input that contains the API key: the step sends most inputs and shows all."""
    key = inputs.api_key.reveal() if inputs.api_key else ""
    for each in declared():
        if key and each.name != "api_key" and key in environ.get(f"INPUT_{each.name.upper()}", ""):
            yield Problem(each.name, "holds the API key, which must be set in api_key only.")


def _unknown(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each name that the user set and no input has, with the input that is meant; "" where that is unknown."""
    names = [each.name for each in declared()]
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and value and name not in (*names, *OF_RUNNER):
            from difflib import get_close_matches

            close = get_close_matches(name.replace("-", "_"), names, n=1, cutoff=SIMILAR)
            yield one_line(name, 80), OTHER_NAMES.get(name) or next(iter(close), "")


def wanted_pages(inputs: Inputs) -> list[str]:
    """Return the inputs that ask for a page of the CI system."""
    wanted = [each for each in ("comment", *OF_COMMIT) if getattr(inputs, each) not in ("", "never")]
    return wanted if inputs.mode != "cancel" else []


def missing_key_reason(withheld: str) -> str:
    """Return the end of a sentence that says that there is no API key; empty where there is no known reason."""
    return WITHHELD[withheld].reason


def _key_advice(withheld: str) -> str:
    return WITHHELD[withheld].advice
