"""The environment that a command hands to the step: its flags, the key, and what a configuration file sets."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coval_gate.ci.systems import system_in
from coval_gate.cli.flags import UsageError
from coval_gate.config.file import LARGEST, NAME, PYPROJECT, beside_file, read_config
from coval_gate.config.inputs import ALL_MODES, KEY_VARIABLE, declared

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

LARGEST_KEY: Final = 4096  # bytes
NAMED: Final = re.compile(rb"coval.{0,6}gate", re.IGNORECASE)  # a pyproject.toml that has our table, perhaps misspelt


def environment_of(
    options: argparse.Namespace, environ: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, str]:
    """Return the environment of the step: flags, what `environ` has, and the file. Raises UsageError."""
    flags = {
        f"INPUT_{name.upper()}": _written(value)
        for name, value in vars(options).items()
        if name in {declaration.name for declaration in declared()} and value is not None
    }
    merged = {**environ, **flags}
    if options.command in ALL_MODES:
        merged["INPUT_MODE"] = options.command
    if options.key_file:
        merged[KEY_VARIABLE] = _key_in(Path(options.key_file))
        merged.pop("INPUT_API_KEY", None)
    if getattr(options, "open", False) and not merged.get("INPUT_HTML_PATH"):
        raise UsageError(f"{options.command}: --open needs --html-path, the report to open.")
    path = merged.pop("INPUT_CONFIG_PATH", "").strip()
    try:
        texts = _config(path)
    except UsageError as error:
        if options.command != "post":
            raise
        warn(f"{error} The file is ignored: what was left must end.")
        texts = {}
    merged = beside_file(merged, texts, defaults_count=True)
    if options.command == "wait" and system_in(merged) is None:
        # A person who stops watching a run does not mean to end it for whoever launched it, unless they say so.
        merged.setdefault("INPUT_CANCEL_ON_INTERRUPT", "false")
    return merged


def _written(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "\n".join(value)
    return str(value)


def _key_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_KEY + 1).decode()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the file of --key-file cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}."
        ) from None
    if len(text) > LARGEST_KEY:
        raise UsageError("the file of --key-file is too long for a key.")
    return text.strip()


def _config(path: str) -> dict[str, str]:
    """Return what the configuration file sets: the one that is named, else the usual one, if there is any."""
    for name in [path] if path else [NAME, PYPROJECT]:
        try:
            texts = read_config(_contents(name, is_named=bool(path)), name, is_named=bool(path))
        except FileNotFoundError as error:
            if path or Path(name).is_symlink():
                raise UsageError(f"the file {name} cannot be read: {error.strerror}.") from None
            continue
        except OSError as error:
            raise UsageError(f"the file {name} cannot be read: {error.strerror}.") from None
        except ValueError as problem:
            raise UsageError(f"{name} {problem}") from None
        if texts or name == NAME:
            return texts
    return {}


def _contents(name: str, *, is_named: bool) -> bytes:
    """Return the contents of a configuration file; none of a usual pyproject.toml that does not name us.

    A file that is only come across must be a regular one: reading a pipe may never end. Raises OSError, ValueError.
    """
    flags = 0 if is_named else os.O_NONBLOCK
    with open(name, "rb", opener=lambda path, own: os.open(path, own | flags)) as file:
        if not (is_named or stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
            raise ValueError("must be a regular file.")
        contents = file.read(LARGEST + 1)
    is_ours = is_named or name == NAME or len(contents) > LARGEST or NAMED.search(contents)
    return contents if is_ours else b""
