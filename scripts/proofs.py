"""Reads the files that `doctor --launch` writes, and compares one with the sandbox.

proofs.py FILE    print where Coval differs from the sandbox: each difference is a defect of the sandbox

People send these files, so this program prints only words of its own.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pins import ROOT

from coval_cli.doubts import ANOTHER, DOUBTS, Doubt

PROOFS = ROOT / "proofs"
EMPTY = "Nobody has sent one yet."


class Proof(NamedTuple):
    """`title`: day, version and commit. `variants`: by the number of their doubt, those that Coval showed."""

    title: str
    is_complete: bool
    variants: dict[str, str]


def read(path: Path) -> Proof:
    """Raises ValueError for a file that `doctor --launch` did not write."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        day, version = exact(r"\d{4}-\d\d-\d\d", content["day"]), exact(r"\d+\.\d+\.\d+", content["version"])
        known = f" ({exact('[0-9a-f]{40,64}', commit)[:7]})" if (commit := content["commit"]) else ""
        found = {row["doubt"]: row for row in content["findings"]}
        variants = {doubt.number: variant_of(doubt, found[doubt.number]) for doubt in DOUBTS if doubt.number in found}
        return Proof(f"{day}, {version}{known}", content["is_complete"] is True, variants)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what coval-gate doctor --launch writes ({type(error).__name__})") from None


def exact(pattern: str, text: str) -> str:
    """Raises ValueError for a text of another form."""
    if not re.fullmatch(pattern, text):
        raise ValueError("another form")
    return text


def variant_of(doubt: Doubt, row: dict[str, Any]) -> str:
    """Return the variant that was seen, without details; empty if none was."""
    return next((one for one in (*doubt.variants, ANOTHER) if f"{row['found']},".startswith(f"{one},")), "")


def page() -> str:
    """Return a table of what was seen, with a column for each file, or that there is none."""
    proofs = [read(path) for path in sorted(PROOFS.glob("*.json"))]
    if not proofs:
        return EMPTY
    titles = [proof.title + ("" if proof.is_complete else ", interrupted") for proof in proofs]
    rows = [[doubt.topic, *(proof.variants.get(doubt.number, "") for proof in proofs)] for doubt in DOUBTS]
    return "\n".join(f"| {' | '.join(row)} |" for row in [["", *titles], ["---"] * (len(titles) + 1), *rows])


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 if Coval and the sandbox differ, 2 if the file cannot be read."""
    try:
        (path,) = filter(None, arguments)
        proof = read(Path(path))
    except ValueError as problem:
        print(problem if any(arguments) else "Name the file: make sandbox-check FILE=proof.json", file=sys.stderr)
        return 2
    seen = [(doubt, variant) for doubt in DOUBTS if (variant := proof.variants.get(doubt.number))]
    differing = [(doubt, variant) for doubt, variant in seen if variant != doubt.variants[0]]
    for doubt, variant in differing:
        print(f"{doubt.number:<4} {doubt.topic}: Coval: {variant}; the sandbox: {doubt.variants[0]}")
    print(f"{len(seen)} of {len(DOUBTS)} were seen; {len(differing)} differ from the sandbox.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
