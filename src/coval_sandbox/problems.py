"""The API's errors, in the envelope `{"error": {"code", "message", "details"}}`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "CONFLICT",
    412: "FAILED_PRECONDITION",
    413: "PAYLOAD_TOO_LARGE",
    429: "RESOURCE_EXHAUSTED",
}

Detail = dict[str, str]


class Problem(Exception):
    """`details` are `{"field": …, "description": …}`, at most one per invalid field."""

    def __init__(self, status: int, code: str, message: str, details: Iterable[Detail] = ()) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "details": list(self.details)}}


class NoRoute(Problem):
    """The gateway's response to an unknown path or method, in its own envelope."""

    def __init__(self) -> None:
        super().__init__(404, "NOT_FOUND", "Not Found")

    @property
    def body(self) -> dict[str, Any]:
        return {"message": self.message}


def code_for(status: int) -> str:
    return CODES.get(status, "INTERNAL")


def invalid(*wrong: tuple[str, str]) -> Problem:
    """Each pair is a field and a description."""
    details = [{"field": field, "description": description} for field, description in wrong]
    return Problem(400, "INVALID_ARGUMENT", "The request is not valid", details)


def forbidden(scope: str) -> Problem:
    return Problem(403, "PERMISSION_DENIED", f"API key does not have required permission: {scope}")


def not_found(what: str, field: str, identifier: str) -> Problem:
    """For example, `not_found("Run", "run_id", "abc")`."""
    description = f"there is no {what.lower()} '{identifier}' in this organization"
    details = [{"field": field, "description": description}]
    return Problem(404, "NOT_FOUND", f"{what} not found", details)
