"""What GitLab's REST API accepts, for exactly the calls that the gate sends, and checks against it.

The facts are from GitLab's OpenAPI document of version 19.5 (doc/api/openapi/openapi_v3.yaml in gitlab-org/gitlab),
whose operations have the ids named below. It is generated from the code, and silent about lengths, which are from
there (app/models/commit_status.rb and generic_commit_status.rb).

GitLab ignores a parameter that it does not know. Here it is a problem: what the gate sends must have an effect.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Schema = Mapping[str, Any]


JSON: Final = "application/json"
MOST_CHARACTERS: Final = 255  # of a status's texts, but not of its name

INTEGER: Final[Schema] = {"type": "integer"}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
WEB_ADDRESS: Final[Schema] = {"type": "string", "maxLength": MOST_CHARACTERS, "pattern": "^https?://[^\\s/]"}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def fields(always: Mapping[str, Schema], **sometimes: Schema) -> Schema:
    """Return the schema of an object with these fields and no others."""
    properties = {**always, **sometimes}
    return {"type": "object", "properties": properties, "required": list(always), "additionalProperties": False}


def parameters(required: Mapping[str, Schema] | None = None, **optional: Schema) -> Schema:
    return fields(required or {}, **optional)


PAGES: Final[Mapping[str, Schema]] = {
    "page": {"type": "integer", "minimum": 1},
    "per_page": {"type": "integer", "minimum": 1},
}
STATE: Final = one_of("pending", "running", "success", "failed", "canceled", "skipped")


class Call(NamedTuple):
    """A call, under GitLab's id of the operation. A path's parts in braces are its parameters."""

    operation: str
    method: str
    path: str
    parts: Mapping[str, Schema]
    query: Schema = parameters()
    body: Schema | None = None


PROJECT: Final[Mapping[str, Schema]] = {"id": {"anyOf": [INTEGER, TEXT]}}
MERGE_REQUEST_PATH: Final[Mapping[str, Schema]] = {**PROJECT, "noteable_id": INTEGER}
COMMIT_PATH: Final[Mapping[str, Schema]] = {**PROJECT, "sha": TEXT}

CALLS: Final = (
    Call(
        "getApiV4ProjectsIdMergeRequestsMergeRequestIid",
        "GET",
        "/projects/{id}/merge_requests/{merge_request_iid}",
        {**PROJECT, "merge_request_iid": INTEGER},
        query=parameters(render_html=FLAG),
    ),
    Call(
        "getApiV4ProjectsIdMergeRequestsNoteableIdNotes",
        "GET",
        "/projects/{id}/merge_requests/{noteable_id}/notes",
        MERGE_REQUEST_PATH,
        query=parameters(
            order_by=one_of("created_at", "updated_at"),
            sort=one_of("asc", "desc"),
            **PAGES,
        ),
    ),
    Call(
        "postApiV4ProjectsIdMergeRequestsNoteableIdNotes",
        "POST",
        "/projects/{id}/merge_requests/{noteable_id}/notes",
        MERGE_REQUEST_PATH,
        body=parameters({"body": TEXT}, internal=FLAG),
    ),
    Call(
        "putApiV4ProjectsIdMergeRequestsNoteableIdNotesNoteId",
        "PUT",
        "/projects/{id}/merge_requests/{noteable_id}/notes/{note_id}",
        {**MERGE_REQUEST_PATH, "note_id": INTEGER},
        body=parameters(body={"type": "string", "minLength": 1}),
    ),
    Call(
        "getApiV4ProjectsIdRepositoryCommitsShaStatuses",
        "GET",
        "/projects/{id}/repository/commits/{sha}/statuses",
        COMMIT_PATH,
        query=parameters(
            name=TEXT,
            pipeline_id=INTEGER,
            all=FLAG,
            order_by=one_of("id", "pipeline_id"),
            sort=one_of("asc", "desc"),
            **PAGES,
        ),
    ),
    Call(
        "postApiV4ProjectsIdStatusesSha",
        "POST",
        "/projects/{id}/statuses/{sha}",
        COMMIT_PATH,
        body=parameters(
            {"state": STATE},
            target_url=WEB_ADDRESS,
            description={"type": "string", "maxLength": MOST_CHARACTERS},
            name={"type": "string", "minLength": 1},
            pipeline_id=INTEGER,
        ),
    ),
)


class Problem(NamedTuple):
    """What is wrong with a parameter. `from_model`: GitLab finds it only as it saves."""

    name: str
    text: str
    from_model: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.text}".strip()


def call_of(method: str, path: str) -> tuple[Call, dict[str, str]] | None:
    """Return the call that a path, below the root of the API, belongs to, and its parts."""
    for call in CALLS:
        match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", call.path), path)
        if match and call.method == method:
            return call, {name: unquote(part) for name, part in match.groupdict().items()}
    return None


def request_problems(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
) -> list[Problem]:
    """Return what GitLab would reject, or ignore, in a request. `body`: its JSON; None without one."""
    found = call_of(method, path)
    if found is None:
        return [Problem("", "is none of the calls")]
    call, parts = found
    problems = [*_mistakes(fields(call.parts), _typed(call.parts, parts))]
    problems += _mistakes(call.query, _typed(call.query["properties"], query))
    if call.body is None:
        return problems if body is None else [*problems, Problem("body", "is not taken")]
    if headers.get("content-type", "").partition(";")[0] != JSON:
        problems.append(Problem("content-type", f"is not {JSON}"))
    return [*problems, *_mistakes(call.body, body)]


def _typed(schemas: Mapping[str, Schema], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return texts of an address as the values that GitLab reads in them, where it can."""
    return {name: _value(schemas.get(name, TEXT), text) for name, text in texts.items()}


def _value(schema: Schema, text: str) -> Any:
    if schema == FLAG:
        return {"true": True, "false": False}.get(text, text)
    return int(text) if schema.get("type") == "integer" and re.fullmatch("[0-9]+", text) else text


def _mistakes(schema: Schema, value: Any) -> list[Problem]:
    errors = Draft202012Validator(schema).iter_errors(value)
    return list(dict.fromkeys(problem for error in errors for problem in _problems(error)))


def _problems(error: ValidationError) -> Iterator[Problem]:
    """Yield what an error is about, in words as GitLab's."""
    path = [str(part) for part in error.absolute_path]
    given: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known: Any = error.schema
            for name in given.keys() - known["properties"].keys():
                yield Problem(".".join([*path, name]), "is unknown")
        case "required":
            for name in [name for name in rule if name not in given]:
                yield Problem(".".join([*path, name]), "is missing")
        case "enum":
            yield Problem(".".join(path), "does not have a valid value")
        case "minLength":
            yield Problem(".".join(path), "is empty")
        case "maxLength":
            yield Problem(".".join(path), f"is too long (maximum is {rule} characters)", from_model=True)
        case "pattern" if error.schema == WEB_ADDRESS:
            yield Problem(".".join(path), "is blocked: Only allowed schemes are http, https", from_model=True)
        case _:
            yield Problem(".".join(path), "is invalid")
