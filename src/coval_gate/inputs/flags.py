"""Names inputs in the gate's own sentences as a command line takes them. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from coval_gate.inputs.inputs import ALL_MODES, KEY_VARIABLE, declared

PROGRAM: Final = "coval-gate"
VARIABLES: Final = {"api_key": KEY_VARIABLE, "github_token": "INPUT_GITHUB_TOKEN"}  # inputs that may be in no argument
ARGUMENTS: Final = {**VARIABLES, "mode": "COMMAND", "run_id": "RUN"}
OF_FILE: Final = re.compile(r"(?:- )?\S+, line \d+: (?=\S)")  # has inputs, not flags
IN_BRACKETS: Final = re.compile(r"(\([^()]*\))")  # an answer of Coval's
OF_WORKFLOW: Final = "start the workflow by hand"  # advice about a workflow file, which has no flags


def flag_of(name: str) -> str:
    """A line of thresholds is one flag."""
    return "--threshold" if name == "thresholds" else f"--{name.replace('_', '-')}"


def with_flags(text: str) -> str:
    """Return sentences about inputs for a person who gives flags.

    Words in quotes or brackets stay, and so do lines on a file or a workflow.
    """
    return "\n".join(
        line if _is_of_file(line) or OF_WORKFLOW in line else _with_flags(line) for line in text.split("\n")
    )


def _is_of_file(line: str) -> bool:
    """`thresholds, line 2: …` is about the flags."""
    return bool(OF_FILE.match(line)) and not line.removeprefix("- ").startswith("thresholds, ")


def _with_flags(line: str) -> str:
    modes, names = _patterns()
    parts = IN_BRACKETS.split(line)
    parts[::2] = [names.sub(_flag, modes.sub(rf"`{PROGRAM} \1`", part)) for part in parts[::2]]
    return "".join(parts)


def _flag(match: re.Match[str]) -> str:
    name, value = match.groups()
    flag = ARGUMENTS.get(name, flag_of(name))
    if value in ("true", "false") and name not in ARGUMENTS:
        return flag if value == "true" else f"--no-{flag.removeprefix('--')}"
    return f"{flag} {value}" if value else flag


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Other names of inputs are words, too: these count only where a sentence begins with one in lower case."""
    names = [declaration.name for declaration in declared()]
    longest_first = sorted(names, key=len, reverse=True)
    whole = "|".join(name for name in longest_first if "_" in name)
    first = "|".join(longest_first)
    begin = r"(?:^|(?<=^- )|(?<=Error: ))"
    not_after = r"(?<![\w/.#\"'`-])(?<!output )(?<!its )"
    not_before = r"(?![\w\"'`(-]|\.\w| in the configuration file)"
    value = r"(?:: (true|false|[0-9][\w.]*|\"[^\"]*\")(?![\w:]))?"
    return (
        re.compile(rf"\bmode:? ({'|'.join(ALL_MODES)})\b"),
        re.compile(rf"({not_after}(?:{whole})|{begin}(?:{first})){not_before}{value}"),
    )
