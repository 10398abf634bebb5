"""What has to hold after every play, seen from outside: one function for each promise.

None of them knows how the road works inside; they look at what Coval received and has, and at what was written.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from campaign.truth import has_data, is_good
from coval_gate.report.formats.outputs import OUTPUTS
from support import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from campaign.play import Played, Taken
    from campaign.wire import Sent
    from coval_sandbox.state import RunRecord

VERDICTS: Final = ("passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped", "")
GREEN: Final = ("passed", "skipped", "")
LATE: Final = 40.0  # s after the deadline: for calls that are under way at it, and those that a finished run takes
TO_END: Final = 6.0  # s from the signal to the end of the process
HIDDEN: Final = 50.0  # s for which Coval may hide a new run from the post step, which has to wait for it then
TO_CANCEL: Final = 25.0  # s that the mode cancel keeps trying, at the least
POST_TIME: Final = 120.0  # s for the post step
RACE: Final = 3.0  # s between a look and the DELETE that it allows; a run may end in between
MOST_LOST: Final = 3  # launches
LAST: Final = 5  # requests, of which the last look at the run is one
BUDGETS: Final = re.compile("max_wait_time|max_queue_time|stall_timeout")


class Violation(NamedTuple):
    """A promise that was broken, and how."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


def violations(played: Played) -> list[Violation]:
    """Every promise that a play broke."""
    return [Violation(promise.__name__, what) for promise in PROMISES for what in promise(played)]


def launched_once(played: Played) -> Iterator[str]:
    """One step launches one run, or none and says why."""
    for taken in played.taken:
        created = sum(each not in played.deleted for each in taken.created)
        may_launch = not taken.is_post and taken.step.mode in ("run", "launch")
        if created > (1 if may_launch else 0):
            yield f"{_name(taken)} launched {created} runs"
        if may_launch and not taken.created and taken.killed is None:
            joined = taken.run_id and taken.run_id in _earlier(played, taken)
            told = not _troubled(taken, "output")
            if not joined and told and taken.verdict not in ("error", "cancelled", "skipped"):
                yield f"{_name(taken)} launched no run, and yet its verdict is {taken.verdict!r}"


def right_run(played: Played) -> Iterator[str]:
    """The run that a step names is its own, or one that it may take over; a stranger's never."""
    for taken in _mains(played):
        if not taken.run_id or taken.step.mode not in ("run", "launch"):
            continue
        if taken.run_id in taken.created:
            continue
        record = played.runs.get(taken.run_id)
        if record is None:
            yield f"{_name(taken)} names the run {taken.run_id}, which does not exist"
        elif taken.run_id not in _earlier(played, taken):
            yield f"{_name(taken)} took over a run of somebody else"
        elif not taken.step.flag("resume") or taken.step.attempt < 2:
            yield f"{_name(taken)} took over an earlier run, though it may not"
        elif record.finished(played.coval_time(taken.began)):
            yield f"{_name(taken)} took over a run that had ended"


def resumed(played: Played) -> Iterator[str]:
    """A later attempt launches nothing while the run of the earlier one is unfinished."""
    for taken in _mains(played):
        if taken.step.attempt < 2 or not taken.step.flag("resume") or not taken.created:
            continue
        launched_at = played.runs[taken.created[0]].create_time
        for run_id in _earlier(played, taken):
            record = played.runs[run_id]
            listed = record.create_time + played.schedule.quirks.list_lag < played.coval_time(taken.began)
            asked = tuple(each for each in taken.sent if (each.method, each.path) == ("GET", "/runs"))
            # Without the event, nobody can tell that both are about the same pull request.
            told = not any(_troubled(each, "event") for each in _mains(played))
            if not record.finished(launched_at) and listed and told and not _hindered(asked):
                yield f"{_name(taken)} launched a second run while that of attempt 1 was unfinished"


def superseded(played: Played) -> Iterator[str]:
    """With `supersede`, the older runs of the same line are ended, otherwise they are left alone."""
    for taken in _mains(played):
        if played.schedule.story != "supersede" or taken.number == 0:
            continue
        for older in (each for each in played.taken if each.number == 0 and not each.is_post):
            for run_id in older.created:
                record, now = played.runs[run_id], played.coval_time(played.ended)
                listed = record.create_time + played.schedule.quirks.list_lag < played.coval_time(taken.began)
                wanted = taken.step.flag("supersede") and taken.verdict in ("passed", "failed", "timed_out")
                if wanted and listed and not record.finished(now) and not _hindered(taken.sent):
                    yield f"{_name(taken)} left the older run unfinished, though it supersedes it"


def ended_only_ours(played: Played) -> Iterator[str]:
    """Nobody ends a run that it has nothing to do with."""
    for taken in played.taken:
        allowed = {*_of_job(played, taken), taken.given_run}
        if taken.step.flag("supersede") or taken.step.attempt > 1:
            allowed |= set(_earlier(played, taken))
        for sent in taken.sent:
            if sent.method == "DELETE" and sent.path.rpartition("/")[2] not in allowed:
                yield f"{_name(taken)} ended the run {sent.path.rpartition('/')[2]}, which is none of its own"


def no_orphan(played: Played) -> Iterator[str]:
    """No unfinished run is left where the settings say so, unless Coval refused to the last to end it."""
    now = played.coval_time(played.ended)
    for taken in _mains(played):
        if taken.step.mode not in ("run", "wait") or not _has_to_end(taken):
            continue
        for run_id in {*taken.created, *([taken.run_id] if taken.run_id in played.runs else [])}:
            record = played.runs[run_id]
            if not record.finished(now) and run_id not in played.deleted and not _excused(played, taken, record):
                yield f"{_name(taken)} left its run {run_id} unfinished"


def finished_stay(played: Played) -> Iterator[str]:
    """A finished run is never deleted."""
    for record in played.runs.values():
        if record.delete_time is None or record.run_id in played.deleted:
            continue
        if not any(_raced(played, taken, record) for taken in played.taken):
            yield f"the run {record.run_id} had ended, and was deleted"


def left_alone(played: Played) -> Iterator[str]:
    """A run is ended for a reason: an interrupt, a kill, a timeout that asks for it, somebody who supersedes it."""
    for taken in played.taken:
        ends = [each for each in taken.sent if each.method == "DELETE"]
        # An interrupt that finds a step as it ends a run that has timed out changes nothing any more.
        if taken.signalled is not None and taken.step.flag("cancel_on_timeout"):
            continue
        if ends and not _may_end(played, taken):
            yield f"{_name(taken)} ended a run without a reason"


def no_pass_without_data(played: Played) -> Iterator[str]:
    """Green means that the run completed, met the gate, and that all data for that were there."""
    schedule = played.schedule
    for taken in _mains(played):
        if taken.verdict != "passed":
            continue
        record = played.runs.get(taken.run_id)
        if record is None:
            yield f"{_name(taken)} passed without a run"
        elif not is_good(record, schedule.gate, schedule.quirks, played.coval_time(taken.ended)):
            yield f"{_name(taken)} passed, though the run was not good"


def right_verdict(played: Played) -> Iterator[str]:
    """Where nothing lasting happens, the verdict is that of the run."""
    schedule = played.schedule
    if not schedule.calm:
        return
    for taken in _mains(played):
        record = played.runs.get(taken.given_run)
        asked = record is not None and taken.step.mode == "cancel" and not _gave_up(taken)
        ended = record is None or record.finished(played.coval_time(taken.ended))
        if asked and (taken.exit_code != 0 or not ended):
            yield f"{_name(taken)} was to end a run, and did not"
        wanted = _wanted(played, taken)
        if wanted is not None and taken.verdict not in wanted:
            yield f"{_name(taken)} has the verdict {taken.verdict!r} instead of {' or '.join(map(repr, wanted))}"


def not_late(played: Played) -> Iterator[str]:
    """A step that says that time ran out before the run ended has looked at it just then."""
    for taken in _mains(played):
        record = played.runs.get(taken.run_id)
        still = taken.verdict == "timed_out" and "had completed" not in taken.outputs["reason"]
        if record is None or not still or _hindered(taken.sent[-LAST:]) or taken.run_id in played.deleted:
            continue
        looked = played.coval_time(taken.ended - LAST * played.schedule.latency - 1)
        if record.create_time + record.plan.end < looked:
            yield f"{_name(taken)} timed out, though the run had ended before"


def told_why(played: Played) -> Iterator[str]:
    """A timeout names the budget; a cancelled step was told to end, or its run was cancelled."""
    for taken in _mains(played):
        reason = taken.outputs.get("reason", "") if taken.verdict else ""
        if taken.verdict == "timed_out" and not BUDGETS.search(reason):
            yield f"{_name(taken)} timed out, and does not say by which budget: {reason}"
        written = taken.verdict and not _troubled(taken, "output")
        if taken.signalled is not None and written and taken.verdict != "cancelled":
            yield f"{_name(taken)} was told to end, and yet its verdict is {taken.verdict!r}"
        if taken.verdict == "cancelled" and taken.signalled is None and taken.step.mode != "cancel":
            record = played.runs.get(taken.run_id)
            ended = record and record.finished(played.coval_time(taken.ended))
            if not ended and taken.run_id not in played.deleted:
                yield f"{_name(taken)} is cancelled, though nobody cancelled anything"


def complete(played: Played) -> Iterator[str]:
    """Outputs, summary and files exist on every path and can be read; the exit code agrees with the verdict."""
    for taken in _mains(played):
        name, trouble = _name(taken), taken.step.trouble
        try:
            outputs = taken.outputs
        except (ValueError, KeyError) as error:
            if not (trouble and trouble.file == "output" and isinstance(error, KeyError)):
                yield f"{name} wrote outputs that cannot be read: {error!r}"
            continue
        if taken.killed is not None:
            yield from _known_when_killed(taken, outputs)
            continue
        if trouble and trouble.file == "output":
            if taken.exit_code == 0 and trouble.at == 0 and trouble.what != "missing":
                yield f"{name} is green without outputs"
            continue
        if list(outputs) != list(OUTPUTS):
            yield f"{name} lacks outputs: {sorted(set(OUTPUTS) - set(outputs))}"
            continue
        yield from (f"{name} {what}" for what in _consistent(taken, outputs))
        yield from (f"{name} {what}" for what in _papers(taken, outputs))


def no_secret(played: Played) -> Iterator[str]:
    """The API key is in nothing that was written or, but for its header, sent."""
    for taken in played.taken:
        log = "\n".join(line for line in taken.log.splitlines() if not line.startswith("::add-mask::"))
        written = {"the log": log.encode(), **taken.files}
        sent = {f"{each.method} {each.path}": f"{each.path}{each.query}".encode() + each.body for each in taken.sent}
        for place, content in (written | sent).items():
            if KEY.encode() in content:
                yield f"{_name(taken)} put the API key into {place}"


def in_time(played: Played) -> Iterator[str]:
    """The deadline is kept, an interrupt is obeyed at once, and the post step does not take for ever."""
    for taken in played.taken:
        if taken.crash:
            yield f"{_name(taken)} crashed: {taken.crash.strip().splitlines()[-1]}"
        if taken.deaf:
            yield f"{_name(taken)} did not notice a signal while it waited for an answer"
        if taken.signalled is not None:
            end = taken.killed if taken.killed is not None else taken.ended
            if end - taken.signalled > TO_END:
                yield f"{_name(taken)} took {end - taken.signalled:.1f} s to end after it was told to"
        elif taken.is_post:
            if taken.ended - taken.began > POST_TIME:
                yield f"{_name(taken)} took {taken.ended - taken.began:.0f} s"
        elif taken.killed is None and taken.ended - taken.began > float(taken.step.given["max_wait_time"]) + LATE:
            yield f"{_name(taken)} took {taken.ended - taken.began:.0f} s"


def post_is_quiet(played: Played) -> Iterator[str]:
    """The post step never fails the job, and sends nothing where the main step concluded with its run ended."""
    for taken in (each for each in played.taken if each.is_post):
        main = _main_of(played, taken)
        if taken.exit_code not in (0, None):
            yield f"{_name(taken)} failed"
        concluded = main.killed is None and main.signalled is None and main.verdict in ("passed", "failed", "skipped")
        if taken.sent and (concluded or (main.step.mode == "launch" and main.killed is None and main.exit_code == 0)):
            yield f"{_name(taken)} called Coval, though the main step had concluded"


PROMISES: Final[tuple[Callable[[Played], Iterator[str]], ...]] = (
    launched_once,
    right_run,
    resumed,
    superseded,
    ended_only_ours,
    no_orphan,
    finished_stay,
    left_alone,
    no_pass_without_data,
    right_verdict,
    not_late,
    told_why,
    complete,
    no_secret,
    in_time,
    post_is_quiet,
)


def _name(taken: Taken) -> str:
    return f"{'post step of ' if taken.is_post else ''}step {taken.number} ({taken.step.mode})"


def _mains(played: Played) -> Iterator[Taken]:
    return (each for each in played.taken if not each.is_post)


def _main_of(played: Played, post: Taken) -> Taken:
    return next(each for each in _mains(played) if each.number == post.number)


def _post_of(played: Played, main: Taken) -> Taken | None:
    return next((each for each in played.taken if each.is_post and each.number == main.number), None)


def _earlier(played: Played, taken: Taken) -> list[str]:
    """The runs that earlier steps launched."""
    return [run_id for each in _mains(played) if each.number < taken.number for run_id in each.created]


def _of_job(played: Played, taken: Taken) -> tuple[str, ...]:
    """The runs that the process and its main part launched."""
    return tuple(run_id for each in _mains(played) if each.number == taken.number for run_id in each.created)


def _troubled(taken: Taken, file: str) -> bool:
    """Whether something is wrong with a file of the runner, from some moment on."""
    return taken.step.trouble is not None and taken.step.trouble.file == file


def _has_to_end(taken: Taken) -> bool:
    """Whether the step's run must not outlive it."""
    if taken.verdict == "timed_out":
        return taken.step.flag("cancel_on_timeout")
    told = taken.killed is not None or (taken.signalled is not None and taken.verdict == "cancelled")
    return told and taken.step.flag("cancel_on_interrupt")


def _may_end(played: Played, taken: Taken) -> bool:
    main = _main_of(played, taken)
    step = main.step
    told = (main.killed is not None or main.signalled is not None) and step.flag("cancel_on_interrupt")
    late = main.ended - main.began >= float(step.given["max_wait_time"]) or main.verdict == "timed_out"
    late = late and step.flag("cancel_on_timeout")
    failed = main.verdict in ("", "error") and main.exit_code != 0
    unheard = taken.is_post and _troubled(main, "state")  # the main part could not say that there is nothing to do
    return told or late or failed or unheard or step.mode == "cancel" or step.flag("supersede")


def _gave_up(taken: Taken) -> bool:
    """Whether a step that ends runs was told that there is no such run, or was hindered for as long as it tries."""
    if any(each.status == HTTPStatus.NOT_FOUND for each in taken.sent):
        return True
    return taken.ended - taken.began >= TO_CANCEL and _hindered(taken.sent[-1:])


def _excused(played: Played, main: Taken, record: RunRecord) -> bool:
    """Whether nobody could have ended the run."""
    post = _post_of(played, main)
    if post is None:
        if main.killed is not None:
            return True  # nobody was left to do it
        since = main.signalled if main.signalled is not None else main.ended - LATE
        tried = tuple(each for each in main.sent if each.at >= since)
        end = main.ended
    else:
        tried, end = post.sent, post.ended
        if post.signalled is not None or post.killed is not None:
            return True
        if _troubled(main, "state"):
            return True  # nobody told the post step
    quirks = played.schedule.quirks
    known = any(each.created == record.run_id and each.told for each in main.sent)
    hidden = max(quirks.not_found_after_launch, 0.0 if known else quirks.list_lag)
    patient = post is not None and hidden < HIDDEN
    if not patient and record.create_time + hidden > played.coval_time(end) - 1:
        return True
    denied = any(each.met == "404" and record.run_id in each.path for each in main.sent + tried)
    return denied or _hindered(tried[-3:])


def _hindered(sent: tuple[Sent, ...]) -> bool:
    """Whether any of these requests met a fault, or a key that was revoked."""
    return any(each.met or each.status in (401, 403) for each in sent)


def _raced(played: Played, taken: Taken, record: RunRecord) -> bool:
    """Whether the run ended in the moment between a look at it and the DELETE."""
    end = record.end_time - played.coval_time(0.0)
    for look, then in pairwise(taken.sent):
        if then.method == "DELETE" and then.path.endswith(record.run_id) and then.effect and look.method == "GET":
            return look.told and look.at <= end and then.at - look.at < RACE
    return False


def _wanted(played: Played, taken: Taken) -> tuple[str, ...] | None:
    """The verdicts that a calm play may have."""
    schedule, record = played.schedule, played.runs.get(taken.run_id)
    # Three launches without an answer are all that anybody can ask for.
    untold = sum(each.method == "POST" and not each.told for each in taken.sent)
    lost = untold >= (1 if schedule.stranger == "bare" else MOST_LOST)  # a bare run could be ours
    if taken.step.mode == "cancel" or (taken.step.mode == "wait" and not taken.given_run) or lost:
        return None
    if taken.step.mode == "launch":
        return ("",)
    if record is None:
        return ("passed", "failed")
    now = played.coval_time(taken.ended)
    if not record.finished(now):
        return ("passed", "failed")
    if record.status(now) != "COMPLETED":
        return {"FAILED": ("failed",), "ERROR": ("error",)}.get(record.status(now), ("cancelled",))
    if is_good(record, schedule.gate, schedule.quirks, now):
        return ("passed",)
    return ("failed",) if has_data(record, schedule.gate, schedule.quirks, now) else ("error", "failed")


def _known_when_killed(taken: Taken, outputs: dict[str, str]) -> Iterator[str]:
    """What a killed step has written by then: the run, once Coval had answered."""
    if taken.step.trouble:
        return
    for sent in taken.sent:
        known = sent.created and sent.told and taken.killed is not None and taken.killed > sent.landed
        if known and outputs.get("run_id") != sent.created:
            yield f"{_name(taken)} was killed and had not told of its run {sent.created}"


def _consistent(taken: Taken, outputs: dict[str, str]) -> Iterator[str]:
    verdict, status = outputs["verdict"], outputs["status"]
    if verdict not in VERDICTS or (verdict == "" and status != "LAUNCHED" and taken.step.mode != "cancel"):
        yield f"has the verdict {verdict!r} with the status {status!r}"
    if outputs["passed"] != ("true" if verdict == "passed" else "false"):
        yield f"says passed={outputs['passed']} with the verdict {verdict!r}"
    if taken.step.mode != "cancel" and taken.exit_code != (0 if verdict in GREEN else 1):
        yield f"exits with {taken.exit_code} and the verdict {verdict!r}"
    if not outputs["reason"]:
        yield "gives no reason"
    for name in ("failed_simulations", "metric_failures", "metrics"):
        if outputs[name]:
            try:
                json.loads(outputs[name])
            except ValueError:
                yield f"has no JSON in {name}: {outputs[name][:80]}"


def _papers(taken: Taken, outputs: dict[str, str]) -> Iterator[str]:
    """Summary, JUnit report and JSON."""
    given, trouble = taken.step.given, taken.step.trouble
    wanted = given.get("summary") != "false" and not (trouble and trouble.file == "summary")
    if wanted and not taken.files["summary.md"].startswith(b"### "):
        yield "has no summary"
    for name, parse in (("junit_path", ET.fromstring), ("json_path", json.loads)):
        path = given.get(name, "")
        if path and taken.verdict and (outputs[name] or not trouble):
            try:
                _parse(parse, taken.files[f"workspace/{path}"])
            except (KeyError, ValueError, ET.ParseError) as error:
                yield f"has no {path} that can be read: {error!r}"


def _parse(parse: Callable[[Any], object], content: bytes) -> None:
    parse(content)
