"""A credential that stays out of logs."""

from __future__ import annotations

from typing import Final

SHORTEST_SECRET: Final = 8  # characters


class Secret:
    """A value that only `reveal` returns; repr and str mask it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"
