"""Errors: what happened, and what the user can do next.

GateError               the step cannot do its work: verdict `error`
├── InputError          invalid inputs; nothing was launched
├── RunnerError         a file from the runner cannot be used
├── HostError           a call to the CI system failed; it never decides a verdict
│   └── Transient       … and a retry may succeed
├── InternalError       a defect in Coval Gate
└── CovalError          a call to Coval failed
    ├── Rejected        Coval rejected the call, and would reject it again
    │   └── NotFound    … because the resource does not exist
    ├── TooLarge        the response is larger than the step can read
    ├── Unavailable     no usable response; a retry may get one
    └── LaunchUncertain a launch was sent, but it is unknown whether it arrived
"""

from collections.abc import Callable, Sequence

from coval_gate.base import titles
from coval_gate.base.text import in_words, plural


class GateError(Exception):
    """A failure of the step, the API or the configuration, never of the agent.

    `what` is one sentence. `advice` is what to do next. `link`: empty for the page that helps with the title.
    """

    def __init__(self, title: str, what: str, *, advice: str = "", link: str = "") -> None:
        super().__init__(what)
        self.title = title
        self.what = what
        self.advice = advice
        self.link = link or titles.help_page(title)


class InputError(GateError):
    """`problems` has a sentence for each, possibly with further lines; `pairs` has the same by input.

    `what` has the first sentence in full and names the other inputs, because some readers see nothing else.
    """

    def __init__(self, problems: Sequence[tuple[str, str]], *, advice: str = "") -> None:
        self.pairs = tuple(problems)
        self.more_advice = advice
        self.problems = tuple(f"{name}{'' if problem[:1] == ',' else ' '}{problem}" for name, problem in problems)
        first, _, more = self.problems[0].partition("\n")
        if len(self.problems) == 1:
            super().__init__(titles.INVALID_INPUT, first, advice="\n".join(filter(None, (more, advice))))
            return
        names = list(dict.fromkeys(_place(*problem) for problem in problems[1:]))
        what = f"{first} {plural(len(problems) - 1, 'more problem')}: {in_words(names)}."
        lines = [more, *(f"- {problem}" for problem in self.problems[1:]), advice]
        super().__init__(titles.INVALID_INPUTS, what, advice="\n".join(filter(None, lines)))

    def with_names(self, shown: Callable[[str], str]) -> "InputError":
        """Return the error with each input named as the user gives it."""
        return InputError([(shown(name), problem) for name, problem in self.pairs], advice=self.more_advice)


def _place(name: str, problem: str) -> str:
    """Return "line 3 of coval-gate.yml" for a problem that begins with its line; otherwise the input's name."""
    return f"{problem[2:].partition(':')[0]} of {name}" if problem.startswith(", line") else name


class RunnerError(GateError):
    """A file for outputs, state, summary or reports cannot be written."""


class HostError(GateError):
    """A call to the CI system failed. `forbidden`: the token lacks permission, so a retry cannot succeed."""

    def __init__(self, title: str, what: str, *, forbidden: bool = False, advice: str = "") -> None:
        super().__init__(title, what, advice=advice)
        self.forbidden = forbidden


class Transient(HostError):
    """`retry_after` and `too_late` are as in Unavailable."""

    def __init__(
        self, title: str, what: str, *, advice: str = "", retry_after: float = 0.0, too_late: bool = False
    ) -> None:
        super().__init__(title, what, advice=advice)
        self.retry_after = retry_after
        self.too_late = too_late


class CovalError(GateError):
    """A call to Coval failed."""


class Rejected(CovalError):
    """`by_coval` is False if a proxy may have sent the response, even after Coval accepted the call."""

    def __init__(self, status: int, title: str, what: str, *, by_coval: bool = True, advice: str = "") -> None:
        super().__init__(title, what, advice=advice)
        self.status = status
        self.by_coval = by_coval


class NotFound(Rejected):
    """HTTP 404: the resource does not exist in Coval."""


class TooLarge(CovalError):
    """The response is larger than the step can read. A retry would get the same, but a smaller page may fit."""


class Unavailable(CovalError):
    """A retry may get a response.

    `arrived` is False if the call certainly had no effect (never sent, or the API confirms it). `retry_after`: the
    pause that the server asks for, in seconds. `is_limit`: Coval runs no more at a time. `too_late`: it was not sent,
    because a deadline had passed. `misread`: the field that is not as documented, in our words, if that was the
    problem.
    """

    def __init__(
        self,
        title: str,
        what: str,
        *,
        arrived: bool,
        retry_after: float = 0.0,
        advice: str = "",
        is_limit: bool = False,
        too_late: bool = False,
    ) -> None:
        super().__init__(title, what, advice=advice)
        self.arrived = arrived
        self.retry_after = retry_after
        self.is_limit = is_limit
        self.too_late = too_late
        self.misread = ""


class LaunchUncertain(CovalError):
    """The launch was sent, but its response was lost or is not Coval's: a run may or may not exist.

    If no run turns out to exist, raise `rejection`; None: the launch is then worth another try.
    """

    def __init__(self, title: str, what: str, *, rejection: Rejected | None = None, advice: str = "") -> None:
        super().__init__(title, what, advice=advice)
        self.rejection = rejection


class InternalError(GateError):
    def __init__(self, error: Exception) -> None:
        super().__init__(
            titles.INTERNAL_ERROR,
            f"Coval Gate has a bug: {type(error).__name__}.",
            advice="Please report it with the details in the log.",
        )
