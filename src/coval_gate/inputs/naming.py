"""How people set inputs: by flags, by the variables of a CI system, or by a wrong name. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from coval_gate.base.text import one_line
from coval_gate.inputs.inputs import KEY_VARIABLE, declared
from coval_gate.inputs.parsing import closest

PROGRAM: Final = "coval-gate"
VARIABLES: Final = {"api_key": KEY_VARIABLE, "github_token": "INPUT_GITHUB_TOKEN"}  # inputs that must not be arguments
ARGUMENTS: Final = {**VARIABLES, "mode": "COMMAND", "run_id": "RUN"}
SIMILAR_INPUT: Final = 0.75  # from 0 to 1; the least similarity of a misspelt input name
LONGEST_MISSPELT: Final = 80  # characters of a name that are compared
NAME_SHOWN: Final = 60  # characters of a name, such as a leg's, in a problem
TOGETHER_NAME: Final = "legs together"  # the end of the name that reports give to the comparison of all legs
INPUT_PREFIX: Final = "INPUT_"
RUNNER_KEYS: Final = ("args", "entrypoint")  # keys of `with` that the runner itself reads
OTHER_NAMES: Final = {  # names that other actions use
    "timeout": "max_wait_time",
    "poll_interval": "check_interval",
    "iterations": "iteration_count",
    "metrics": "metric_ids",
    "mutations": "mutation_ids",
    "test_cases": "test_case_ids",
    "name": "display_name",
    "token": "github_token",
    "key": "api_key",
    "apikey": "api_key",
    "coval_api_key": "api_key",
    "base_url": "api_base_url",
    "api_url": "api_base_url",
    "workspace": "workspace_id",
    "overrides": "config_overrides",
}
OLD_ACTION_INPUTS: Final = {  # inputs of coval-github-actions, and what to do instead
    "organization_id": "Remove it: the API key belongs to an organization.",
    "dataset_id": "Set test_set_id.",
    "test_set_name": "Set test_set_id.",
    "config": "Set config_overrides for the simulator, and metadata for anything else.",
}
FILE_ONLY: Final = {  # keys that only the file can have
    "known_failures": "is a key of the configuration file (config_path), where people review it, not an input."
}
# By value of `Context.secrets_withheld_from`: why the key is missing, as the end of a sentence, and what to do then.
WHY_WITHHELD: Final = {
    "": ("", f"Set the variable {KEY_VARIABLE}, or name a file with the key by --key-file."),
    "fork": (
        ", because GitHub withholds secrets from pull requests from forks",
        "To allow pull requests from forks to pass without an evaluation, set on_missing_api_key to skip.",
    ),
    "dependabot": (
        ", because workflows that Dependabot starts can read Dependabot secrets only",
        "Add the key to the repository's Dependabot secrets too, or set on_missing_api_key to skip.",
    ),
}


class Variables(NamedTuple):
    """How a CI system's configuration refers to a variable, with `{}` for its name, and where people set variables.

    `key`: how the step gets the API key.
    """

    written: str
    advice: str
    key: str


def how_to_set(name: str, variables: Variables | None) -> str:
    """Return how to set an input, as the end of a sentence. An input from an empty variable looks unset."""
    if variables is None:
        return f": give {flag_of(name)}, or set {name} in the configuration file"
    written = variables.written.format(f"COVAL_{name.upper()}")
    return f", but it is empty. If the step has {written}, that variable has no value"


def missing_key_reason(withheld: str) -> str:
    """Return why there is no API key, as the end of a sentence; empty if the reason is unknown."""
    return WHY_WITHHELD[withheld][0]


def flag_of(name: str) -> str:
    """Return the flag of an input. Each line of thresholds has a flag of its own."""
    return "--threshold" if name == "thresholds" else f"--{name.replace('_', '-')}"


def as_argument(name: str) -> str:
    """Return an input as an argument of a command; any other name, such as a file's, unchanged."""
    return ARGUMENTS.get(name, flag_of(name)) if name in {one.name for one in declared()} else name


def unknown_in(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each name that is not an input, with the input that the user probably meant, or ""."""
    names = [declaration.name for declaration in declared()]
    for variable, value in environ.items():
        name = variable.removeprefix(INPUT_PREFIX).lower()
        if variable.startswith(INPUT_PREFIX) and value and name not in (*names, *RUNNER_KEYS):
            yield one_line(name, 80), input_meant(name, names)


def input_meant(name: str, names: Sequence[str]) -> str:
    """Return the input among `names` that a wrong name probably means; empty if none is similar."""
    if (other := OTHER_NAMES.get(name, "")) in names:
        return other
    return closest(name[:LONGEST_MISSPELT].lower().replace("-", "_"), names, SIMILAR_INPUT)
