from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from coval_planner.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

PLANS = (
    ["Resolved: rate(YES) >= 90%"],
    ["Resolved: rate(YES) >= 90%", "--confidence", "97.5%", "--truth", "97%", "--count", "120"],
    ["Rude: rate(YES) <= 2%", "--truth", "1%"],
    ["Latency: p(95) < 1.5"],
    ["Tone: p(10) >= 3", "--count", "1"],
    ["pass_rate >= 100%"],
    ["Latency: avg < 1.2"],
    ["Latency: max < 5"],
    ["Resolved: rate(YES) == 100%"],
    ["Rude: count(YES) == 0"],
    ["Resolved: rate(YES) >= baseline - 5pp", "--before", "95%", "--truth", "70%"],
    ["Latency: avg <= baseline * 1.1", "--before", "1.2", "--truth", "1.2", "--spread", "0.6", "--icc", "0"],
    ["Latency: avg <= baseline * 1.1", "--before", "1.2", "--truth", "1.56", "--spread", "0.6"],
    ["Rude: rate(YES) <= baseline - 10pp", "--before", "50%", "--truth", "5%", "--count", "20"],
    ["Resolved: rate(YES) >= baseline - 5pp"],
    ["Latency: avg <= baseline", "--before", "1.2", "--truth", "1.3"],
    ["Latency: p(95) <= baseline"],
    ["Resolved: rate(YES) >= baseline - 5pp", "--before", "95%", "--truth", "90%"],
    ["Resolved: rate(YES) == baseline"],
)


@pytest.mark.long
def test_plans(capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    text = ""
    for arguments in PLANS:
        main(arguments)
        text += f"$ plan {' '.join(arguments)}\n\n{capsys.readouterr().out}\n\n"
    golden("plans.txt", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Resolved: rate(YES) >> 90%"], "expected"),
        ([""], "expected one threshold, got 0"),
        (["pass_rate >= 90%\npass_rate >= 80%"], "expected one threshold, got 2"),
        (["pass_rate >= 90%", "--confidence", "95"], 'must be a percentage from 60% to 99.9%; got "95". Write 95%.'),
        (["pass_rate >= 90%", "--confidence", "50%"], 'must be a percentage from 60% to 99.9%; got "50%".'),
        (["pass_rate >= 90%", "--confidence", "100%"], 'must be a percentage from 60% to 99.9%; got "100%".'),
        (["pass_rate >= 90%", "--truth", "nan"], "must be a share such as 95% or 0.95, or a number; got 'nan'"),
        (["pass_rate >= 90%", "--truth", "95"], "must be a share such as 95% or 0.95; got 95"),
        (["pass_rate >= baseline", "--before", "95"], "must be a share such as 95% or 0.95; got 95"),
        (["pass_rate >= 90%", "--before", "95%"], "--before and --spread need a threshold against a baseline"),
        (["pass_rate >= 90%", "--count", "0"], "must be a whole number from 1 to 100000; got '0'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coval_planner", "pass_rate >= 50%"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("pass_rate >= 50%, with a confidence of 95%\n")
