"""What is wrong with inputs that are right by themselves: those that contradict each other, or look like a slip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.inputs import LAUNCH_IDS, Problem, declared
from coval_gate.errors import InputError
from coval_gate.text import plural, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.config.inputs import Inputs

SECRETS_GUIDE: Final = "https://docs.github.com/actions/security-guides/using-secrets-in-github-actions"
MODES_THAT_NEED: Final = {"wait": "the run to wait for", "cancel": "the runs to end"}
MOST_ITERATIONS: Final = 50
MOST_CONCURRENT: Final = 100


class NoKey(NamedTuple):
    """Why GitHub shows a step no secrets, as the rest of a sentence, and what to do about it."""

    why: str
    advice: str


WITHHELD: Final = {  # by `Context.secrets_withheld_from`
    "": NoKey("", "Write api_key: ${{ secrets.COVAL_API_KEY }} in the step, and add that secret to the repository."),
    "fork": NoKey(
        ", because this pull request comes from a fork, and GitHub keeps secrets from forks",
        "Set on_missing_api_key to skip to let pull requests from forks pass without an evaluation.",
    ),
    "dependabot": NoKey(
        ", because Dependabot started this workflow, and GitHub shows it Dependabot's own secrets only",
        "Add the key to the repository's Dependabot secrets too, or set on_missing_api_key to skip.",
    ),
}


def check_inputs(inputs: Inputs, problems: Sequence[Problem], environ: Mapping[str, str], withheld: str) -> None:
    """Raise InputError with every problem at once: those found so far, and inputs that do not go together.

    A missing API key is one of them, unless it means to skip: then `api_key` is None. `withheld`: as
    `Context.secrets_withheld_from`.
    """
    wrong = {name for name, _ in problems}
    found = [*problems, *(each for each in _contradictions(inputs, environ) if each.name not in wrong)]
    key_is_missing = inputs.api_key is None and "api_key" not in wrong and inputs.on_missing_api_key == "error"
    if key_is_missing:
        found.append(Problem("api_key", f"is empty{why_no_key(withheld)}."))
    if found:
        alone = key_is_missing and len(found) == 1
        raise InputError(found, advice=_key_advice(withheld) if alone else "", link=SECRETS_GUIDE if alone else "")


def warnings_about(inputs: Inputs, environ: Mapping[str, str]) -> list[str]:
    """Sentences about inputs that may work, but look like a slip."""
    found = []
    for name, _, _, _, _, usual in declared():
        value = getattr(inputs, name)
        found += [
            f"{name} is {quoted(each)}, with {plural(len(each), 'character')}; such ids usually have {usual}."
            for each in ([value] if isinstance(value, str) else value if usual else [])
            if usual and each and len(each) != usual
        ]
    if inputs.iteration_count > MOST_ITERATIONS:
        found.append(f"iteration_count is {inputs.iteration_count}, above {MOST_ITERATIONS}; Coval may refuse it.")
    if inputs.concurrency > MOST_CONCURRENT:
        found.append(f"concurrency is {inputs.concurrency}, above {MOST_CONCURRENT}; Coval may refuse it.")
    return [*found, *_unknown(environ)]


def _contradictions(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Inputs that are right by themselves, but not together."""
    yield from _mode_contradictions(inputs)
    yield from _key_elsewhere(inputs, environ)
    yield from _gate_contradictions(inputs)
    if inputs.mutation_id and inputs.mutation_ids:
        yield Problem("mutation_ids", "excludes mutation_id; name all mutations in mutation_ids.")
    if inputs.test_case_ids and inputs.sub_sample_size:
        yield Problem("sub_sample_size", "excludes test_case_ids; draw a sample or name the test cases, not both.")
    if inputs.sub_sample_seed is not None and not inputs.sub_sample_size:
        yield Problem("sub_sample_seed", "has no effect without a sub_sample_size above 0.")


def _mode_contradictions(inputs: Inputs) -> Iterator[Problem]:
    if inputs.mode in ("wait", "cancel"):
        if not inputs.run_id:
            yield Problem("run_id", f"is empty; mode {inputs.mode} needs {MODES_THAT_NEED[inputs.mode]}.")
        if inputs.mode == "wait" and len(inputs.run_id) > 1:
            yield Problem("run_id", "names several runs; mode wait waits for one.")
        return
    for name in LAUNCH_IDS:
        if not getattr(inputs, name):
            yield Problem(name, f"is empty; mode {inputs.mode} needs it to launch a run.")
    if inputs.run_id:
        yield Problem("run_id", f"goes with the modes wait and cancel; mode {inputs.mode} launches a run of its own.")


def _gate_contradictions(inputs: Inputs) -> Iterator[Problem]:
    pair = ("fail_on_metric_id", "fail_on_metric_value")
    given = [name for name in pair if getattr(inputs, name)]
    if len(given) == 1:
        (missing,) = set(pair) - set(given)
        yield Problem(missing, f"is empty; {given[0]} needs it.")
    for threshold in inputs.thresholds:
        if threshold.bound.baseline:
            yield Problem(
                "thresholds", f"refers to a baseline in line {threshold.line}, and there are no baselines yet."
            )


def _key_elsewhere(inputs: Inputs, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Inputs that hold the API key by mistake: most of them are sent on, and all are shown."""
    key = inputs.api_key.reveal() if inputs.api_key else ""
    for each in declared():
        if key and each.name != "api_key" and key in environ.get(f"INPUT_{each.name.upper()}", ""):
            yield Problem(each.name, "holds the API key, which belongs into api_key alone.")


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """Names that are no input of ours, in the only way that matters: close to one that is."""
    names = [each.name for each in declared()]
    for variable, value in environ.items():
        name = variable.removeprefix("INPUT_").lower()
        if variable.startswith("INPUT_") and value and name not in names:
            from difflib import get_close_matches

            if close := get_close_matches(name, names, n=1):
                yield f"{name} is no input, so it has no effect; did you mean {close[0]}?"


def why_no_key(withheld: str) -> str:
    """The rest of a sentence that says that there is no API key; empty where GitHub gives no reason."""
    return WITHHELD[withheld].why


def _key_advice(withheld: str) -> str:
    return WITHHELD[withheld].advice
