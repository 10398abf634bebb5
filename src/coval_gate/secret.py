"""A credential that does not show itself."""

from __future__ import annotations

from typing import Final

SHORTEST_SECRET: Final = 8  # characters


class Secret:
    """A value that shows itself only to who asks for it by name; neither repr nor str gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"
