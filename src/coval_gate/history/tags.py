"""The tags that identify a run: the step and workflow run that launched it, and what it evaluates.

The key is unique: only this step, in this attempt, launches a run with it. The group is a concurrency group: all runs
of one pull request (or branch), workflow, job and step share it. Each job of a matrix is a job of its own. A third tag
names the branch: by it, later runs find this one as their baseline. Runs of pull requests have none. Once a run is
judged, it may get a mark: it is no baseline, because a comparison failed it or data are missing; or a person accepted
it, and comparisons begin with it.

Some responses show the tags, others the metadata of the launch. So both contain them, and both name the commit. All are
in lower case, because Coval may return tags so.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from coval_gate.ci.host import COMMIT, HEADS, IS_BASE, LEG, MATRIX, PULL_REQUEST, REPETITION, REPOSITORY, SLICE, Context
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.inputs.parsing import matrix_from

PREFIX: Final = "coval-gate"
IN_METADATA: Final = "coval_gate"  # prefix of the gate's tags in the metadata
ID: Final = "[a-z0-9][a-z0-9-]{0,39}"  # of a workflow run or an attempt: a number, a UUID, or a number with its job
KEY_TAG: Final = re.compile(
    rf"{PREFIX}/({ID})\.({ID})/([0-9a-f]{{8}})([0-9a-f]{{8}})([0-9a-f]{{12}})/[0-9a-f]+(?:-[a-z_]+)?"
    # The pull request and the commit, after a digest of their repository.
    r"(?:/([0-9a-f]{12})\.(\d{1,9})\.([0-9a-f]{40,64}))?"
)
PART_USES: Final = {  # what runs with this in their metadata are
    SLICE: "a slice: a step with spend: until clear launched it for a part of the test cases",
    IS_BASE: "a base: a step with base_agent_id launched it beside the run that it tests",
    REPETITION: "a repetition: a step with repeat_on_failure launched it, and it counts only with the run it repeats",
}
# Any key, which names the part that its run is.
PART: Final = re.compile(rf"{PREFIX}/(?:{ID}\.{ID}/[0-9a-f]+/)?[0-9a-f]{{8}}(?:-([a-z_]+))?(?:/.*)?")
BRANCH: Final = re.compile(rf"{PREFIX}/branch/[a-z0-9._-]*/[0-9a-f]{{24}}")
LINE_PREFIX: Final = f"{PREFIX}/line/"  # prefix of the group
FAILED_TAG: Final = f"{PREFIX}/failed"  # the mark of a run that is no baseline
ACCEPTED_TAG: Final = f"{PREFIX}/accepted"  # the mark of a run that a person accepted
ATTACHED: Final = f"{PREFIX}/attached"  # the mark of a run all of whose simulations `coval-gate attach` answered
UNANSWERED: Final = f"{PREFIX}/unanswered"  # the mark of a run that it left without having answered all
COUNTED_NAME: Final = re.compile("([0-9]{1,18})(-[0-9a-f]{8})?")
SHA: Final = re.compile("[0-9a-f]{40,64}")
NUMBER_TEXT: Final = re.compile("[0-9]{1,9}")
NUMBERED: Final = re.compile(rf"{IN_METADATA}_\d+")
SEEDS: Final = 2**31  # different ones that Coval accepts
SLUG_LIMIT: Final = 60  # characters of a branch, in its tag


class Origin(NamedTuple):
    """The contents of a run's key. `digest`: of the step and of what the run evaluates; `place`: of the step alone.

    `given`: a digest of the inputs that define what to run, as the workflow sets them.
    """

    workflow_run: str
    attempt: str
    digest: str
    place: str
    given: str


class Tags(NamedTuple):
    """`origin` is None outside a CI system, where workflow runs cannot be identified."""

    key: str
    group: str = ""
    origin: Origin | None = None
    branch: str = ""

    @property
    def to_send(self) -> tuple[str, ...]:
        """The most important come first."""
        return tuple(tag for tag in (self.key, self.group, self.branch) if tag)

    def continues(self, tags: Iterable[str]) -> bool:
        """Return whether an earlier attempt of this step launched the run with these tags."""
        return self.origin is not None and any(
            (earlier.workflow_run, earlier.digest) == (self.origin.workflow_run, self.origin.digest)
            and is_earlier(earlier.attempt, self.origin.attempt)
            for earlier in origins(tags)
        )

    def earlier_of(self, runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
        """Return the runs that earlier attempts of this step launched, and those of the same place with other inputs.

        Calls of a reusable workflow share job and step. Only their inputs distinguish them, so a run that was launched
        with other inputs may be of another call.
        """
        if (this := self.origin) is None:
            return [], []
        found = [
            (run, earlier.given == this.given)
            for run in runs
            for earlier in origins(tags_of(run))
            if (earlier.workflow_run, earlier.place) == (this.workflow_run, this.place)
            and is_earlier(earlier.attempt, this.attempt)
        ]
        return [run for run, is_own in found if is_own], [run for run, is_own in found if not is_own]

    def supersedes(self, tags: Iterable[str]) -> bool:
        """Return whether this step supersedes the run of the same ids, which is never of a later workflow run.

        Within one, others may share the group: calls of a reusable workflow, or jobs of a matrix if the input `matrix`
        is empty. There, a step supersedes only its own earlier attempts.
        """
        tags = tuple(tags)
        if self.origin is None or self.group not in tags:
            return False
        earlier = next(origins(tags), None)
        if earlier is None:
            return False
        if earlier.workflow_run == self.origin.workflow_run:
            return self.continues(tags)
        return is_earlier(earlier.workflow_run, self.origin.workflow_run)


def tags_for(context: Context, request: LaunchRequest, nonce: str, own: Sequence[object] = ()) -> Tags:
    """`nonce` is hexadecimal, and used once. `own`: what distinguishes the run from others of the job, JSON-ready."""
    branch = branch_tag(context, context.branch) if context.branch and not context.pull_request else ""
    if not is_identified(context):
        return Tags(f"{PREFIX}/{nonce}", branch=branch)
    place = _place_of_step(context)
    parameters = request.parameters
    instance = [context.instance] if context.instance else []
    digest = _digest([place, parameters, own, *instance])[:12]
    origin = Origin(
        run_id_of(context),
        _id(context.run_attempt),
        digest,
        _digest([place, *instance])[:8],
        _digest(context.given)[:8],
    )
    head = ":".join(context.head) if context.head else context.ref
    about = f"#{context.pull_request}" if context.pull_request else head
    group = _digest([place, about])[:24]
    key = f"{PREFIX}/{origin.workflow_run}.{origin.attempt}/{origin.place}{origin.given}{digest}/{nonce}"
    if context.sha_is_known and SHA.fullmatch(context.sha):
        key += f"/{_digest(context.repository)[:12]}.{context.pull_request or 0}.{context.sha}"
    return Tags(key, f"{LINE_PREFIX}{group}", origin, branch)


def seed_for(context: Context, nonce: int) -> int:
    """All attempts at a step get the same seed. Where no attempt continues runs, it is made of the `nonce`."""
    drawn = int(_digest([_place_of_step(context), context.run_id])[:8], 16) if is_identified(context) else nonce
    return drawn % SEEDS


def branch_tag(context: Context, branch: str) -> str:
    """Return the tag of all runs of a branch; empty if the repository is not known."""
    if not context.repository:
        return ""
    branch = branch.removeprefix(HEADS)
    slug = re.sub(r"[^a-z0-9._-]+", "-", branch.lower())[:SLUG_LIMIT]
    return f"{PREFIX}/branch/{slug}/{_digest([context.server_url, context.repository, branch])[:24]}"


def branch_tag_of(run: Run) -> str:
    """Return the tag of a run that names its branch; empty if it has none, such as a run of a pull request."""
    return next(filter(BRANCH.fullmatch, tags_of(run)), "")


def is_marked(run: Run, mark: str) -> bool:
    """Marks come after the launch, so metadata do not contain them."""
    return mark in map(str.lower, run.tags)


def may_be_baseline(run: Run) -> bool:
    return pull_request_of(run) is None and not is_marked(run, FAILED_TAG)


def part_of(run: Run) -> str:
    """Return which of PART_USES a run is; empty if it decides alone. Parts never stand for a run."""
    in_keys = {f"{IN_METADATA}_{match[1]}" for match in filter(None, map(PART.fullmatch, tags_of(run)))}
    return next((part for part in PART_USES if part in run.metadata or part in in_keys), "")


def hides_part(run: Run) -> bool:
    """Return whether a run shows neither metadata nor its key, so that it may be a part."""
    return not (run.metadata or any(map(PART.fullmatch, run.tags)))


def tags_as_metadata(tags: Iterable[str]) -> dict[str, str]:
    """Return the tags as metadata, which some responses contain instead of them."""
    return {f"{IN_METADATA}_{number}": tag for number, tag in enumerate(tags)}


def tags_of(run: Run) -> tuple[str, ...]:
    """Return the tags that a run was launched with, as far as it shows them: as tags or as metadata."""
    in_metadata = (tag for name, tag in run.metadata.items() if NUMBERED.fullmatch(name) and isinstance(tag, str))
    return tuple(dict.fromkeys((*run.tags, *in_metadata)))


def user_tags(runs: Iterable[Run]) -> list[str]:
    """Return the tags that are not ours, in lower case, of runs that may be a baseline."""
    tags = (tag.lower() for run in runs if pull_request_of(run) is None and not part_of(run) for tag in tags_of(run))
    return [tag for tag in dict.fromkeys(tags) if not tag.startswith(PREFIX)]


def pull_request_of(run: Run) -> str | None:
    """Return None if the run shows no pull request; an empty text if metadata name it in another way."""
    keys = filter(None, map(KEY_TAG.fullmatch, tags_of(run)))
    numbers = (str(number or 0) for number in (run.metadata.get(PULL_REQUEST), *(match[7] for match in keys)))
    first = next((number for number in numbers if number.strip("0")), None)
    return first if first is None or NUMBER_TEXT.fullmatch(first) else ""


def with_provenance(context: Context, run: Run) -> Context:
    """Use the commit and the pull request of a run that another step launched, unless they are of another repository.

    A later workflow can then report on the tested commit in place of the job that launched the run. If the step's own
    job has no matrix, it takes that job's matrix.
    """
    metadata = provenance_of(run, context.repository)
    if not context.matrix and metadata.get(REPOSITORY) == context.repository:
        context = context._replace(matrix=matrix_from(metadata.get(MATRIX)))
    sha, number = metadata.get(COMMIT), metadata.get(PULL_REQUEST)
    if metadata.get(REPOSITORY) != context.repository or not (isinstance(sha, str) and SHA.fullmatch(sha)):
        return context._replace(sha_is_known=True)  # without a commit in the metadata, use the event's
    is_same = sha == context.sha and context.sha_is_known
    number = int(number) if isinstance(number, str) and NUMBER_TEXT.fullmatch(number) else number
    is_number = isinstance(number, int) and number > 0
    return context._replace(
        sha=sha,
        sha_is_known=True,
        pull_request=number if is_number else None,
        branch_is_known=is_same and context.branch_is_known,
    )


def provenance_of(run: Run, repository: str) -> Mapping[str, Any]:
    """Return the metadata that name the commit a run tests. Tags name commits of this `repository` only."""
    if COMMIT in run.metadata:
        return run.metadata
    for match in filter(None, map(KEY_TAG.fullmatch, tags_of(run))):
        if match[6] == _digest(repository)[:12]:
            return {REPOSITORY: repository, COMMIT: match[8], PULL_REQUEST: int(match[7])}
    return run.metadata


def origins(tags: Iterable[str]) -> Iterator[Origin]:
    for match in filter(None, map(KEY_TAG.fullmatch, tags)):
        workflow_run, attempt, place, given, digest = match.groups()[:5]
        yield Origin(workflow_run, attempt, digest, place, given)


def steps_of(run: Run) -> set[tuple[str, str]]:
    """Return the workflow run and the step that launched a run; nothing if it does not show them."""
    return {(origin.workflow_run, origin.digest) for origin in origins(tags_of(run))}


def attempt_of(run: Run) -> str:
    """Return the attempt that launched a run; empty if the run does not show it."""
    return next((origin.attempt for origin in origins(tags_of(run))), "")


def numbers_of(runs: Iterable[Run], context: Context) -> dict[str, int]:
    """Number the attempts that launched the runs. Where attempts have ids, number them in their order."""
    attempts = sorted({attempt_of(run) for run in runs} - {""}, key=lambda attempt: (len(attempt), attempt))
    has_ids = context.attempt_is_id or not all(map(str.isdecimal, attempts))
    return {attempt: place if has_ids else int(attempt) for place, attempt in enumerate(attempts, start=1)}


def run_id_of(context: Context) -> str:
    """Return the id of the workflow run as keys have it; empty if it is not known."""
    return _id(context.run_id)


def _id(text: str) -> str:
    text = text.strip().lower()
    return text if re.fullmatch(ID, text) else ""


def is_earlier(one: str, other: str) -> bool:
    """Ids that are no numbers have no order: return whether they differ. A number may precede a job that counts it."""
    numbers = [COUNTED_NAME.fullmatch(id_) for id_ in (one, other)]
    match numbers:
        case [first, second] if first and second and first[2] == second[2]:
            return int(first[1]) < int(second[1])
    return one != other


def is_identified(context: Context) -> bool:
    """Return whether attempts at the step can be identified."""
    return bool(context.repository and run_id_of(context) and _id(context.run_attempt))


def _place_of_step(context: Context) -> list[str]:
    """Return what identifies a step within a workflow run."""
    place = [context.server_url, context.repository, context.workflow_file, context.job, context.step]
    return [*place, context.matrix.digest] if context.matrix else place


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def recorded_leg(run: Run) -> str:
    """Return the key of the leg in a run's metadata; empty if they do not show it."""
    key = run.metadata.get(LEG)
    return key if isinstance(key, str) else ""
