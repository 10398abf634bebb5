"""A history by hand: eight nights of two legs, with every element of it once."""

from collections.abc import Sequence
from datetime import date, timedelta

from coval_gate.features.nights.document import (
    HISTORY_VERSION,
    HistoryCase,
    HistoryCell,
    HistoryDocument,
    HistoryLeg,
    HistoryRun,
    HistoryThreshold,
    HistoryValue,
)

HOME = "https://app.coval.dev/acme"
FIRST = date(2026, 11, 23)
KNOWN_FAILURES = """\
known_failures:
  - test_case: case00000000000000000a01  # Angry caller
    metric: "Resolved"
    leg: "booking"
    reason:
    until: 2026-12-31
"""


def history_run(nth: int, **more: object) -> HistoryRun:
    day = (FIRST + timedelta(days=nth)).isoformat()
    run_id = f"run{nth:019}"
    return HistoryRun(
        **{
            "id": run_id,
            "url": f"{HOME}/runs/{run_id}",
            "day": day,
            "commit": f"{nth:x}a1b2c3",
            "commit_url": f"https://github.com/acme/agent/commit/{nth:x}a1b2c3" + "0" * 33,
            "unread": "",
            "is_baseline": False,
            "accepted": False,
            "changes": [],
            **more,
        }
    )


def threshold(text: str, values: Sequence[HistoryValue | None], **more: object) -> HistoryThreshold:
    operator, bound = text.split()[-2:]
    return HistoryThreshold(
        **{
            "text": text,
            "advisory": False,
            "variant": "",
            "unit": "share",
            "sign": "",
            "bound": float(bound.rstrip("%")) / (100 if bound.endswith("%") else 1),
            "required": f"{operator} {bound}",
            "values": list(values),
            **more,
        }
    )


def shares(of: int, *hits: int | None, bound: float) -> list[HistoryValue | None]:
    return [
        None
        if hit is None
        else HistoryValue(value=hit / of, text=f"{100 * hit / of:.3g}% ({hit} of {of})", met=hit / of >= bound)
        for hit in hits
    ]


def seconds(*numbers: float | None, below: float | None) -> list[HistoryValue | None]:
    return [
        None
        if number is None
        else HistoryValue(value=number, text=f"{number} s", met=None if below is None else number < below)
        for number in numbers
    ]


def case(nth: int, title: str, of: int, met: Sequence[int | None], **more: object) -> HistoryCase:
    """`met`: how many of its conversations met in each run; None where the run does not have it."""
    case_id = f"case{nth:018}a{nth:02}"
    cells = [
        None
        if hits is None
        else HistoryCell(conversations=of, met=hits, url=f"{HOME}/runs/run{place:019}/results/sim{nth}-{place}")
        for place, hits in enumerate(met)
    ]
    shown = [cell for cell in cells if cell]
    failed = [cell.failed for cell in shown]
    total = sum(cell.met for cell in shown)
    conversations = of * len(shown)
    return HistoryCase(
        **{
            "id": case_id,
            "title": title,
            "variant": "",
            "cells": cells,
            "runs": len(shown),
            "failed": sum(failed),
            "conversations": conversations,
            "met": total,
            "is_flipping": len(shown) >= 5 and 0.2 <= total / conversations <= 0.9,
            "known": "",
            **more,
        }
    )


def history() -> HistoryDocument:
    """Eight nights of a leg, one of them unread, with marks of each kind; and a leg without runs."""
    runs = [
        history_run(0),
        history_run(1, accepted=True),
        history_run(2, changes=["test set"]),
        history_run(3, unread="The run ended as FAILED: the agent did not answer."),
        history_run(4, changes=["version of Resolved"], commit="", commit_url=""),
        history_run(5, changes=["persona"], is_baseline=True),
        history_run(6, is_baseline=True),
        history_run(7, is_baseline=True),
    ]
    thresholds = [
        threshold("Resolved: rate(YES) >= 90%", shares(50, 48, 47, 44, None, 46, 49, 45, 43, bound=0.9)),
        threshold(
            "Latency: p(95) < 1.5",
            seconds(1.21, 1.3, 1.42, None, 1.61, 1.38, 1.35, 1.7, below=1.5),
            unit="metric",
            sign="s",
        ),
        threshold(
            "Latency: avg <= baseline * 1.1",
            seconds(0.81, 0.83, 0.9, None, 1.02, 0.88, 0.86, 1.08, below=None),
            unit="metric",
            sign="s",
            bound=None,
            required="<= baseline * 1.1",
        ),
        threshold(
            "Compliance: count(NO) == 0",
            [
                None if n is None else HistoryValue(value=n, text=f"{n} of 50", met=n == 0)
                for n in (0, 0, 1, None, 0, 0, 0, 2)
            ],
            advisory=True,
            unit="simulations",
        ),
    ]
    cases = [
        case(1, "Angry caller who wants a refund", 3, [0, 0, 0, None, 1, 0, 1, 0]),
        case(2, "Wrong number", 3, [3, 2, 1, None, 3, 0, 2, 1]),
        case(3, "Books a table for two", 3, [None, None, 3, None, 3, 3, 3, 2]),
        case(4, "Asks for the opening hours", 3, [3, 3, 3, None, 3, 3, 3, 3]),
        case(5, "Speaks over the agent", 3, [2, 1, 1, None, 1, 0, 1, 1], known="vendor ticket 4711"),
    ]
    cases.sort(key=lambda one: one.met / one.conversations)
    booking = HistoryLeg(name="booking", title="booking", runs=runs, thresholds=thresholds, cases=cases, trouble="")
    empty = HistoryLeg(
        name="refunds",
        title="refunds",
        runs=[],
        thresholds=[],
        cases=[],
        trouble="Coval lists no run of this leg of branch main.",
    )
    return HistoryDocument(
        schema_version=HISTORY_VERSION,
        title="branch main, the newest 30 runs",
        made="2026-12-01T06:00:00Z",
        legs=[booking, empty],
        known_failures=KNOWN_FAILURES,
        dashboard_url=HOME,
    )
