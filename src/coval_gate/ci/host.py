"""The interface of a CI system to a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from coval_gate.ci.context import Context

Level = Literal["error", "warning", "notice"]


class Host(Protocol):
    """A CI system. A host treats every text as foreign: it masks secrets, and lets no text become a command."""

    api_url: str
    """The root of the REST API for comments, commit statuses and check runs; empty if there is none."""

    annotates: bool
    """Whether it shows annotations elsewhere than in the log."""

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on."""

    def redact(self, text: str) -> str:
        """Return `text` with every secret masked, including the beginning of a truncated one."""

    def context(self) -> Context:
        """Return the context that the step runs in."""

    def log(self, text: str = "") -> None:
        """Write one line."""

    def quote(self, *lines: str) -> None:
        """Write lines that may contain foreign text."""

    def group(self, title: str) -> AbstractContextManager[None]:
        """Fold the lines written inside under `title`."""

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Write lines that may be foreign, folded under `title`."""

    def annotate(self, level: Level, title: str, message: str, file: str = "") -> None:
        """Show a message of one or more lines as an annotation, on the first line of a `file` of the repository."""

    @property
    def room_for_warnings(self) -> int:
        """The number of further warnings that the host will show."""

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        """Show the final outputs in the log if no later step can read them."""

    def save_state(self, state: Mapping[str, str]) -> None:
        """Save values for the post step. Raises RunnerError."""

    def read_state(self, name: str) -> str:
        """Return a value that the main step saved; empty if it saved none."""

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary. Raises RunnerError."""
