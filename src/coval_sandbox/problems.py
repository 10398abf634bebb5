"""What the API refuses: its errors, and the bounds of the bodies of POST /runs and PATCH /runs/{id}."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

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
Id8 = Annotated[str, Field(min_length=8, max_length=8)]
Id22 = Annotated[str, Field(min_length=22, max_length=22)]
Id26 = Annotated[str, Field(min_length=26, max_length=26)]
Text200 = Annotated[str, Field(max_length=200)]
Tags = Annotated[list[Text200], Field(max_length=20)]


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
    """Return the problem of invalid fields, given as pairs of field and description."""
    details = [{"field": field, "description": description} for field, description in wrong]
    return Problem(400, "INVALID_ARGUMENT", "The request is not valid", details)


def forbidden(scope: str) -> Problem:
    return Problem(403, "PERMISSION_DENIED", f"API key does not have required permission: {scope}")


def not_found(what: str, field: str, identifier: str) -> Problem:
    """For example, `not_found("Run", "run_id", "abc")`."""
    description = f"there is no {what.lower()} '{identifier}' in this organization"
    details = [{"field": field, "description": description}]
    return Problem(404, "NOT_FOUND", f"{what} not found", details)


def _refuse_null(value: object) -> object:
    if value is None:
        raise ValueError("must not be null: leave the field out")
    return value


# Sources disagree on which fields may be null. The sandbox refuses a null that any source forbids.
NOT_NULL = BeforeValidator(_refuse_null)  # does not see the default of an absent field


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Options(_Body):
    """The number of simulations, and their test cases."""

    iteration_count: Annotated[int, Field(ge=1, le=50)] = 1
    concurrency: Annotated[int, Field(ge=1, le=100)] = 1
    sub_sample_size: Annotated[int, Field(ge=0)] = 0
    sub_sample_seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    test_case_ids: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None


class Metadata(_Body):
    """The caller's description of the run."""

    customer: dict[str, Any] = {}
    created_by: Annotated[str | None, NOT_NULL] = None
    display_name: Annotated[Text200 | None, NOT_NULL] = None
    template_name: Annotated[Text200 | None, NOT_NULL] = None
    tags: Tags | None = None


class LaunchRequest(_Body):
    """The body of POST /runs; unknown fields are ignored."""

    agent_id: Id22
    persona_id: Id22
    test_set_id: Id8
    metric_ids: Annotated[list[Id22] | None, NOT_NULL] = None
    mutation_id: Id26 | None = None
    mutation_ids: Annotated[Annotated[list[Id26], Field(max_length=100)] | None, NOT_NULL] = None
    persona_metrics: Annotated[list[str] | None, NOT_NULL] = None
    options: Options = Options()
    metadata: Metadata = Metadata()
    config_overrides: dict[str, Any] | None = None

    @property
    def mutations(self) -> tuple[str, ...]:
        """The ids of the mutations that run alongside the base agent."""
        return (self.mutation_id,) if self.mutation_id else tuple(dict.fromkeys(self.mutation_ids or ()))


class UpdateRequest(_Body):
    """The body of PATCH /runs/{id}."""

    tags: Tags


Body = TypeVar("Body", bound=_Body)


def parse_launch(body: object) -> LaunchRequest:
    """Raises `Problem` (400) with every invalid field."""
    request = _parse(LaunchRequest, body)
    options = request.options
    wrong = []
    if request.mutation_id is not None and request.mutation_ids is not None:
        wrong.append(("mutation_ids", "cannot be combined with mutation_id"))
    if options.test_case_ids is not None and options.sub_sample_size:
        wrong.append(("options.test_case_ids", "cannot be combined with sub_sample_size"))
    if wrong:
        raise invalid(*wrong)
    return request


def parse_update(body: object) -> UpdateRequest:
    """Raises `Problem` (400)."""
    return _parse(UpdateRequest, body)


def clean_tags(tags: list[str] | None) -> tuple[str, ...]:
    """Strip tags, and drop duplicates and empty ones, as Coval does."""
    return tuple(dict.fromkeys(tag.strip() for tag in tags or () if tag.strip()))


def _parse(model: type[Body], body: object) -> Body:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> Problem:
    return invalid(*((".".join(map(str, item["loc"])) or "body", item["msg"]) for item in error.errors()))
