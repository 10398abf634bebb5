import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coval_planner import tables
from coval_planner.__main__ import main, split_entries

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planning.md"
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


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", []),
        ("Resolved: rate(YES) >= 90%", ["Resolved: rate(YES) >= 90%"]),
        (' "Tone: friendly": avg >= 4 --truth 4.2 ', ['"Tone: friendly": avg >= 4', "--truth", "4.2"]),
        ("pass_rate >= $(id) --count '20' --icc 0", ["pass_rate >= $(id)", "--count", "20", "--icc", "0"]),
        ("--help", ["--help"]),
    ],
)
def test_threshold_in_make_plan_ends_before_the_options(text: str, arguments: list[str]) -> None:
    assert split_entries(text) == arguments


def block(name: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"<!-- begin {name} -->\n\n")[2].partition(f"\n\n<!-- end {name} -->")[0]


def test_page_has_rows_of_rates_that_are_simulated() -> None:
    """scripts/render.py writes the other tables; this one takes a minute."""
    lines = block("rates").splitlines()
    assert len(lines) == 2 + len(tables.BEFORE)
    (shown,) = tables.rates((0.99,), (0.3,)).splitlines()[2:]
    assert lines[2].startswith("| 99% | ")
    assert lines[2].endswith(shown.removeprefix("| 99%"))


def test_page_shows_what_the_planner_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (sample,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    first, *_, last = re.findall(r'make plan INPUTS="(.*)"', text)
    main(split_entries(first))
    assert capsys.readouterr().out.endswith(sample)
    main(split_entries(last))
    assert "to fail with a chance of 80%" in capsys.readouterr().out


@pytest.mark.long
def test_planner_without_threshold_shows_all_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    shown = capsys.readouterr().out
    assert all(block(name) in shown for name in ("passing", "averages", "rates"))
