"""What can go wrong, told so that a person knows what to do next.

GateError               the step cannot do its work: verdict `error`
├── InputError          an input is wrong; nothing was sent
├── RunnerError         a file that the runner should provide cannot be used
├── GitHubError         a call to GitHub; never the reason of a verdict
└── CovalError          a call to Coval
    ├── Rejected        Coval answered, and the same call would be answered the same way
    │   └── NotFound    … because there is no such thing
    ├── Unavailable     no usable answer for now; a later call may get one
    └── LaunchUncertain a launch was sent, and nobody can tell whether it arrived
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class GateError(Exception):
    """An end of the road that is about us, the API or the configuration, never about the agent.

    `title` is a few words, `what` one sentence, `advice` what to do next, `link` where to read more.
    """

    def __init__(self, title: str, what: str, *, advice: str = "", link: str = "") -> None:
        super().__init__(what)
        self.title = title
        self.what = what
        self.advice = advice
        self.link = link


class InputError(GateError):
    """One or more inputs are wrong: `problems` holds a sentence for each, which more lines may follow."""

    def __init__(self, problems: Sequence[tuple[str, str]], *, advice: str = "", link: str = "") -> None:
        self.problems = tuple(f"{name} {problem}" for name, problem in problems)
        names = list(dict.fromkeys(name for name, _ in problems))
        if len(self.problems) == 1:
            what, _, more = self.problems[0].partition("\n")
            super().__init__("Wrong input", what, advice="\n".join(each for each in (more, advice) if each), link=link)
        else:
            what = f"{len(self.problems)} problems with the inputs {', '.join(names)}."
            listed = "\n".join(f"- {problem}" for problem in self.problems)
            super().__init__("Wrong inputs", what, advice=listed, link=link)


class RunnerError(GateError):
    """A file named by the runner (outputs, state, summary) cannot be written."""


class GitHubError(GateError):
    """A call to GitHub failed. `refused`: the token may not make it, however often it is tried (401, 403, 404)."""

    def __init__(self, title: str, what: str, *, refused: bool = False, advice: str = "", link: str = "") -> None:
        super().__init__(title, what, advice=advice, link=link)
        self.refused = refused


class CovalError(GateError):
    """A call to Coval failed."""


class Rejected(CovalError):
    """Coval refused the call; `status` is the HTTP status code."""

    def __init__(self, status: int, title: str, what: str, *, advice: str = "", link: str = "") -> None:
        super().__init__(title, what, advice=advice, link=link)
        self.status = status


class NotFound(Rejected):
    """HTTP 404: Coval does not have what the call names."""


class Unavailable(CovalError):
    """No usable answer for now.

    `arrived` is False where the call surely had no effect (it was never sent, or the API says so), True where
    it may have had one. `retry_after` is the API's own wish in seconds, if it stated one.
    """

    def __init__(
        self,
        title: str,
        what: str,
        *,
        arrived: bool,
        retry_after: float | None = None,
        advice: str = "",
        link: str = "",
    ) -> None:
        super().__init__(title, what, advice=advice, link=link)
        self.arrived = arrived
        self.retry_after = retry_after


class LaunchUncertain(CovalError):
    """The launch was sent, but its answer was lost: a run may or may not exist."""


class InternalError(GateError):
    """A defect of our own: whatever nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "Internal error",
            f"Coval Gate has a defect: {type(error).__name__}.",
            advice="Please report it with the details that the log shows.",
        )
