"""Names inputs in the gate's own sentences as a command line takes them. Pure."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from coval_gate.config.inputs import ALL_MODES, KEY_VARIABLE, declared

PROGRAM: Final = "coval-gate"
VARIABLES: Final = {"api_key": KEY_VARIABLE, "github_token": "INPUT_GITHUB_TOKEN"}  # inputs that may be in no argument
ARGUMENTS: Final = {**VARIABLES, "mode": "COMMAND", "run_id": "RUN"}
OF_FILE: Final = re.compile(r"(?:- )?\S+, line \d+: (?=\S)")  # has inputs, not flags


def flag_of(name: str) -> str:
    """A line of thresholds is one flag."""
    return "--threshold" if name == "thresholds" else f"--{name.replace('_', '-')}"


def with_flags(text: str) -> str:
    """Return sentences about inputs for a person who gives flags. Words in quotes, and lines on a file, stay."""
    return "\n".join(line if _is_of_file(line) else _with_flags(line) for line in text.split("\n"))


def _is_of_file(line: str) -> bool:
    """`thresholds, line 2: …` is about the flags."""
    return bool(OF_FILE.match(line)) and not line.removeprefix("- ").startswith("thresholds, ")


def _with_flags(line: str) -> str:
    modes, names = _patterns()
    line = modes.sub(rf"`{PROGRAM} \1`", line)
    return names.sub(lambda match: ARGUMENTS.get(match[1], flag_of(match[1])) + (" " if match[2] else ""), line)


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Other names of inputs are words, too: these count only where a sentence begins with one in lower case."""
    names = [declaration.name for declaration in declared()]
    longest_first = sorted(names, key=len, reverse=True)
    whole = "|".join(name for name in longest_first if "_" in name)
    first = "|".join(longest_first)
    begin = r"(?:^|(?<=^- )|(?<=Error: ))"
    not_after = r"(?<![\w/.#\"'`-])"
    not_before = r"(?![\w\"'`(-]|\.\w| in the configuration file)"
    return (
        re.compile(rf"\bmode:? ({'|'.join(ALL_MODES)})\b"),
        re.compile(rf"({not_after}(?:{whole})|{begin}(?:{first})){not_before}(: (?=[\w\"]))?"),
    )
