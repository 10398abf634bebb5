"""What a step asks of the CI system that it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from coval_gate.ci.context import Context

Level = Literal["error", "warning", "notice"]


class Host(Protocol):
    """A CI system. Every text may be foreign: a host keeps it from becoming a command, and every secret out of it."""

    api_url: str
    """The root of the REST API that comments and commit statuses go to; empty where there is none."""

    def mask(self, secret: str) -> None:
        """Keep `secret` out of everything written from now on."""

    def redact(self, text: str) -> str:
        """Return `text` without any secret, and without the beginning of one that was cut off."""

    def context(self) -> Context:
        """Read where the step runs."""

    def log(self, text: str = "") -> None:
        """Write one line."""

    def quote(self, text: str) -> None:
        """Write one line that may hold foreign text."""

    def quotation(self) -> AbstractContextManager[None]:
        """Treat the lines written inside as foreign."""

    def group(self, title: str) -> AbstractContextManager[None]:
        """Fold the lines written inside under `title`."""

    def fold(self, title: str, lines: Iterable[str]) -> None:
        """Write lines that may be foreign, folded under `title`."""

    def annotate(self, level: Level, title: str, message: str) -> None:
        """Point out a message of one or more lines."""

    @property
    def room_for_warnings(self) -> int:
        """How many more warnings are shown to people."""

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Set step outputs. Later values replace earlier ones. Raises RunnerError."""

    def show_outputs(self, outputs: Mapping[str, str]) -> None:
        """Show the final outputs to people where no later step can read them."""

    def save_state(self, state: Mapping[str, str]) -> None:
        """Hand values to the post step. Raises RunnerError."""

    def read_state(self, name: str) -> str:
        """Return a value that the main step saved; empty where it saved none."""

    def add_summary(self, markdown: str) -> None:
        """Append to the step's summary. Raises RunnerError."""
