import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.base.text import (
    amount,
    difference,
    drawn_symbol,
    duration,
    in_words,
    most_similar,
    one_line,
    plural,
    points,
    shortened,
    shortened_at_word,
    stopwatch,
    with_unit,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 01 s"), (3600, "1 h"), (3661, "1 h 01 min"), (-5, "0 s")],
)
def test_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_stopwatch_has_hours_only_if_needed() -> None:
    assert [stopwatch(seconds) for seconds in (0, 65, 3723)] == ["0:00", "1:05", "1:02:03"]


def test_numbers_and_lists_read_as_in_a_sentence() -> None:
    assert [plural(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert [in_words("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [in_words("abcde"[:count], "or", 3) for count in (2, 3, 5)] == ["a or b", "a, b or c", "a, b, c or 2 more"]


@pytest.mark.parametrize(
    ("text", "similar"), [("latncy", "Latency"), ("LATENCY ", "Latency"), ("tone calm", "Tone: calm"), ("Empathy", "")]
)
def test_most_similar_name_ignores_case(text: str, similar: str) -> None:
    assert most_similar(text, ["Resolved", "Latency", "Tone: calm"]) == similar


@given(st.text() | st.text("ab ,"), st.integers(1, 50))
def test_any_text_becomes_short_and_printable(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit
    assert line == one_line(line, limit)
    assert len(shortened_at_word(text, limit)) <= limit


def test_one_line_removes_escapes_overrides_and_surrogates() -> None:
    assert one_line("a\x1b[31mb\u202ec\ud800d\u2028e") == "abcd e"
    assert one_line("a\x1b]8;;http://b\x1b\\c\x1b]8;;\x07d\x1be") == "acde"
    assert one_line(f"{'a' * 495}\x1b[38;2;255;255;255mb", 50) == f"{'a' * 49}…"


@pytest.mark.parametrize("filler", [" ", "\n", "\u200b", "\x00"])
def test_one_line_shows_that_it_was_cut_where_most_of_it_is_not_seen(filler: str) -> None:
    assert one_line(f"x{filler * 490}a long secret", 50).replace(" ", "") == "xalongse…"
    assert one_line(f"a secret{filler * 492}", 50) == "a secret"


@pytest.mark.parametrize(("text", "expected"), [("a" * 20, "a" * 20), ("a" * 21, "a" * 19 + "…"), ("", "")])
def test_long_text_is_cut_to_the_limit(text: str, expected: str) -> None:
    assert shortened(text, 20) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exactly 20 characters"[:20], "exactly 20 character"),
        ("The metric is not known", "The metric is not…"),
        ("A supercalifragilistic word", "A supercalifragilis…"),
    ],
)
def test_long_text_is_cut_at_word(text: str, expected: str) -> None:
    assert shortened_at_word(text, 20) == expected


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (amount(2.588, "seconds"), "2.59 s"),
        (amount(1234.6, "ms"), "1,235 ms"),
        (amount(99.97, "%"), "99.97%"),  # not all of it
        (difference(-3.333, "%"), "3.3pp"),
        (difference(-0.1234, "s"), "0.123 s"),
        (points(-7 / 15), "46.7pp"),
        (points(0.0), "0pp"),
        (points(0.0001), "0.01pp"),  # not nothing
    ],
)
def test_numbers_are_rounded_for_people(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("Seconds", "2.7 s"),
        ("percent", "2.7%"),
        ("", "2.7"),
        ("× 1000", "2.7"),
        ("x" * 99, f"2.7 {'x' * 19}…"),
        ("a\n::error::b", "2.7 a ::error::b"),
    ],
)
def test_unit_is_shown_as_people_write_it(unit: str, shown: str) -> None:
    assert with_unit("2.7", unit) == shown
    assert (drawn_symbol("Seconds"), drawn_symbol("turns")) == ("s", "")  # no text from outside is in a drawing
