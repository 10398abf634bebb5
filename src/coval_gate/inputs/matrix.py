"""Distinguish the jobs of a GitHub matrix, which share a name. Pure.

A matrix's values may come from a pull request, so they are untrusted text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import one_line

LABEL_LIMIT: Final = 80  # characters
DIGEST_SHOWN: Final = 8  # characters of the digest, in a label that is not the whole text
# What would hide where a value ends; a text that matches is written as JSON.
SEPARATING: Final = re.compile(r'[,"]|^\s|\s$|^$')


class Matrix(NamedTuple):
    """`label` is for users, on one line; `digest` is the identity. Falsy: no matrix."""

    label: str = ""
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.digest)

    def __str__(self) -> str:
        return self.label

    def after(self, text: str, limit: int | None = None) -> str:
        """Add the label in brackets, as GitHub names the jobs of a matrix. `limit`: cut the text, not the label."""
        label = f" ({self.label})" if self else ""
        room = None if limit is None else limit - len(label)
        return f"{text[:room]}{label}".lstrip() if self else text[:room]


NO_MATRIX: Final = Matrix()


def matrix_of(values: Mapping[str, Any]) -> Matrix:
    """The values are JSON-ready, in any order. Return NO_MATRIX for none."""
    if not values:
        return NO_MATRIX
    whole = json.dumps(values, sort_keys=True)
    return _labelled(", ".join(map(_word, values.values())), hashlib.sha256(whole.encode()).hexdigest())


def matrix_from(label: object) -> Matrix:
    """An earlier step recorded the label. Return NO_MATRIX unless it is a text."""
    if not isinstance(label, str) or not one_line(label):
        return NO_MATRIX
    return _labelled(label, hashlib.sha256(label.encode("utf-8", "replace")).hexdigest())


def _labelled(text: str, digest: str) -> Matrix:
    label = one_line(text, LABEL_LIMIT)
    if label != text:  # cut, or without invisible characters: other labels may look the same
        short = digest[:DIGEST_SHOWN]
        label = f"{one_line(text, LABEL_LIMIT - len(short) - 1)} {short}".lstrip()
    return Matrix(label, digest)


def _word(value: object) -> str:
    plain = isinstance(value, str) and not SEPARATING.search(value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
