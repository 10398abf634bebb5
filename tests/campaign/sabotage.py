"""Breaks the code of a running process: a break names a function or a constant, not a line of its source.

A break gets its function through an import, so mypy reports a function that was renamed. `prepare` checks the rest: it
raises LookupError if the break fits nowhere, or in more places than one.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import os
import sys
import textwrap
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

MISAIMED: Final = 70  # the exit code where a replacement itself fails
TRAMPOLINE: Final = "def trampoline(*args, **kwargs): return {name}(*args, **kwargs)"
VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Break(Protocol):
    """One change to the code."""

    def prepare(self) -> Callable[[], None]:
        """Return what makes the change in this process. Raises LookupError if its target is not there."""


@dataclass(frozen=True)
class Constant:
    """A module's constant has another value, for the functions of that module."""

    module: ModuleType
    name: str
    value: object

    def prepare(self) -> Callable[[], None]:
        if getattr(self.module, self.name, self.value) == self.value:
            raise LookupError(f"{self.module.__name__} has no {self.name} other than {self.value}")
        return lambda: setattr(self.module, self.name, self.value)


@dataclass(frozen=True)
class Instead:
    """Another function runs in place of a function. Its first argument is the function that it replaces."""

    target: Callable[..., Any]
    new: Callable[..., Any]

    def prepare(self) -> Callable[[], None]:
        function = _function(self.target)
        _, *own = inspect.signature(self.new).parameters.values()
        if unknown := {each.name for each in own if each.kind not in VARIADIC} - {
            *inspect.signature(function).parameters
        }:
            raise LookupError(f"{function.__qualname__} takes no {', '.join(sorted(unknown))}")
        if function.__code__.co_freevars:
            raise LookupError(f"{function.__qualname__} is a closure")
        return lambda: self._put_in(function)

    def _put_in(self, function: FunctionType) -> None:
        """Exchange the function's code, so that each module that has imported the function runs the new one."""
        original = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
        original.__kwdefaults__ = function.__kwdefaults__
        name = f"_instead_of_{function.__name__}_{id(self)}"

        def instead(*args: Any, **kwargs: Any) -> Any:
            try:
                return self.new(original, *args, **kwargs)
            except Exception as error:
                if _is_raised_in(self.new, error):  # otherwise the campaign would take it for a bug of the program
                    sys.stderr.write(f"{function.__qualname__} cannot be replaced: {error!r}\n")
                    sys.stderr.flush()
                    os._exit(MISAIMED)
                raise

        function.__globals__[name] = instead
        function.__code__ = _code(ast.parse(TRAMPOLINE.format(name=name)), function)
        function.__defaults__ = function.__kwdefaults__ = None


class _Edit:
    """A change in the middle of a function, made in its syntax tree.

    `which` is the number of the place among those that fit, from 1; None: only one may fit.
    """

    target: Callable[..., Any]
    which: int | None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        """Every place that fits."""
        raise NotImplementedError

    def prepare(self) -> Callable[[], None]:
        function = _function(self.target)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        places = list(self.places(tree))
        if len(places) != 1 if self.which is None else len(places) < self.which:
            raise LookupError(f"{function.__qualname__} has {len(places)} places for {self}")
        places[(self.which or 1) - 1].replace()
        code = _code(tree, function)
        if code.co_freevars != function.__code__.co_freevars:
            raise LookupError(f"{function.__qualname__} is a closure")

        def put_in() -> None:
            function.__code__ = code

        return put_in


@dataclass(frozen=True)
class Condition(_Edit):
    """A condition that mentions a name is always true, or never: of an if, a while or a comprehension.

    Where a condition holds another one, the inner one counts.
    """

    target: Callable[..., Any]
    mentions: str
    value: bool
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, where, ast.Constant(self.value))
            for parent, where, node in _children(tree)
            if self._fits(where, node) and not any(self._fits(*inner[1:]) for inner in _children(node))
        )

    def _fits(self, where: Where, node: ast.AST) -> bool:
        """Whether a node is a condition that mentions the name."""
        return where.field in ("test", "ifs") and any(_is_named(each, self.mentions) for each in ast.walk(node))


@dataclass(frozen=True)
class Value(_Edit):
    """What is read from a variable or an attribute of this name is a constant."""

    target: Callable[..., Any]
    name: str
    value: bool | float | str | None
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, where, ast.Constant(self.value))
            for parent, where, node in _children(tree)
            if _is_named(node, self.name) and isinstance(getattr(node, "ctx", None), ast.Load)
        )


@dataclass(frozen=True)
class Without(_Edit):
    """A call that stands alone is not made."""

    target: Callable[..., Any]
    call: str
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, where, ast.Pass())
            for parent, where, node in _children(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_named(node.value.func, self.call)
        )


@dataclass(frozen=True)
class Where:
    """Where a node is in its parent: in a field, and if that holds a list, at an index."""

    field: str
    index: int | None


@dataclass(frozen=True)
class Place:
    """A node that another one is to replace."""

    parent: ast.AST
    where: Where
    new: ast.AST

    def replace(self) -> None:
        """Put the new node into the tree."""
        if self.where.index is None:
            setattr(self.parent, self.where.field, self.new)
        else:
            getattr(self.parent, self.where.field)[self.where.index] = self.new


def gives(value: Any) -> Callable[..., Any]:
    """Make a function that only returns a value; in place of a generator function, a generator that only returns it."""

    def generate() -> Generator[Any, Any, Any]:
        yield from ()
        return value

    def give(original: FunctionType, *_: Any, **__: Any) -> Any:
        return generate() if inspect.isgeneratorfunction(original) else value

    return give


def _function(target: Callable[..., Any]) -> FunctionType:
    """Return the Python function behind a member of a class or a module. Raises LookupError if there is none."""
    found = getattr(target, "fget", target)  # of a property
    if not isinstance(found, FunctionType):
        raise LookupError(f"{target!r} is not a Python function")
    return found


def _code(tree: ast.Module, function: FunctionType) -> CodeType:
    """Compile a syntax tree that holds one function, so that its code can replace that of `function`."""
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    flags = function.__code__.co_flags & __future__.annotations.compiler_flag
    module = compile(
        ast.fix_missing_locations(tree), function.__code__.co_filename, "exec", flags=flags, dont_inherit=True
    )
    return next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == definition.name)


def _children(tree: ast.AST) -> Iterator[tuple[ast.AST, Where, ast.AST]]:
    """Yield every node below `tree` with its parent and its place there, in the order of the source."""
    for field, content in ast.iter_fields(tree):
        for index, node in enumerate(content) if isinstance(content, list) else [(None, content)]:
            if isinstance(node, ast.AST):
                yield tree, Where(field, index), node
                yield from _children(node)


def _is_named(node: ast.AST, name: str) -> bool:
    """Whether a node is a variable or an attribute of this name."""
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _is_raised_in(function: Callable[..., Any], error: Exception) -> bool:
    """Whether a function itself raised the error, and not something that it called."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is function.__code__
