"""GitHub's hiccups: a 404 about a page that the step made is no missing permission, and a pause of a minute fits."""

from collections.abc import Callable

import pytest

from coval_sandbox.server import Server
from fake_github import REPOSITORY, TOKEN, FakeGitHub
from fake_host import Fault
from road.legs import run_post_step
from road.steps import THRESHOLDS
from road.test_check_run import checks
from road.test_commit_status import done_pages, github_with, states
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]


NAME = "Coval"
PAGES = {"commit_status": NAME, "check_run": NAME, "comment": "always", "github_token": TOKEN}
STATUS = f"POST /repos/{REPOSITORY}/statuses/*"
CHECK = f"PATCH /repos/{REPOSITORY}/check-runs/*"
COMMENT = f"PATCH /repos/{REPOSITORY}/issues/comments/*"


def run_post(result: StepResult, server: Server, github: FakeGitHub) -> str:
    """Run the post step with the inputs of the step, and return its log."""
    env = {f"INPUT_{name.upper()}": value for name, value in PAGES.items()}
    return run_post_step(result, server.world, GITHUB_API_URL=github.url, **env)


def ends(github: FakeGitHub) -> tuple[str, str | None]:
    """Return the last state of the commit's status, and the conclusion of its only check run."""
    ((*_, conclusion),) = checks(github)
    return states(github)[-1][0], conclusion


@pytest.mark.parametrize("faults", [(f"{STATUS} #2 -> 404", f"{CHECK} #1 -> 404"), (f"{CHECK} #1-3 -> 404",)])
def test_404_about_a_page_of_the_step_is_retried(
    faults: tuple[str, ...], run_step: RunStep, clock: VirtualClock
) -> None:
    with github_with(*faults, now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        assert ends(github) == ("success", "success")
        assert "permission" not in result.log
        assert run_post(result, server, github) == ""


def test_404_that_lasts_is_left_to_the_post_step(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(f"{STATUS} #2- -> 404", f"{CHECK} -> 404", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        assert ends(github) == ("pending", None)
        assert "returned 404" in result.log
        github.faults[:] = [Fault(f"{page} #1 -> 404") for page in (STATUS, CHECK)]  # and once more there
        run_post(result, server, github)
        assert ends(github) == ("success", "success")


def test_404_about_a_comment_that_was_found_is_retried(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(now=clock.time) as github:
        run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        github.faults.append(Fault(f"{COMMENT} #1 -> 404"))
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        (comment,) = github.comments[42]
        assert result.outputs["comment_url"] == comment.html_url
        assert result.outputs["run_id"] in comment.body


def test_404_about_a_page_that_was_never_made_is_a_missing_permission(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(f"{STATUS} -> 404", now=clock.time) as github:
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, commit_status=NAME, github_token=TOKEN)
        assert "`statuses: write`" in result.log
        assert done_pages(result) == ["commit_status"]
        assert clock.now() < 65


def test_pause_of_a_minute_fits_in_the_post_step(run_step: RunStep, clock: VirtualClock) -> None:
    limit = "secondary 60"
    with github_with(f"{STATUS} #2- -> {limit}", f"{CHECK} -> {limit}", now=clock.time) as github:
        result, server = run_step(env={"GITHUB_API_URL": github.url}, **PAGES)
        assert ends(github) == ("pending", None)
        github.faults[:] = [Fault(f"{STATUS} #1 -> {limit}"), Fault(f"{CHECK} #1 -> 502")]
        run_post(result, server, github)
        assert ends(github) == ("success", "success")


def test_deadline_that_cuts_off_a_retry_is_not_the_reason(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(f"GET /repos/{REPOSITORY}/issues/42/comments -> 502 Sorry", now=clock.time) as github:
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, max_wait_time="61", **PAGES)
        assert "returned 502" in result.log
        assert "was not sent" not in result.log


def test_warnings_about_all_pages_are_annotated(run_step: RunStep, clock: VirtualClock) -> None:
    with github_with(f"* /repos/{REPOSITORY}/* -> 502", now=clock.time) as github:
        bad = {"test_set_id": "failing1", "thresholds": THRESHOLDS}
        result, _ = run_step(env={"GITHUB_API_URL": github.url}, **bad, **PAGES)
        titles = [warning.properties["title"] for warning in result.annotations("warning")]
        assert len(titles) == 10, titles  # GitHub drops the rest
        assert titles[-3:] == ["Coval Gate: GitHub unavailable"] * 3
