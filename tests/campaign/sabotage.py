"""Breaks the code of a running process: a break names a function or a constant, not a source line.

A break imports its function, so mypy reports a renamed function. `prepare` checks the rest: it raises LookupError if
the break applies nowhere.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, Protocol

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
        function.__code__ = _trampoline(name)
        function.__defaults__ = function.__kwdefaults__ = None


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


def _trampoline(name: str) -> CodeType:
    """Return the code of a function that calls another one of its module."""
    module = compile(TRAMPOLINE.format(name=name), __file__, "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def _is_raised_in(function: Callable[..., Any], error: Exception) -> bool:
    """Return whether the function itself raised the error, not a function that it called."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is function.__code__
