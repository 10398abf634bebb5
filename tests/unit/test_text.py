import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.text import duration, one_line, plural, stopwatch


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 01 s"), (3600, "1 h"), (3661, "1 h 01 min"), (-5, "0 s")],
)
def test_a_duration_has_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("seconds", "face"), [(0, "0:00"), (65, "1:05"), (3723, "1:02:03")])
def test_a_stopwatch_counts_hours_only_when_there_are_any(seconds: float, face: str) -> None:
    assert stopwatch(seconds) == face


def test_plural() -> None:
    assert [plural(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]


@given(st.text())
def test_foreign_text_stays_on_one_printable_line(text: str) -> None:
    line = one_line(text, 50)
    assert line.isprintable()
    assert len(line) <= 50
    assert line == one_line(line, 50)


def test_escapes_direction_overrides_and_surrogates_are_dropped() -> None:
    assert one_line("a\x1b[31mb\u202ec\ud800d\u2028e") == "a[31mbcd e"
