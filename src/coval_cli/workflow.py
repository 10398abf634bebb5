"""The workflows that `init` writes: which file of examples/ each is, where it goes, and how it is filled in.

Ids replace the variables that the file reads, and thresholds replace its thresholds. Other settings stand above them.
Each step that calls Coval gets the settings of the connection. The place that Coval Gate was installed from, with its
commit, replaces the published one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from coval_cli.installation import Installation
from coval_cli.proposals import Proposal, plain
from coval_gate import IS_RELEASE, REPOSITORY, __version__
from coval_gate.base.text import in_words
from coval_gate.coval.resources import AGENT, Agent, Persona, Resource, TestSet
from coval_gate.inputs.inputs import FILE_NAME
from coval_gate.inputs.inputs import KEY_VARIABLE as KEY
from coval_gate.inputs.naming import flag_of

HERE: Final = Path(__file__).resolve().parent
EXAMPLES: Final = (HERE / "examples", HERE.parents[1] / "examples")  # in an installed package; in a checkout
READS: Final = re.compile(r"^(#|//) It reads [A-Z_, and]+ from (.*\n)", re.MULTILINE)
HEAD_END: Final = re.compile(r"\n\n")  # of the first comment
KEY_LINE: Final = re.compile(r"^( *)api_key: .*\n", re.MULTILINE)
INPUT_LINE: Final = re.compile(r"^( *)thresholds: \|\n(?:\1  .+\n)+", re.MULTILINE)
FLAG_LINES: Final = re.compile(r"(?:^( *)--threshold \".*\"( \\)?\n)+", re.MULTILINE)
MAX_FAILED: Final = re.compile(r"^( *max_failed_simulations: ).*", re.MULTILINE)
CONFIG_LINE: Final = re.compile(r"^( *)config_path: .*\n", re.MULTILINE)
OTHER_COMMANDS: Final = re.compile(r"coval-gate (?:post|attach)\b")  # they need the connection, and no thresholds
USES: Final = re.compile(rf"\b{re.escape(REPOSITORY)}@v[\w.]+$", re.MULTILINE)
ADDRESS: Final = re.compile(rf"https://github\.com/{re.escape(REPOSITORY)}(\.git#|@)v[\w.]+")
LOCKED: Final = re.compile(
    r"--no-deps --require-hashes(?: \\)?\s+"
    rf"--requirement https://github\.com/{re.escape(REPOSITORY)}/releases/\S+/coval-gate(?:-(\w+))?\.txt"
)
PAGES: Final = re.compile(r"(?<![\w/])(?=(?:docs|examples)/[\w-]+\.(?:md|yml))")

Candidate = Agent | Persona | TestSet
PREVIEW_AGENT: Final = AGENT._replace(key="preview_agent", other_key=AGENT.key)


class Choice(NamedTuple):
    """The agent, persona or test set. Without an `id`, there may be `candidates`."""

    kind: Resource[Candidate]
    id: str = ""
    name: str = ""
    how: str = ""
    candidates: tuple[Candidate, ...] = ()

    @property
    def variable(self) -> str:
        return f"COVAL_{self.kind.input.upper()}"


class FileLeg(NamedTuple):
    """One leg of the configuration file: its name, the ids that are its own by input, and its thresholds."""

    name: str
    ids: Mapping[str, str]
    proposal: Proposal


def read_example(name: str) -> str:
    return (next(filter(Path.is_dir, EXAMPLES)) / name).read_text(encoding="utf-8")


def fill_in(
    text: str,
    choices: Sequence[Choice],
    connection: Mapping[str, str],
    proposal: Proposal,
    origin: Installation = Installation(),  # noqa: B008 - immutable
    branch: str = "main",
) -> str:
    """Return the example `text` for one agent, persona and test set. What has no id stays a variable."""
    text = _from_origin(on_branch(text, branch), origin)
    for choice in choices:
        if choice.id:
            name = re.escape(choice.variable)
            text = re.sub(rf'"\$\$?\(?{name}\)?"|\$\{{\{{ vars\.{name} \}}\}}', f'"{choice.id}"', text)
    if proposal.max_failed:
        text = MAX_FAILED.sub(rf'\g<1>"{proposal.max_failed}"', text)
    is_new = bool(proposal.max_failed) and not MAX_FAILED.search(text)
    allowed = {"max_failed_simulations": proposal.max_failed} if is_new else {}

    def inputs(block: re.Match[str]) -> str:
        lines = [*_inputs(allowed), "thresholds: |", *(f"  {line}" for line in proposal.lines)]
        return _indented(block[1], lines)

    def flags(block: re.Match[str]) -> str:
        lines = [*_flags({**connection, **allowed}), *(f"--threshold '{line}'" for line in proposal.lines)]
        return "".join(f"{block[1]}{line}{block[2] or ''}\n" for line in lines)

    text = FLAG_LINES.sub(flags, INPUT_LINE.sub(inputs, text))
    return _with_head(_connected(text, connection), choices)


def fill_in_legs(
    text: str, choices: Sequence[Choice], connection: Mapping[str, str], config_path: str, origin: Installation
) -> str:
    """Return the example `text` of a step that reads its legs from a file. `choices`: what the file does not know."""
    read = [f"{choice.kind.input}: ${{{{ vars.{choice.variable} }}}}" for choice in choices if not choice.id]
    text = CONFIG_LINE.sub(
        lambda line: _indented(line[1], [f"config_path: {config_path}", *read]), _from_origin(text, origin)
    )
    text = INPUT_LINE.sub("", text)  # each leg has its own
    return _with_head(_connected(text.replace(f" {FILE_NAME}", f" {config_path}"), connection), choices)


def config_file(workflow: str, choices: Sequence[Choice], legs: Sequence[FileLeg]) -> str:
    """`choices`: what the legs have in common."""
    lines = [
        f"# The legs of {workflow}: each is a run of its own, with its own thresholds.",
        "# To add a leg, copy one, rename it, and set what differs: agent_id, persona_id or test_set_id.",
        *_named("#", choices),
        *_inputs({choice.kind.input: choice.id for choice in choices if choice.id}),
        "legs:",
    ]
    for leg in legs:
        allowed = {"max_failed_simulations": leg.proposal.max_failed} if leg.proposal.max_failed else {}
        own = [*_inputs({**leg.ids, **allowed}), "thresholds: |", *(f"  {line}" for line in leg.proposal.lines)]
        lines += [f'  "{leg.name}":', *(f"    {line}" for line in own)]
    return "".join(f"{line}\n" for line in lines)


def _from_origin(text: str, origin: Installation) -> str:
    """Without a commit, keep the published version. A release's requirements are locked by hash: keep them, too."""
    if origin.commit:
        home, repository = f"{origin.server}/{origin.repository}", origin.repository
        text = ADDRESS.sub(rf"{home}\g<1>{origin.commit}", text)
        text = USES.sub(f"{repository}@{origin.commit} # v{__version__}", text)
        if not IS_RELEASE:
            text = LOCKED.sub(
                lambda lock: f'"coval-gate{f"[{lock[1]}]" if lock[1] else ""} @ git+{home}@{origin.commit}"', text
            )
    return PAGES.sub(f"{origin.server}/{origin.repository}/blob/HEAD/", text)


def on_branch(text: str, branch: str) -> str:
    """Return an example's text, or a Starter's, for the default branch."""
    return re.sub(r"\bmain\b(?!\.\w)", branch, text)


def _connected(text: str, connection: Mapping[str, str]) -> str:
    """Add the settings of the connection to each step and command that has no thresholds to stand above."""
    text = KEY_LINE.sub(lambda line: line[0] + _indented(line[1], _inputs(connection)), text)
    return OTHER_COMMANDS.sub(lambda command: " ".join([command[0], *_flags(connection)]), text)


def _with_head(text: str, choices: Sequence[Choice]) -> str:
    """Name what was chosen in the first comment, and the variables that are left."""
    text = text.replace("what pull-request.yml needs", f"the secret {KEY}", 1)
    missing = in_words([choice.variable for choice in choices if not choice.id])

    def head(mark: str, place: str) -> str:
        reads = [f"{mark} It reads {missing} from {place}"] if missing else []
        return _indented("", [*_named(mark, choices), *reads])

    if READS.search(text):
        return READS.sub(lambda reads: head(reads[1], reads[2].rstrip("\n")), text)
    return HEAD_END.sub("\n" + head("#", "the repository's variables.") + "\n", text, count=1)


def _named(mark: str, choices: Sequence[Choice]) -> list[str]:
    names = [(choice.kind.noun, plain(choice.name)) for choice in choices if choice.id]
    return [f"{mark} {noun.capitalize()}: {name}" for noun, name in names if name]


def _indented(indent: str, lines: Iterable[str]) -> str:
    return "".join(f"{indent}{line}\n" for line in lines)


def _inputs(settings: Mapping[str, str]) -> list[str]:
    return [f'{name}: "{value}"' for name, value in settings.items()]


def _flags(settings: Mapping[str, str]) -> list[str]:
    return [f"{flag_of(name)} {value}" for name, value in settings.items()]


class Starter(NamedTuple):
    """A system with its first workflow, or another workflow of GitHub.

    `word` names the system on the command line, and `example` the file in examples/. `path`: where it goes.
    `directory`: what shows that the system is used, if not `path`. `hosts`: parts of the names of hosts where it is
    built in. `beside`: the file to write if `path` exists; empty if the system reads any number of files. `join`: how
    the user makes the file beside part of the other. `secret`: where the API key goes. `starts`: what starts the
    check. `against`: what the thresholds compare with, if anything. `preview`: whether it needs a second agent.
    `has_legs`: whether a configuration file lists its legs. `remains`: what only the user knows.
    """

    word: str
    name: str
    example: str
    path: str
    secret: str
    directory: str = ""
    hosts: tuple[str, ...] = ()
    beside: str = ""
    join: str = ""
    starts: str = "open a pull request: the gate evaluates the agent there"
    against: str = ""
    preview: bool = False
    has_legs: bool = False
    remains: str = ""

    @property
    def mark(self) -> str:
        return self.directory or self.path


GITHUB: Final = Starter(
    word="github",
    name="GitHub Actions",
    example="pull-request.yml",
    path=".github/workflows/voice-gate.yml",
    directory=".github/workflows",
    secret=f"to the repository's secrets as {KEY}: Settings, Secrets and variables, Actions",
    hosts=("github",),
)
# In the order in which they are found by their files.
STARTERS: Final = (
    GITHUB,
    Starter(
        word="gitlab",
        name="GitLab CI/CD",
        example="ci/gitlab-ci.yml",
        path=".gitlab-ci.yml",
        secret=f"to the project's CI/CD variables as {KEY}, masked: Settings, CI/CD, Variables",
        hosts=("gitlab",),
        beside=".gitlab/voice-gate.yml",
        join="Add `include: .gitlab/voice-gate.yml` to .gitlab-ci.yml; its stages must include test.",
        starts="open a merge request: the gate evaluates the agent there",
    ),
    Starter(
        word="bitbucket",
        name="Bitbucket Pipelines",
        example="ci/bitbucket-pipelines.yml",
        path="bitbucket-pipelines.yml",
        secret=f"to the repository's variables as {KEY}, secured: Repository settings, Repository variables",
        hosts=("bitbucket",),
        beside="bitbucket-pipelines.voice-gate.yml",
        join="Bitbucket reads one file only: copy the step and its pipelines into bitbucket-pipelines.yml.",
    ),
    Starter(
        word="circleci",
        name="CircleCI",
        example="ci/circleci.yml",
        path=".circleci/config.yml",
        secret=f'to the context "coval" as {KEY}: Organization settings, Contexts',
        beside=".circleci/voice-gate.yml",
        join="CircleCI reads one file only: copy the job and its workflow into .circleci/config.yml.",
    ),
    Starter(
        word="buildkite",
        name="Buildkite",
        example="ci/buildkite.yml",
        path=".buildkite/pipeline.yml",
        directory=".buildkite",
        secret=f"to the cluster's secrets as {KEY}",
        beside=".buildkite/voice-gate.yml",
        join="Add a step with `command: buildkite-agent pipeline upload .buildkite/voice-gate.yml` to your pipeline.",
    ),
    Starter(
        word="jenkins",
        name="Jenkins",
        example="ci/Jenkinsfile",
        path="Jenkinsfile",
        secret="to Jenkins's credentials as a secret text with the id coval-api-key",  # noqa: S106
        beside="Jenkinsfile.voice-gate",
        join="In Jenkins, create a multibranch pipeline with the script path Jenkinsfile.voice-gate.",
    ),
    Starter(
        word="azure",
        name="Azure Pipelines",
        example="ci/azure-pipelines.yml",
        path="azure-pipelines.yml",
        secret=f"to the pipeline's variables as {KEY}, secret: Edit, Variables",
        hosts=("dev.azure.com", "visualstudio.com"),
        beside="azure-pipelines.voice-gate.yml",
        join="In Azure Pipelines, create a pipeline from the existing file azure-pipelines.voice-gate.yml.",
    ),
)
SYSTEM_WORDS: Final = tuple(starter.word for starter in STARTERS)
FIRST_WORKFLOW: Final = "pull-request"
# GitHub's workflows, by the words of the command line.
WORKFLOWS: Final[Mapping[str, Starter]] = {
    FIRST_WORKFLOW: GITHUB,
    "nightly": GITHUB._replace(
        example="nightly.yml",
        path=".github/workflows/voice-gate-nightly.yml",
        against="baseline",
        starts="push to main: the first seven runs there become the baseline",
    ),
    "preview": GITHUB._replace(
        example="preview.yml",
        path=".github/workflows/voice-gate-preview.yml",
        against="base",
        preview=True,
        remains='In the step "Deploy the preview", write the command that deploys your preview.',
    ),
    "legs": GITHUB._replace(example="legs.yml", path=".github/workflows/voice-gate-legs.yml", has_legs=True),
    "own-build": GITHUB._replace(
        example="own-build.yml",
        path=".github/workflows/voice-gate-own-build.yml",
        remains="Write how your agent is installed, and replace agent:answer with its module and handler.",
    ),
}


def starter_for(word: str, used: Sequence[Starter], host: str) -> tuple[Starter, str]:
    """Return the system, and how it was found, as the end of a sentence.

    `word`: the user's choice, or empty. Of several systems in use, take the one of the `host` of origin, else the
    first.
    """
    if word:
        return next(starter for starter in STARTERS if starter.word == word), "as --system says"
    host_starters = [starter for starter in STARTERS if any(part in host.lower() for part in starter.hosts)]
    chosen = next((starter for starter in used if starter in host_starters), None) or next(iter(used), None)
    if chosen:
        others = ", ".join(starter.name for starter in used if starter is not chosen)
        more = f"; there are also files of {others}, which --system selects" if others else ""
        return chosen, f"found by {chosen.mark}{more}"
    if host_starters:
        return host_starters[0], f"found by origin's host, {host}"
    return STARTERS[0], "assumed, because neither files nor origin name another; --system selects one"
