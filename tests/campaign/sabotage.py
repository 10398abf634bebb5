"""Breaks the code of a running process: a break names a function or a constant, not a source line.

A break imports its function, so mypy reports a renamed function. `prepare` checks the rest: it raises LookupError if
the break applies nowhere, or in more than one place.
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

REPLACEMENT_FAILED: Final = 70  # exit code if the replacement itself fails
TRAMPOLINE: Final = "def trampoline(*args, **kwargs): return {name}(*args, **kwargs)"
VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Break(Protocol):
    """One change to the code."""

    def prepare(self) -> Callable[[], None]:
        """Return a function that applies the change. Raises LookupError if there is no such target."""


@dataclass(frozen=True)
class SetConstant:
    """Change a constant of a module, for the functions of that module."""

    module: ModuleType
    name: str
    value: object

    def prepare(self) -> Callable[[], None]:
        if getattr(self.module, self.name, self.value) == self.value:
            raise LookupError(f"{self.module.__name__} has no {self.name} other than {self.value}")
        return lambda: setattr(self.module, self.name, self.value)


@dataclass(frozen=True)
class ReplaceFunction:
    """Replace a function; the replacement gets the original function as its first argument."""

    target: Callable[..., Any]
    new: Callable[..., Any]

    def prepare(self) -> Callable[[], None]:
        function = _function(self.target)
        _, *own = inspect.signature(self.new).parameters.values()
        if unknown := {parameter.name for parameter in own if parameter.kind not in VARIADIC} - {
            *inspect.signature(function).parameters
        }:
            raise LookupError(f"{function.__qualname__} takes no {', '.join(sorted(unknown))}")
        if function.__code__.co_freevars:
            raise LookupError(f"{function.__qualname__} is a closure")
        return lambda: self._install(function)

    def _install(self, function: FunctionType) -> None:
        """Exchange the function's code, so that modules that have imported the function run the replacement."""
        original = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
        original.__kwdefaults__ = function.__kwdefaults__
        name = f"_instead_of_{function.__name__}_{id(self)}"

        def instead(*args: Any, **kwargs: Any) -> Any:
            try:
                return self.new(original, *args, **kwargs)
            except Exception as error:
                if _is_raised_in(self.new, error):  # else the campaign would report a bug of the action
                    sys.stderr.write(f"{function.__qualname__} cannot be replaced: {error!r}\n")
                    sys.stderr.flush()
                    os._exit(REPLACEMENT_FAILED)
                raise

        function.__globals__[name] = instead
        function.__code__ = _code(ast.parse(TRAMPOLINE.format(name=name)), function)
        function.__defaults__ = function.__kwdefaults__ = None


class _Edit:
    """A change within a function, made in its syntax tree.

    `which` selects one of several matching places, from 1; if it is None, exactly one must match.
    """

    target: Callable[..., Any]
    which: int | None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        """Yield all matching places."""
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

        def install() -> None:
            function.__code__ = code

        return install


@dataclass(frozen=True)
class SetCondition(_Edit):
    """Make the condition of an if, a while or a comprehension constant, if it mentions a name.

    If such conditions are nested, the inner one is changed.
    """

    target: Callable[..., Any]
    mentions: str
    value: bool
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, position, ast.Constant(self.value))
            for parent, position, node in _children(tree)
            if self._matches(position, node) and not any(self._matches(*inner[1:]) for inner in _children(node))
        )

    def _matches(self, position: Position, node: ast.AST) -> bool:
        """Return whether a node is a condition that mentions the name."""
        return position.field in ("test", "ifs") and any(_is_named(inner, self.mentions) for inner in ast.walk(node))


@dataclass(frozen=True)
class SetValue(_Edit):
    """Replace a read of a variable or an attribute with a constant."""

    target: Callable[..., Any]
    name: str
    value: bool | float | str | None
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, position, ast.Constant(self.value))
            for parent, position, node in _children(tree)
            if _is_named(node, self.name) and isinstance(getattr(node, "ctx", None), ast.Load)
        )


@dataclass(frozen=True)
class RemoveCall(_Edit):
    """Remove a call whose result is not used."""

    target: Callable[..., Any]
    call: str
    which: int | None = None

    def places(self, tree: ast.AST) -> Iterator[Place]:
        return (
            Place(parent, position, ast.Pass())
            for parent, position, node in _children(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_named(node.value.func, self.call)
        )


@dataclass(frozen=True)
class Position:
    """The position of a node in its parent: a field, and an index if the field is a list."""

    field: str
    index: int | None


@dataclass(frozen=True)
class Place:
    """A place in a syntax tree, and the node to put there."""

    parent: ast.AST
    position: Position
    new: ast.AST

    def replace(self) -> None:
        """Put the new node into the tree."""
        if self.position.index is None:
            setattr(self.parent, self.position.field, self.new)
        else:
            getattr(self.parent, self.position.field)[self.position.index] = self.new


def returns(value: Any) -> Callable[..., Any]:
    """Make a replacement that returns a value; for a generator function, a generator that returns it at once."""

    def generate() -> Generator[Any, Any, Any]:
        yield from ()
        return value

    def replacement(original: FunctionType, *_: Any, **__: Any) -> Any:
        return generate() if inspect.isgeneratorfunction(original) else value

    return replacement


def _function(target: Callable[..., Any]) -> FunctionType:
    """Return the Python function behind a member of a class or a module. Raises LookupError if there is none."""
    function = getattr(target, "fget", target)  # of a property
    if not isinstance(function, FunctionType):
        raise LookupError(f"{target!r} is not a Python function")
    return function


def _code(tree: ast.Module, function: FunctionType) -> CodeType:
    """Compile a syntax tree that holds one function, so that its code can replace that of `function`."""
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    flags = function.__code__.co_flags & __future__.annotations.compiler_flag
    module = compile(
        ast.fix_missing_locations(tree), function.__code__.co_filename, "exec", flags=flags, dont_inherit=True
    )
    return next(
        constant
        for constant in module.co_consts
        if isinstance(constant, CodeType) and constant.co_name == definition.name
    )


def _children(tree: ast.AST) -> Iterator[tuple[ast.AST, Position, ast.AST]]:
    """Yield every node below `tree` with its parent and its place there, in the order of the source."""
    for field, content in ast.iter_fields(tree):
        for index, node in enumerate(content) if isinstance(content, list) else [(None, content)]:
            if isinstance(node, ast.AST):
                yield tree, Position(field, index), node
                yield from _children(node)


def _is_named(node: ast.AST, name: str) -> bool:
    """Return whether a node is a variable or an attribute of this name."""
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _is_raised_in(function: Callable[..., Any], error: Exception) -> bool:
    """Return whether the function itself raised the error, not a function that it called."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is function.__code__
