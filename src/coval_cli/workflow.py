"""The first workflow of each CI system: which file of examples/ it is, where it goes, and how it is filled in.

Ids replace the variables that the file reads, and thresholds replace its thresholds. Other settings stand above
them. The post step gets the settings of the connection, too.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from coval_cli.proposals import Proposal, plain
from coval_gate.base.text import in_words
from coval_gate.coval.resources import Agent, Persona, Resource, TestSet
from coval_gate.inputs.inputs import KEY_VARIABLE as KEY
from coval_gate.inputs.naming import flag_of

HERE: Final = Path(__file__).resolve().parent
EXAMPLES: Final = (HERE / "examples", HERE.parents[1] / "examples")  # in an installed package; in a checkout
READS: Final = re.compile(r"^(#|//) It reads [A-Z_, and]+ from (.*\n)", re.MULTILINE)
INPUT_LINE: Final = re.compile(r"^( *)thresholds: \|\n(?:\1  .+\n)+", re.MULTILINE)
FLAG_LINES: Final = re.compile(r"(?:^( *)--threshold \".*\"( \\)?\n)+", re.MULTILINE)
POST: Final = "coval-gate post"

Candidate = Agent | Persona | TestSet


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


def read_example(name: str) -> str:
    return (next(filter(Path.is_dir, EXAMPLES)) / name).read_text(encoding="utf-8")


def fill_in(text: str, choices: Sequence[Choice], connection: Mapping[str, str], proposal: Proposal) -> str:
    """What has no id stays a variable."""
    for choice in choices:
        if choice.id:
            name = re.escape(choice.variable)
            text = re.sub(rf'"\$\$?\(?{name}\)?"|\$\{{\{{ vars\.{name} \}}\}}', f'"{choice.id}"', text)
    allowed = {"max_failed_simulations": proposal.max_failed} if proposal.max_failed else {}
    settings = {**connection, **allowed}

    def head(reads: re.Match[str]) -> str:
        mark, place = reads.groups()
        names = [(choice.kind.noun, plain(choice.name)) for choice in choices if choice.id]
        lines = [f"{mark} {noun.capitalize()}: {name}\n" for noun, name in names if name]
        missing = [choice.variable for choice in choices if not choice.id]
        return "".join([*lines, *([f"{mark} It reads {in_words(missing)} from {place}"] if missing else [])])

    def inputs(block: re.Match[str]) -> str:
        lines = [
            *(f'{name}: "{value}"' for name, value in settings.items()),
            "thresholds: |",
            *(f"  {line}" for line in proposal.lines),
        ]
        return "".join(f"{block[1]}{line}\n" for line in lines)

    def flags(block: re.Match[str]) -> str:
        lines = [*_flags(settings), *(f"--threshold '{line}'" for line in proposal.lines)]
        return "".join(f"{block[1]}{line}{block[2] or ''}\n" for line in lines)

    text = text.replace(POST, " ".join([POST, *_flags(connection)]))
    return FLAG_LINES.sub(flags, INPUT_LINE.sub(inputs, READS.sub(head, text)))


def _flags(settings: Mapping[str, str]) -> list[str]:
    return [f"{flag_of(name)} {value}" for name, value in settings.items()]


class Starter(NamedTuple):
    """`word` names it on the command line, and `example` its file in examples/. `path`: where it goes.

    `directory`: what shows its use, if not `path`. `hosts`: parts of the names of hosts where it is built in. `beside`:
    the file to write if `path` exists; empty if the system takes any number of files. `join`: how a person makes the
    file beside part of the other. `secret`: where the API key goes. `request`: what starts the check.
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
    request: str = "pull request"

    @property
    def mark(self) -> str:
        return self.directory or self.path


# In the order in which they are found by their files.
STARTERS: Final = (
    Starter(
        word="github",
        name="GitHub Actions",
        example="pull-request.yml",
        path=".github/workflows/voice-gate.yml",
        directory=".github/workflows",
        secret=f"to the repository's secrets as {KEY}: Settings, Secrets and variables, Actions",
        hosts=("github",),
    ),
    Starter(
        word="gitlab",
        name="GitLab CI/CD",
        example="ci/gitlab-ci.yml",
        path=".gitlab-ci.yml",
        secret=f"to the project's CI/CD variables as {KEY}, masked: Settings, CI/CD, Variables",
        hosts=("gitlab",),
        beside=".gitlab/voice-gate.yml",
        join="Add `include: .gitlab/voice-gate.yml` to .gitlab-ci.yml; its stages must include test.",
        request="merge request",
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
