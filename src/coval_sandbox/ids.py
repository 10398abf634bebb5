"""Seeded identifiers with the lengths that Coval documents."""

from __future__ import annotations

import string
from random import Random

ALPHANUMERIC = string.ascii_letters + string.digits
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def rng(*parts: object) -> Random:
    """Return a random generator that depends on `parts` only."""
    return Random("/".join(map(str, parts)))


def short_id(random: Random, length: int = 22) -> str:
    """Return a random id of `length` letters and digits."""
    return "".join(random.choices(ALPHANUMERIC, k=length))


def ulid(seconds: float, random: Random) -> str:
    """Return a 26-character ULID for a time in seconds since the epoch. ULIDs sort by time."""
    number = (int(seconds * 1000) << 80) | random.getrandbits(80)
    return "".join(CROCKFORD[number >> (5 * place) & 31] for place in reversed(range(26)))


def readable_id(stem: str, number: int, length: int = 22) -> str:
    """Return `stem` and `number`, with leading zeros to fill `length` characters."""
    return stem + str(number).zfill(length - len(stem))
