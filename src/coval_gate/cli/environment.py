"""The environment that a command hands to the step: its flags, the key, and what a configuration file sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coval_gate.ci.systems import system_in
from coval_gate.cli.flags import TAKEN, UsageError
from coval_gate.inputs.flags import PROGRAM
from coval_gate.inputs.inputs import ALL_MODES, FILE_NAME, KEY_VARIABLE, declared, key_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from coval_gate.ci.host import Console
    from coval_gate.inputs.file import ConfigFile

LARGEST_KEY: Final = 4096  # bytes
OTHER_NAMES: Final = ("coval-gate.yaml", "coval-gate.json", "coval-gate.toml")  # of a file that is not looked for


def environment_of(
    options: argparse.Namespace, environ: Mapping[str, str], errors: Console
) -> tuple[dict[str, str], ConfigFile | None]:
    """Flags come first, then `environ`, then the file, which is also returned.

    A step tells the mistakes in the file. Raises UsageError, also for them in other commands. `errors` masks a key that
    is read from a file.
    """
    flags = {
        f"INPUT_{name.upper()}": _written(value)
        for name, value in vars(options).items()
        if name in {declaration.name for declaration in declared()} and value not in (None, [])
    }
    merged = {**environ, **flags}
    if (what := TAKEN.get(options.command)) and not merged.get("INPUT_RUN_ID", "").strip():
        raise UsageError(f"{options.command}: {what} is missing: give the ids of runs, or set INPUT_RUN_ID.")
    if options.command in ALL_MODES:
        merged["INPUT_MODE"] = options.command
    if options.key_file:
        merged[KEY_VARIABLE] = _key_in(Path(options.key_file))
        merged.pop("INPUT_API_KEY", None)
        errors.mask(merged[KEY_VARIABLE])
    if getattr(options, "open", False) and not merged.get("INPUT_HTML_PATH"):
        raise UsageError(f"{options.command}: --open needs --html-path, the report to open.")
    path, read = merged.pop("INPUT_CONFIG_PATH", "").strip(), None
    is_step = options.command in ALL_MODES
    try:
        if path := path or _found():
            read = _read(path, key_in(merged), is_step=is_step)
    except UsageError as error:
        if options.command != "post":
            raise
        errors.log(f"{PROGRAM}: {error} The file is ignored: what was left must end.")
    if read:
        from coval_gate.inputs.file import beside_file

        merged, read = beside_file(merged, read, defaults_count=True)
        merged |= {"INPUT_CONFIG_PATH": os.path.relpath(path)} if is_step else {}
    if options.command == "wait" and system_in(merged) is None:
        # A person who stops watching a run does not mean to end it for whoever launched it, unless they say so.
        merged.setdefault("INPUT_CANCEL_ON_INTERRUPT", "false")
    return merged, read


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


def _found() -> str:
    """Look from here up to the repository's root; empty if there is no file. Raises UsageError."""
    here = Path.cwd()
    places = [here, *here.parents]
    root = next((place for place in places if _exists(place / ".git")), here)
    for place in places[: places.index(root) + 1]:
        path = os.path.relpath(place / FILE_NAME)
        if os.path.lexists(path):
            if not Path(path).is_file():  # reading a pipe may never end
                raise UsageError(f"{path} must be a file.")
            return path
        if other := next((name for name in OTHER_NAMES if _exists(place / name)), ""):
            raise UsageError(
                f"{os.path.relpath(place / other)} is not read. Write {FILE_NAME} instead, or name it by --config-path."
            )
    return ""


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - a directory above may be closed


def _read(path: str, key: str, *, is_step: bool) -> ConfigFile:
    """Raises UsageError, for a mistake in the file only if no step can tell it."""
    from coval_gate.inputs.file import read_file  # brings a parser of YAML, which few commands need
    from coval_gate.inputs.nodes import LARGEST

    try:
        with Path(path).open("rb") as file:
            read = read_file(file.read(LARGEST + 1), path, key)
    except OSError as error:
        raise UsageError(f"the file {path} cannot be read: {error.strerror}.") from None
    if read.problems and not is_step:
        raise UsageError("".join(read.problems[0]))
    return read
