"""The text of a configuration file as nodes, which know their lines. Pure.

The file is YAML, of which JSON is a part. All scalars are text as written. Anchors, aliases, tags and several documents
are refused, because they make YAML hard to read.
"""

import json
import re
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, cast

from coval_gate.base.text import one_line
from coval_gate.inputs.inputs import FILE_NAME
from coval_gate.inputs.naming import NAME_SHOWN
from coval_gate.inputs.parsing import DEEPEST, KEY_PATTERN

LARGEST_FILE: Final = 256 * 1024  # bytes
SURROGATE: Final = re.compile("[\ud800-\udfff]")
NEARBY: Final = "the file is not valid YAML near this line."
INSTEAD: Final = "write the value out, or put what all legs share at the top."
MAPPING, SEQUENCE, SCALAR = "mapping", "sequence", "scalar"  # kinds of nodes


class Node(Protocol):
    """A node of PyYAML. `id`: its kind. `value`: pairs, nodes or a text. Lines begin at 0."""

    id: str
    value: Any
    start_mark: Any
    end_mark: Any
    style: str | None
    flow_style: bool | None


class Mistake(NamedTuple):
    """What is wrong, as a sentence about a line."""

    line: int
    what: str


class Unreadable(ValueError):
    """Nothing can be read beyond the `mistake`."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.mistake = Mistake(line, what)


def checked(contents: bytes, path: str, key: str) -> str:
    """Return the text of a file, as YAML. Raises Unreadable."""
    if path.endswith(".toml"):
        raise Unreadable(1, f"a configuration file is YAML or JSON; write `agent_id: …` in {FILE_NAME}.")
    if len(contents) > LARGEST_FILE:
        raise Unreadable(1, f"the file has more than {LARGEST_FILE // 1024} KB.")
    try:
        text = contents.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = contents[: error.start].count(b"\n") + 1
        raise Unreadable(line, "the file is not in UTF-8; save it in this encoding.") from None
    keys = KEY_PATTERN.findall(text)
    if (key and key in text) or keys:
        own = key if key and key in text else keys[0]
        whose = "the API key" if own == key else "an API key of Coval"
        line = text[: text.index(own)].count("\n") + 1
        raise Unreadable(line, f"the file contains {whose}, which must be set in api_key only.")
    if not path.endswith(".json"):
        return text
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"the file is not valid JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise Unreadable(1, f"the file is nested more than {DEEPEST} levels deep.") from None
    return text.replace("\t", " ")  # YAML has no tabs between values, and JSON has none in texts


def composed(text: str) -> Node | None:
    """Return the only document of a file; None if there is none. Raises Unreadable."""
    import yaml  # not needed without a file

    line, depth = 1, 0
    try:
        loader = yaml.BaseLoader(text)
        while loader.check_event():
            event = loader.get_event()  # type: ignore[no-untyped-call]
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _refuse(event, line, depth)
        root: Any = yaml.compose(text, yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"the file is not valid YAML: {one_line(error.problem or error.context, 200)}."
        raise Unreadable(mark.line + 1 if mark else line, what) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise Unreadable(line, "the file has a character that YAML does not allow; remove it.") from None
    except (ValueError, OverflowError) as error:  # an escaped character or a version that is out of range
        raise (error if isinstance(error, Unreadable) else Unreadable(line, NEARBY)) from None
    _join_surrogates(root)
    return cast(Node | None, root)


def _refuse(event: Any, line: int, depth: int) -> None:
    """Raise Unreadable for anchors, aliases and tags, and for too many levels."""
    tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
    if anchor is not None:
        sign, kind = ("&", "an anchor") if hasattr(event, "tag") else ("*", "an alias")
        raise Unreadable(line, f"{sign}{one_line(anchor, NAME_SHOWN)} is {kind}; {INSTEAD}")
    if isinstance(tag, str):
        what = f"{one_line(tag, NAME_SHOWN)} is a tag; remove it, because values are text anyway."
        raise Unreadable(line, what)
    if depth > DEEPEST:
        raise Unreadable(line, f"the file is nested more than {DEEPEST} levels deep.")


def _join_surrogates(node: Node | None) -> None:
    """Join the two escapes that JSON uses for a character beyond U+FFFF. Raises Unreadable."""
    if node is None:
        return
    if node.id != SCALAR:
        parts = chain.from_iterable(node.value) if node.id == MAPPING else node.value
        for part in parts:
            _join_surrogates(part)
    elif SURROGATE.search(node.value):
        try:
            node.value = node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            what = "half of an escaped character is missing; write the character itself."
            raise Unreadable(node.start_mark.line + 1, what) from None
