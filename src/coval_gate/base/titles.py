"""The titles of errors and warnings, and the page that helps with each. Each title stands only here."""

from typing import Final

import coval_gate

DOCS: Final = f"https://github.com/{coval_gate.REPOSITORY}/blob/{coval_gate.SOURCE}/docs"

# Invalid inputs; nothing was launched
INVALID_INPUT: Final = "Invalid input"
INVALID_INPUTS: Final = "Invalid inputs"

# Coval rejected a call
KEY_REJECTED: Final = "API key rejected"
PERMISSION_MISSING: Final = "Permission missing"
NOT_FOUND: Final = "Not found"
REQUEST_REJECTED: Final = "Request rejected"
WORKSPACE_MISSING: Final = "Workspace missing"
REQUEST_TOO_LARGE: Final = "Request too large"
MODEL_NOT_INCLUDED: Final = "Model not included"
PLAN_LIMIT: Final = "Plan limit reached"

# A call did not reach Coval, or got no usable response
COVAL_UNAVAILABLE: Final = "Coval unavailable"
UNEXPECTED_RESPONSE: Final = "Unexpected response"
RESPONSE_TOO_LARGE: Final = "Response too large"
REDIRECT_REJECTED: Final = "Redirect rejected"
INVALID_ADDRESS: Final = "Invalid address"
UNTRUSTED_CERTIFICATE: Final = "Certificate not trusted"
UNUSABLE_CERTIFICATES: Final = "Certificate file unusable"

# Launching and finding runs
LAUNCH_UNCERTAIN: Final = "Launch uncertain"
NOT_LAUNCHED: Final = "Not launched"
NO_TIME_LEFT: Final = "No time left"
TOO_MANY_SIMULATIONS: Final = "Too many simulations"
RUN_NOT_FOUND: Final = "Run not found"
RUN_TOO_OLD: Final = "Run too old"
RUN_UNCLEAR: Final = "Run unclear"
NOT_ACCEPTED: Final = "Not accepted"
TAGS_HIDDEN: Final = "Tags hidden"
NO_ROOM_FOR_TAG: Final = "No room for a tag"

# The verdict on a run
NO_VERDICT: Final = "No verdict"
GATE_FAILED: Final = "Gate failed"
INCONCLUSIVE: Final = "Inconclusive"
TIMED_OUT: Final = "Timed out"
RUN_ERROR: Final = "Run ended with an error"
RUN_FAILED: Final = "Run failed"
RUN_CANCELLED: Final = "Run cancelled"
RUN_ABORTED: Final = "Run aborted"
RUN_NOT_ANSWERED: Final = "Run not answered"
FLAKY: Final = "Flaky"
DOUBTFUL_CRITERION: Final = "Doubtful criterion"

# The step
CANCELLED: Final = "Cancelled"
UNFINISHED: Final = "Unfinished"
SKIPPED: Final = "Skipped"
INTERNAL_ERROR: Final = "Internal error"
RUNNER_FILE: Final = "Runner file not writable"
FILE_NOT_WRITTEN: Final = "File not written"

# The CI system; these are warnings
GITHUB_UNAVAILABLE: Final = "GitHub unavailable"
GITHUB_REJECTED: Final = "GitHub rejected the call"
GITHUB_LIMIT: Final = "GitHub rate limit"
GITHUB_TOO_LATE: Final = "Too late for GitHub"
GITLAB_UNAVAILABLE: Final = "GitLab unavailable"
GITLAB_REJECTED: Final = "GitLab rejected the call"
GITLAB_LIMIT: Final = "GitLab rate limit"
GITLAB_TOO_LATE: Final = "Too late for GitLab"
NO_BITBUCKET_REPORT: Final = "No report in Bitbucket"

# The command attach
NO_KEY: Final = "No API key"
NO_AGENT_SDK: Final = "No Agent SDK"
NO_COMMAND: Final = "No command"
NO_PROCESS: Final = "No process"
NO_AGENT: Final = "No agent to attach to"
INVALID_HANDLER: Final = "Invalid handler"
HANDLER_NOT_USABLE: Final = "Handler not usable"
LOG_NOT_WRITTEN: Final = "Log not written"
TIME_IS_OVER: Final = "Time is over"
WORKER_GONE: Final = "The worker is gone"

TITLES: Final = frozenset(text for name, text in list(globals().items()) if name.isupper() and name != "DOCS")

# Where more stands than in the error's own text; ERRORS_PAGE for all other titles
ERRORS_PAGE: Final = "when-red.md#error"
PAGES: Final = {
    INVALID_INPUT: "inputs.md",
    INVALID_INPUTS: "inputs.md",
    KEY_REJECTED: "change-the-key.md",
    PERMISSION_MISSING: "glossary.md#the-api-key",
    COVAL_UNAVAILABLE: "troubleshooting.md#coval-unavailable",
    UNEXPECTED_RESPONSE: "troubleshooting.md#coval-unavailable",
    UNTRUSTED_CERTIFICATE: "where-it-runs.md",
    UNUSABLE_CERTIFICATES: "where-it-runs.md",
    LAUNCH_UNCERTAIN: "troubleshooting.md#launch-uncertain",
    NOT_LAUNCHED: "troubleshooting.md#run-unclear",
    RUN_UNCLEAR: "troubleshooting.md#run-unclear",
    TAGS_HIDDEN: "troubleshooting.md#run-unclear",
    NO_VERDICT: "troubleshooting.md#no-verdict",
    TIMED_OUT: "when-red.md#timed-out",
    RUN_NOT_ANSWERED: "own-build.md",
}


def help_page(title: str) -> str:
    """Return the address of the page that helps; empty for a title of others."""
    return f"{DOCS}/{PAGES.get(title, ERRORS_PAGE)}" if title in TITLES else ""
