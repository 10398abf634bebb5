"""Damages a JSON response: one part is lost, empty, or of another type. It makes up no numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .ids import rng

if TYPE_CHECKING:
    from collections.abc import Iterator

# Replacements of a part.
DAMAGES: Final[tuple[Any, ...]] = (None, {}, [], [None], [[]], [{}], {"?": None}, "", "?", True)


class _Part(NamedTuple):
    """A part of a response: its path of keys, with * for every index, and its place."""

    path: str
    parent: Any
    key: Any


def damaged(body: bytes, seed: int) -> bytes:
    """Return a response with one damaged part. The same seed damages the same part of similar responses."""
    try:
        content = json.loads(body)
    except ValueError:
        return b""
    parts = list(_parts(content, ""))
    if not parts:
        return b"[]"
    path = min({part.path for part in parts}, key=lambda path: rng("damage", seed, path).random())
    alike = [part for part in parts if part.path == path]
    random = rng("damage", seed)
    part = alike[int(random.random() * len(alike))]
    place = random.randrange(-1, len(DAMAGES))
    if place < 0:
        del part.parent[part.key]
    else:
        part.parent[part.key] = DAMAGES[place]
    return json.dumps(content).encode()


def _parts(node: Any, path: str) -> Iterator[_Part]:
    if isinstance(node, dict):
        entries = [(key, f"{path}/{'*' if path.endswith('/metrics') else key}") for key in node]
    elif isinstance(node, list):
        entries = [(index, f"{path}/*") for index in range(len(node))]
    else:
        return
    for key, place in entries:
        yield _Part(place, node, key)
        yield from _parts(node[key], place)
