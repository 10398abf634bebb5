"""The names of environment variables with which a CI system hands out power over itself.

Code under test gets none of them: a pull request's code has no business with the token that approves it. Other secrets,
such as a model provider's key, are the user's own, and the code may need them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEMS: Final = (
    "GITHUB",
    "GH",
    "GITEA",
    "FORGEJO",
    "RUNNER",
    "GITLAB",
    "CI",
    "BITBUCKET",
    "CIRCLE",
    "BUILDKITE",
    "SYSTEM",  # Azure Pipelines
    "TRAVIS",
    "DRONE",
)
WITHHELD: Final = re.compile(
    rf"(?:{'|'.join(SYSTEMS)})_(?:.*_)?(?:ACCESS)?(?:TOKEN|PASSWORD|JWT|SECRET|PAT)(?:_.*)?"
    r"|ACTIONS_.*"  # of GitHub's runner: the tokens for caches, artifacts and OpenID Connect
    r"|INPUT_.*"  # of a step, with its token
    r"|GITHUB_(?:ENV|PATH|OUTPUT|STATE|STEP_SUMMARY)"  # files by which a step acts on later ones
    r"|CI_JOB_JWT.*|CI_REPOSITORY_URL|PRIVATE_TOKEN"  # the URL contains a token
    r"|COVAL_API_KEY"
)


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not WITHHELD.fullmatch(name.upper())}
