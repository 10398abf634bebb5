"""The configuration file: what a team does not want to write in each command, in TOML.

Source of the format: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import json
import re
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import in_words, quoted
from coval_gate.config.inputs import declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "coval-gate.toml"
PYPROJECT: Final = "pyproject.toml"
TABLE: Final = ("tool", "coval-gate")  # in pyproject.toml
LARGEST: Final = 256 * 1024  # bytes
# tomllib takes minutes for a key of tens of thousands of parts. No atom gives back what it took, so this is linear.
LONG_KEY: Final = re.compile(rb"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")
# A foreign checkout must not choose where the key goes, and a command says itself what it does to which run.
REFUSED: Final = {
    **dict.fromkeys(("api_key", "github_token", "api_base_url"), "only the job's environment may set it"),
    **dict.fromkeys(("mode", "run_id", "config_path", "matrix"), "each command or step sets it itself"),
}


def read_config(contents: bytes, path: str, *, is_named: bool = True) -> dict[str, str]:
    """Return the inputs that a configuration file sets, as text.

    A pyproject.toml without our table sets none, unless the user names it: that is a mistake.
    Raises ValueError with the end of a sentence about the file, and a line for each mistake.
    """
    if len(contents) > LARGEST:
        raise ValueError(f"must be at most {LARGEST // 1024} KB.")
    if LONG_KEY.search(contents):
        raise ValueError("has a key of more than 100 parts.")
    try:
        table: Any = tomllib.loads(contents.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be TOML in UTF-8: {error}.") from None
    if path.rpartition("/")[2] == PYPROJECT:
        table = _own_table(table, is_named=is_named)
    texts, mistakes = {}, []
    names = [declaration.name for declaration in declared()]
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in texts:
            mistakes.append(f"{quoted(key)} is set twice, in two spellings.")
            continue
        try:
            texts[name] = _text_of(name, value, names)
        except ValueError as mistake:
            mistakes.append(f"{quoted(key)} {mistake}")
    if mistakes:
        others = f"\n{chr(10).join(mistakes[1:])}" if mistakes[1:] else ""
        raise ValueError(f"has a mistake: {mistakes[0]}{others}")
    return texts


def beside_file(environ: Mapping[str, str], texts: Mapping[str, str], *, defaults_count: bool) -> dict[str, str]:
    """Return the environment with the file's inputs where it has none of its own.

    `defaults_count`: whether the user wrote an input that equals its default. GitHub's runner hands every default over,
    so there it counts as unset.
    """
    merged = dict(environ)
    defaults = {declaration.name: declaration.default for declaration in declared()}
    for name, text in texts.items():
        variable = f"INPUT_{name.upper()}"
        own = environ.get(variable, "").strip()
        if not own or (own == defaults[name] and not defaults_count):
            merged[variable] = text
    return merged


def _own_table(contents: dict[str, Any], *, is_named: bool) -> dict[str, Any]:
    """Return our table in a pyproject.toml. Raises ValueError if it is needed, or stands under a similar name."""
    tools, own = contents.get(TABLE[0], {}), TABLE[1]
    needed = f"must have a table [{'.'.join(TABLE)}]"
    if not isinstance(tools, dict):
        raise ValueError(f"{needed}.")
    similar = next((name for name in tools if re.sub("[-_. ]", "", name.lower()) == own.replace("-", "")), "")
    coval = tools.get("coval")
    similar = similar or ("coval.gate" if isinstance(coval, dict) and "gate" in coval else "")
    if own not in tools and similar:
        raise ValueError(f"{needed}; it has [{TABLE[0]}.{similar}].")
    table = tools.get(own, None if is_named else {})
    if not isinstance(table, dict):
        raise ValueError(f"{needed}.")
    return table


def _text_of(name: str, value: object, names: Sequence[str]) -> str:
    """Return a value as the text of its input. Raises ValueError with what ends a sentence about the key."""
    if name in REFUSED:
        raise ValueError(f"cannot be set in a file: {REFUSED[name]}.")
    if name not in names:
        close = get_close_matches(name, names, n=1)
        raise ValueError(f"is no input{f'; did you mean {close[0]}' if close else ''}.")
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case list() if all(isinstance(entry, (str, int, float)) and not isinstance(entry, bool) for entry in value):
            return "\n".join(map(str, value))
        case dict():
            try:
                return json.dumps(value, ensure_ascii=False)
            except TypeError:
                pass
    raise ValueError(f"must be {in_words(['text', 'a number', 'true or false', 'a list of these', 'a table'])}.")
