"""Fills in a file of examples/. Pure, but for reading that file.

Ids replace the variables that the file reads, and thresholds replace its thresholds. Other settings stand above
them. The post step gets the settings of the connection, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import in_words
from coval_gate.init.proposals import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.init.lookups import Choice
    from coval_gate.init.proposals import Proposal

HERE: Final = Path(__file__).resolve().parent
EXAMPLES: Final = (HERE / "examples", HERE.parents[2] / "examples")  # in an installed package; in a checkout
READS: Final = re.compile(r"^(#|//) It reads [A-Z_, and]+ from (.*\n)", re.MULTILINE)
INPUT: Final = re.compile(r"^( *)thresholds: \|\n(?:\1  .+\n)+", re.MULTILINE)
FLAGS: Final = re.compile(r"(?:^( *)--threshold \".*\"( \\)?\n)+", re.MULTILINE)
POST: Final = "coval-gate post"


def read_example(name: str) -> str:
    directory = next(filter(Path.is_dir, EXAMPLES))
    return (directory / name).read_text(encoding="utf-8")


def fill_in(text: str, choices: Sequence[Choice], connection: Mapping[str, str], proposal: Proposal) -> str:
    """What has no id stays a variable."""
    for choice in choices:
        if choice.id:
            name = re.escape(choice.variable)
            text = re.sub(rf'"\$\$?\(?{name}\)?"|\$\{{\{{ vars\.{name} \}}\}}', f'"{choice.id}"', text)
    allowed = {"max_failed_simulations": proposal.max_failed} if proposal.max_failed else {}
    settings = {**connection, **allowed}

    def head(reads: re.Match[str]) -> str:
        mark, place = reads.groups()
        names = [(choice.kind.noun, plain(choice.name)) for choice in choices if choice.id]
        lines = [f"{mark} {noun.capitalize()}: {name}\n" for noun, name in names if name]
        missing = [choice.variable for choice in choices if not choice.id]
        return "".join([*lines, *([f"{mark} It reads {in_words(missing)} from {place}"] if missing else [])])

    def inputs(block: re.Match[str]) -> str:
        lines = [
            *(f'{name}: "{value}"' for name, value in settings.items()),
            "thresholds: |",
            *(f"  {line}" for line in proposal.lines),
        ]
        return "".join(f"{block[1]}{line}\n" for line in lines)

    def flags(block: re.Match[str]) -> str:
        lines = [*map(_flag, settings.items()), *(f"--threshold '{line}'" for line in proposal.lines)]
        return "".join(f"{block[1]}{line}{block[2] or ''}\n" for line in lines)

    text = text.replace(POST, " ".join([POST, *map(_flag, connection.items())]))
    return FLAGS.sub(flags, INPUT.sub(inputs, READS.sub(head, text)))


def _flag(setting: tuple[str, str]) -> str:
    name, value = setting
    return f"--{name.replace('_', '-')} {value}"
