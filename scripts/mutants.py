"""Changes the code at random, one place at a time, and shows which changes no test notices.

    .venv/bin/python scripts/mutants.py gate step --tests "tests/unit tests/road/test_step.py" --number 24

Each mutant is tested in a copy of the tree. A survivor is killed by a test, or explained.
"""

import ast
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
LEFT_OUT: Final = shutil.ignore_patterns(".venv", ".*cache*", "build", "site", "node_modules", "__pycache__")
OTHER: Final[dict[type[ast.AST], Any]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of a file: from `begin` to `end`, in bytes, the code `old` becomes `new`."""

    path: Path
    line: int
    begin: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.old}  ->  {self.new}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every possible change of a file."""
    source = (ROOT / path).read_bytes()
    starts = [0, *(number + 1 for number, byte in enumerate(source) if byte == ord("\n"))]
    for node in _nodes(ast.parse(source)):
        for old, new in _changes(node):
            begin = starts[old.lineno - 1] + old.col_offset
            end = starts[(old.end_lineno or old.lineno) - 1] + (old.end_col_offset or 0)
            yield Mutant(path, old.lineno, begin, end, source[begin:end].decode(), f"({ast.unparse(new)})")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the code, without annotations, and without f-strings, whose parts have no place of their own."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list") and not isinstance(node, ast.JoinedStr):
            for child in value if isinstance(value, list) else [value]:
                yield from _nodes(child) if isinstance(child, ast.AST) else ()


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield expressions of a node, each with another operator, comparison, condition or constant in its place."""
    match node:
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, ast.Constant(value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Compare(left=left, ops=[first, *others], comparators=comparators) if type(first) in OTHER:
            yield node, ast.Compare(left, [OTHER[type(first)](), *others], comparators)
        case ast.BoolOp(op=op, values=values) if type(op) in OTHER:
            yield node, ast.BoolOp(OTHER[type(op)](), values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OTHER:
            yield node, ast.BinOp(left, OTHER[type(op)](), right)


def survives(mutant: Mutant, tree: Path, tests: list[str], seconds: float) -> bool:
    """Return whether the tests pass on a copy with the change."""
    file = tree / mutant.path
    source = file.read_bytes()
    file.write_bytes(source[: mutant.begin] + mutant.new.encode() + source[mutant.end :])
    try:
        return passes(tree, tests, seconds)
    finally:
        file.write_bytes(source)


def passes(tree: Path, tests: list[str], seconds: float) -> bool:
    """Return whether the tests pass. Tests that do not end have failed: they noticed the change."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environ = os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        process = subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, timeout=seconds, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    if process.returncode not in (0, 1, 2):  # passed, failed, or the module cannot even be imported
        raise SystemExit(f"pytest could not run: {process.stdout[-2000:]}{process.stderr[-2000:]}")
    return process.returncode == 0


def run(arguments: list[str]) -> int:
    """Test some mutants; return 1 if one survives."""
    parser = ArgumentParser(prog="python scripts/mutants.py", description=__doc__)
    parser.add_argument("packages", nargs="+", help="packages or modules below src/coval_gate, such as gate or step")
    parser.add_argument("--tests", default="tests/unit", help="what pytest runs for each mutant (tests/unit)")
    parser.add_argument("--number", type=int, default=24, help="number of mutants (24)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (0)")
    parser.add_argument("--seconds", type=float, default=900, help="time for the tests of one mutant (900)")
    options = parser.parse_args(arguments)
    roots = [ROOT / "src/coval_gate" / name for name in options.packages]
    if missing := [str(root) for root in roots if not root.exists()]:
        parser.error(f"there is no {missing[0]}")
    files = [file for root in roots for file in sorted(root.rglob("*.py") if root.is_dir() else [root])]
    every = [mutant for file in files for mutant in mutants_of(file.relative_to(ROOT))]
    drawn = Random(options.seed).sample(every, min(options.number, len(every)))  # noqa: S311 - no secret
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        if not passes(tree, shlex.split(options.tests), options.seconds):
            parser.error("the tests fail on the unchanged code")
        for mutant in drawn:
            survived = survives(mutant, tree, shlex.split(options.tests), options.seconds)
            survivors += survived
            sys.stdout.write(f"{'SURVIVED' if survived else 'killed  '} {mutant}\n")
            sys.stdout.flush()
    sys.stdout.write(f"mutants: {survivors} of {len(drawn)} survive\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
