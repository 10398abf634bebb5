"""The gate's check run of a commit: created once, and updated from then on.

GitHub takes a change of status or conclusion only until a check run is completed. It adds the annotations of every
update to those that are there. So a completed check run is left alone, and a new one replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from coval_gate.ci.github.calls import Operation, Payload
    from coval_gate.waiting import Procedure

PAGE_SIZE: Final = "30"  # check runs have up to 128 KiB each
COMPLETED: Final = "completed"


class CheckAnnotation(NamedTuple):
    """A warning on the first line of a file of the repository."""

    path: str
    title: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """A check run as it is to be; `conclusion` is empty while it is in progress.

    `references` are the values that its `external_id` may have on GitHub; it gets the last of them. `launched_as`: its
    name without matrix values, where the job that launched the run may have created it; otherwise empty.
    """

    sha: str
    name: str
    references: tuple[str, ...]
    conclusion: str
    title: str
    summary: str
    annotations: tuple[CheckAnnotation, ...] = ()
    launched_as: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The fields of a request that creates or updates it."""
        annotations = [
            {
                "path": each.path,
                "start_line": 1,
                "end_line": 1,
                "annotation_level": "warning",
                "title": each.title,
                "message": each.message,
            }
            for each in self.annotations
        ]
        output = {"title": self.title, "summary": self.summary, **({"annotations": annotations} if annotations else {})}
        state = {"status": COMPLETED, "conclusion": self.conclusion} if self.conclusion else {"status": "in_progress"}
        return {"external_id": self.references[-1], **state, "output": output}


class Kept(NamedTuple):
    """The id of a check run, and how often the call asked GitHub to create it."""

    id: int
    creations: int


def set_check_run(
    operation: Operation, repository: str, check: CheckRun, *, id_: int | None, search: bool, may_exist: bool
) -> Procedure[Kept]:
    """Update the check run `id_`; without an id, those in progress with a reference of `check`, or create it.

    `repository` is the path of the repository. `search`: another job or attempt may have created one. `may_exist`: an
    earlier call may have completed it as `check` says, and then nothing is left to do; or it created several. The same
    holds for an attempt whose response was lost.
    """
    tried, creations = may_exist, 0

    def attempt() -> Procedure[Kept]:
        nonlocal tried, creations
        targets = [] if id_ is None else [id_]
        if tried or (search and id_ is None):
            found = yield from _find(operation, repository, check, exists=id_ is not None)
            running = [each.number("id") for each in found if each.get("status") != COMPLETED]
            done = [
                each.number("id") for each in found if check.conclusion and each.get("conclusion") == check.conclusion
            ]
            if done and tried and not running:
                return Kept(max(done), creations)
            listed = {each.number("id") for each in found}
            targets = sorted({*running, *(each for each in targets if each not in listed)})
        tried = True
        if not targets:
            creations += 1
            body = {"name": check.name, "head_sha": check.sha, **check.body}
            created = yield from operation.send("POST", f"{repository}/check-runs", body=body)
            return Kept(created.number("id"), creations)
        for target in targets:
            path = f"{repository}/check-runs/{target}"
            updated = yield from operation.send("PATCH", path, body=check.body, exists=True)
            updated.number("id")
        return Kept(max(targets), creations)

    return operation.repeat(attempt)


def _find(operation: Operation, repository: str, check: CheckRun, *, exists: bool) -> Procedure[list[Payload]]:
    """Return the check runs of the commit that have the name and a reference of `check`.

    The name alone does not prove that the gate made it. If none has the name, return those that another job created.
    """
    stem = check.launched_as

    def is_own(found: Payload) -> bool:
        return found.get("name") == check.name and found.get("external_id") in check.references

    def is_of_launch(found: Payload) -> bool:
        name = str(found.get("name"))
        has_stem = name == stem or (name.startswith(f"{stem} (") and name.endswith(")"))
        return has_stem and found.get("external_id") in check.references

    path = f"{repository}/commits/{quote(check.sha, safe='')}/check-runs"
    found = yield from operation.find_all(
        path, is_own, under="check_runs", exists=exists, check_name=check.name, filter="all", per_page=PAGE_SIZE
    )
    if found or stem in ("", check.name):
        return found
    return (yield from operation.find_all(path, is_of_launch, under="check_runs", filter="all", per_page=PAGE_SIZE))
