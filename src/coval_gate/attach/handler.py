"""Loads the user's handler, and says what is wrong with it."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import most_similar, one_line, quoted, shortened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coval_agent_sdk import AudioConnection

    Handler = Callable[[AudioConnection], Awaitable[object]]

NAMED: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
EXAMPLE: Final = "agent:answer"
LONGEST: Final = 300  # characters of an error, and of a line of a traceback
MOST_LINES: Final = 40  # of a traceback


class Unusable(Exception):
    """`lines`: the traceback, if the handler's module raised an exception."""

    def __init__(self, what: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.lines = lines


def form_problem(name: str) -> str:
    """Empty if the text names a handler."""
    match = NAMED.fullmatch(name)
    if match and not match["module"].endswith(".py"):
        return ""
    if match:
        return f"the handler must be MODULE:HANDLER, such as {EXAMPLE}, without .py; got {quoted(name)}."
    return f"the handler must be MODULE:HANDLER, such as {EXAMPLE}; got {quoted(name)}."


def load(name: str, directory: str) -> Handler:
    """Look in `directory` first. Raises Unusable."""
    match = NAMED.fullmatch(name)
    if not match:
        raise Unusable(form_problem(name))
    if directory not in sys.path:
        sys.path.insert(0, directory)
    handler = _attribute(_module(match["module"], directory), match["path"], name)
    function = match["path"].rpartition(".")[2]
    example = f"Write: async def {function}(connection): ..."
    if not callable(handler):
        raise Unusable(f"{name} is no function. {example}")
    if not _is_async(handler):
        raise Unusable(f"{name} is not async. {example}")
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        raise Unusable(f"{name} must take one argument, the connection. {example}") from None
    except ValueError:  # it has no signature
        pass
    usable: Handler = handler
    return usable


def error_line(error: BaseException) -> str:
    """Return the last line of the traceback; of a group, that of its first exception."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__, LONGEST)


def causes_of(error: BaseException) -> str:
    """Include the cause, such as a relay's certificate that is not trusted."""
    cause = error.__cause__
    return f"{error_line(error)} ({error_line(cause)})" if cause else error_line(error)


def _module(name: str, directory: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise Unusable(
                f"There is no module {error.name} in {quoted(directory, 200)}, and none is installed. "
                "Run coval-gate attach in the directory that has it, or install its package."
            ) from None
        raise _not_imported(name, error) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit, too
        raise _not_imported(name, error) from None


def _not_imported(name: str, error: BaseException) -> Unusable:
    lines = "".join(traceback.format_exception(error)).splitlines()
    advice = ""
    if isinstance(error, ModuleNotFoundError):
        advice = " Install it in the environment that coval-gate runs in."
    return Unusable(
        f"The module {name} cannot be imported: {error_line(error)}.{advice}",
        tuple(shortened(line, LONGEST) for line in lines[-MOST_LINES:]),
    )


def _attribute(module: Any, path: str, name: str) -> Any:
    value = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            names = [attribute for attribute in dir(value) if not attribute.startswith("_")]
            similar = most_similar(part, names)
            hint = f" Did you mean {similar}?" if similar else ""
            raise Unusable(f"There is no {name}: the module has no {part}.{hint}") from None
    return value


def _is_async(handler: Any) -> bool:
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - of an object that is called as a function
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
