"""The first workflow of each CI system: where its file is, what it contains, and what a person does next. Pure.

A system is a row. Its template has lines of three kinds that are filled in: `@inputs@` (all settings), `@connection@`
(those that the post step needs, too), and `@action@` or `@install@` (where the gate comes from). Settings are foreign
text in part, so `init` gives only text that is plain in every one of these files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coval_gate import REPOSITORY, __version__
from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ACTION: Final = f"{REPOSITORY}@v{__version__}"
PACKAGE: Final = f"https://github.com/{REPOSITORY}/archive/refs/tags/v{__version__}.tar.gz"
KEY: Final = "COVAL_API_KEY"
CONNECTION: Final = ("api_base_url", "workspace_id")
SLOT: Final = re.compile(r"( *)(@[a-z]+@)\n")


class Setting(NamedTuple):
    """An input of the gate, with a comment behind its value, and further comments below.

    `lines` instead of a `value` make a text of several lines.
    """

    name: str
    value: str = ""
    comment: str = ""
    below: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class Starter(NamedTuple):
    """A CI system. `word` names it on the command line.

    `marks`: files and directories that show that it is used. `hosts`: parts of the names of hosts where it is built in.
    `path`: its file. `beside`: the file to write if that one exists; empty if the system takes any number of files.
    `join`: how the file beside becomes part of the other, and `joining`: the lines for that. `secret`: where the API
    key goes. `request`: what starts the check.
    """

    word: str
    name: str
    path: str
    secret: str
    template: str
    written: Callable[[Setting], Iterable[str]]
    marks: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    beside: str = ""
    join: str = ""
    joining: tuple[str, ...] = ()
    request: str = "pull request"


def render(starter: Starter, settings: Sequence[Setting]) -> str:
    """Return the text of the first workflow."""
    connection = [setting for setting in settings if setting.name in CONNECTION]
    filled = {
        "@inputs@": [line for setting in settings for line in starter.written(setting)],
        "@connection@": [line for setting in connection for line in starter.written(setting)],
    }

    def fill(slot: re.Match[str]) -> str:
        return "".join(f"{slot[1]}{line}".rstrip() + "\n" for line in filled[slot[2]])

    template = starter.template.replace("@action@", ACTION).replace("@install@", PACKAGE)
    return SLOT.sub(fill, template)


def _yaml(setting: Setting, prefix: str = "") -> list[str]:
    """Return the lines of a setting as an entry of a YAML mapping."""
    name = f"{prefix}{setting.name.upper()}" if prefix else setting.name
    if setting.lines:
        return [f"{name}: |", *(f"  {line}" for line in setting.lines)]
    return [f'{name}: "{setting.value}"{_comment(setting, "#")}', *(f"# {line}" for line in setting.below)]


def _variable(setting: Setting) -> list[str]:
    return _yaml(setting, "INPUT_")


def _shell(setting: Setting) -> list[str]:
    """Return the lines of a setting as commands of a shell."""
    name = f"export INPUT_{setting.name.upper()}"
    if setting.lines:
        return [f"{name}='", *setting.lines, "'"]
    return [f"{name}='{setting.value}'{_comment(setting, '#')}", *(f"# {line}" for line in setting.below)]


def _groovy(setting: Setting) -> list[str]:
    """Return the lines of a setting as part of an `environment` in a declarative pipeline."""
    name = f"INPUT_{setting.name.upper()}"
    if setting.lines:
        return [f"{name} = '''", *(f"    {line}" for line in setting.lines), "'''"]
    return [f"{name} = '{setting.value}'{_comment(setting, '//')}", *(f"// {line}" for line in setting.below)]


def _comment(setting: Setting, mark: str) -> str:
    return f" {mark} {setting.comment}" if setting.comment else ""


_ACTIONS = """\
name: Voice gate

on:
  pull_request:

permissions: {}

concurrency:
  group: voice-gate-${{ github.event.pull_request.number }}
  cancel-in-progress: true # a newer commit cancels the older run, also in Coval

jobs:
  evaluate:
    name: Evaluate the agent
    runs-on: ubuntu-latest
    timeout-minutes: 70 # slightly longer than max_wait_time
    steps:
      - name: Evaluate the agent on Coval
        id: gate
        uses: @action@
        with:
          api_key: ${{ secrets.COVAL_API_KEY }}
          @inputs@
          on_missing_api_key: skip # pull requests from forks have no access to secrets
"""

_GITLAB = """\
# Evaluates the agent on Coval in each merge request, and passes or fails the job by the result.

voice-gate:
  image: python:3.13-slim
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  interruptible: true # a newer commit cancels the older pipeline, also the run in Coval
  timeout: 70 minutes # slightly longer than max_wait_time
  variables:
    @inputs@
    INPUT_JUNIT_PATH: reports/voice-gate.xml
  before_script:
    - pip install --quiet @install@
  script:
    - coval-gate run
  after_script:
    - coval-gate post # ends the run of a job that was cancelled
  artifacts:
    when: always
    reports:
      junit: reports/voice-gate.xml
"""

_BITBUCKET = """\
# Evaluates the agent on Coval in each pull request, and passes or fails the step by the result.

image: python:3.13-slim

pipelines:
  pull-requests:
    "**":
      - step:
          name: Voice gate
          max-time: 70 # minutes; slightly longer than max_wait_time
          script:
            - pip install --quiet @install@
            - |
              @inputs@
              export INPUT_JUNIT_PATH=test-results/voice-gate.xml
              coval-gate run
          after-script:
            - |
              @connection@
              coval-gate post # ends the run of a step that was stopped
"""

_CIRCLECI = """\
# Evaluates the agent on Coval, and passes or fails the job by the result.
# To run it in pull requests only, turn on "Only build pull requests" in the project's settings.

version: 2.1

jobs:
  voice-gate:
    docker:
      - image: cimg/python:3.13
    environment:
      @inputs@
      INPUT_JUNIT_PATH: reports/voice-gate.xml
    steps:
      - run:
          name: Install Coval Gate
          command: pip install --quiet @install@
      - run:
          name: Evaluate the agent on Coval
          command: coval-gate run
          no_output_timeout: 70m # slightly longer than max_wait_time
      - run:
          name: End the run of a step that was stopped
          command: coval-gate post
          when: always
      - store_test_results:
          path: reports

workflows:
  voice-gate:
    jobs:
      - voice-gate
"""

_BUILDKITE = """\
# Evaluates the agent on Coval in each pull request, and passes or fails the step by the result.

steps:
  - label: "Voice gate"
    key: voice-gate
    if: build.pull_request.id != null
    timeout_in_minutes: 70 # slightly longer than max_wait_time
    env:
      @inputs@
      INPUT_JUNIT_PATH: reports/voice-gate.xml
    commands:
      - python3 -m venv .voice-gate
      - .voice-gate/bin/pip install --quiet @install@
      - .voice-gate/bin/coval-gate run
    artifact_paths:
      - reports/voice-gate.xml
"""

_JENKINS = """\
// Evaluates the agent on Coval in each pull request, and passes or fails the build by the result.

pipeline {
    agent { docker { image 'python:3.13-slim' } }
    options { timeout(time: 70, unit: 'MINUTES') } // slightly longer than max_wait_time
    environment {
        COVAL_API_KEY = credentials('COVAL_API_KEY')
        @inputs@
        INPUT_JUNIT_PATH = 'reports/voice-gate.xml'
    }
    stages {
        stage('Voice gate') {
            when { changeRequest() }
            steps {
                sh 'python3 -m venv .voice-gate'
                sh '.voice-gate/bin/pip install --quiet @install@'
                sh '.voice-gate/bin/coval-gate run'
            }
            post {
                always {
                    sh '.voice-gate/bin/coval-gate post' // ends the run of a build that was stopped
                    junit allowEmptyResults: true, testResults: 'reports/voice-gate.xml'
                }
            }
        }
    }
}
"""

_AZURE = """\
# Evaluates the agent on Coval in each pull request, and passes or fails the job by the result.
# In Azure Repos, `pr` has no effect: add the pipeline to the branch's policies as a build validation.

trigger: none

pr:
  branches:
    include:
      - "*"

pool:
  vmImage: ubuntu-latest

jobs:
  - job: voice_gate
    displayName: Voice gate
    timeoutInMinutes: "70" # slightly longer than max_wait_time
    variables:
      @inputs@
      INPUT_JUNIT_PATH: reports/voice-gate.xml
    steps:
      - script: pip install --quiet @install@
        displayName: Install Coval Gate
      - script: coval-gate run
        displayName: Evaluate the agent on Coval
        env:
          COVAL_API_KEY: $(COVAL_API_KEY) # Azure passes a secret only where a step names it
      - script: coval-gate post
        displayName: End the run of a step that was stopped
        condition: always()
        env:
          COVAL_API_KEY: $(COVAL_API_KEY)
      - task: PublishTestResults@2
        condition: always()
        inputs:
          testResultsFiles: reports/voice-gate.xml
"""

# In the order in which they are found by their files.
STARTERS: Final = (
    Starter(
        word="github",
        name="GitHub Actions",
        path=".github/workflows/voice-gate.yml",
        secret=f"to the repository's secrets as {KEY}: Settings, Secrets and variables, Actions",
        template=_ACTIONS,
        written=_yaml,
        marks=(".github/workflows",),
        hosts=("github",),
    ),
    Starter(
        word="gitlab",
        name="GitLab CI/CD",
        path=".gitlab-ci.yml",
        beside=".gitlab/voice-gate.yml",
        join="Add these lines to .gitlab-ci.yml; its stages must include test:",
        joining=("include:", "  - local: .gitlab/voice-gate.yml"),
        secret=f"to the project's CI/CD variables as {KEY}, masked: Settings, CI/CD, Variables",
        template=_GITLAB,
        written=_variable,
        marks=(".gitlab-ci.yml",),
        hosts=("gitlab",),
        request="merge request",
    ),
    Starter(
        word="bitbucket",
        name="Bitbucket Pipelines",
        path="bitbucket-pipelines.yml",
        beside="bitbucket-pipelines.voice-gate.yml",
        join="Bitbucket reads one file only: copy the step into bitbucket-pipelines.yml, below these lines:",
        joining=("pipelines:", "  pull-requests:", '    "**":'),
        secret=f"to the repository's variables as {KEY}, secured: Repository settings, Repository variables",
        template=_BITBUCKET,
        written=_shell,
        marks=("bitbucket-pipelines.yml",),
        hosts=("bitbucket",),
    ),
    Starter(
        word="circleci",
        name="CircleCI",
        path=".circleci/config.yml",
        beside=".circleci/voice-gate.yml",
        join="Copy the job below `jobs:` of .circleci/config.yml, and name it in a workflow there:",
        joining=("workflows:", "  voice-gate:", "    jobs:", "      - voice-gate"),
        secret=f"to the project's environment variables as {KEY}: Project Settings, Environment Variables",
        template=_CIRCLECI,
        written=_variable,
        marks=(".circleci/config.yml",),
    ),
    Starter(
        word="buildkite",
        name="Buildkite",
        path=".buildkite/pipeline.yml",
        beside=".buildkite/voice-gate.yml",
        join="Add this step to the pipeline that you have:",
        joining=("- command: buildkite-agent pipeline upload .buildkite/voice-gate.yml",),
        secret=f"to the environment of the agent as {KEY}, such as in its environment hook",
        template=_BUILDKITE,
        written=_variable,
        marks=(".buildkite",),
    ),
    Starter(
        word="jenkins",
        name="Jenkins",
        path="Jenkinsfile",
        beside="Jenkinsfile.voice-gate",
        join="In Jenkins, create a multibranch pipeline with this script path:",
        joining=("Jenkinsfile.voice-gate",),
        secret=f"to Jenkins's credentials as a secret text with the id {KEY}",
        template=_JENKINS,
        written=_groovy,
        marks=("Jenkinsfile",),
    ),
    Starter(
        word="azure",
        name="Azure Pipelines",
        path="azure-pipelines.yml",
        beside="azure-pipelines.voice-gate.yml",
        join="In Azure Pipelines, create a pipeline from this existing file:",
        joining=("azure-pipelines.voice-gate.yml",),
        secret=f"to the pipeline's variables as {KEY}, secret: Edit, Variables",
        template=_AZURE,
        written=_variable,
        marks=("azure-pipelines.yml",),
        hosts=("dev.azure.com", "visualstudio.com"),
    ),
)
WORDS: Final = tuple(starter.word for starter in STARTERS)


def starter_for(word: str, used: Sequence[Starter], host: str) -> tuple[Starter, str]:
    """Return the system to write for, and how it was found, as the end of a sentence.

    `word`: the one that the user named, or empty. `used`: the systems with files in the repository. If there are
    several, the one of the `host` of origin counts, else the first.
    """
    if word:
        return next(starter for starter in STARTERS if starter.word == word), "as --system says"
    of_host = [starter for starter in STARTERS if any(part in host.lower() for part in starter.hosts)]
    chosen = next((starter for starter in used if starter in of_host), None) or next(iter(used), None)
    if chosen:
        others = ", ".join(starter.name for starter in used if starter is not chosen)
        more = f"; there are also files of {others}, which --system selects" if others else ""
        return chosen, f"found by {chosen.marks[0]}{more}"
    if of_host:
        return of_host[0], f"found by origin's host, {host}"
    return STARTERS[0], "assumed, because neither files nor origin name another; --system selects one"
