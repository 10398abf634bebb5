import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.base.text import (
    drawn_symbol,
    duration,
    in_words,
    most_similar,
    one_line,
    plural,
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


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (3723, "1:02:03")])
def test_stopwatch_has_hours_only_if_needed(seconds: float, text: str) -> None:
    assert stopwatch(seconds) == text


def test_plural_has_number_and_noun() -> None:
    assert [plural(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a"], "a"),
        (["a", "b"], "a or b"),
        (["a", "b", "c"], "a, b or c"),
        (["a", "b", "c", "d", "e"], "a, b, c or 2 more"),
    ],
)
def test_list_in_words_has_at_most_so_many(names: list[str], words: str) -> None:
    assert in_words(names, "or", 3) == words


@pytest.mark.parametrize(
    ("text", "similar"), [("latncy", "Latency"), ("LATENCY ", "Latency"), ("tone calm", "Tone: calm"), ("Empathy", "")]
)
def test_most_similar_name_ignores_case(text: str, similar: str) -> None:
    assert most_similar(text, ["Resolved", "Latency", "Tone: calm"]) == similar


def test_words_in_a_row_read_as_in_a_sentence() -> None:
    assert [in_words(["a", "b", "c"][:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


@given(st.text())
def test_one_line_is_short_printable_and_idempotent(text: str) -> None:
    line = one_line(text, 50)
    assert line.isprintable()
    assert len(line) <= 50
    assert line == one_line(line, 50)


def test_one_line_removes_escapes_overrides_and_surrogates() -> None:
    assert one_line("a\x1b[31mb\u202ec\ud800d\u2028e") == "abcd e"
    assert one_line("a\x1b]8;;http://b\x1b\\c\x1b]8;;\x07d\x1be") == "acde"
    assert one_line(f"{'a' * 495}\x1b[38;2;255;255;255mb", 50) == f"{'a' * 49}…"


@pytest.mark.parametrize("filler", [" ", "\n", "\u200b", "\x00"])
def test_one_line_shows_that_it_was_cut_where_most_of_it_is_not_seen(filler: str) -> None:
    assert one_line(f"x{filler * 490}a long secret", 50).replace(" ", "") == "xalongse…"
    assert one_line(f"a secret{filler * 492}", 50) == "a secret"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exactly 20 characters"[:20], "exactly 20 character"),
        ("The metric is not known", "The metric is not…"),
        ("The metric, which is", "The metric, which is"),
        ("The metrics, whatever", "The metrics…"),
        ("A supercalifragilistic word", "A supercalifragilis…"),
    ],
)
def test_long_text_is_cut_at_word(text: str, expected: str) -> None:
    assert shortened_at_word(text, 20) == expected


@given(st.text("ab ,"), st.integers(1, 30))
def test_cut_text_is_never_too_long(text: str, limit: int) -> None:
    assert len(shortened_at_word(text, limit)) <= limit


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("Seconds", "2.7 s"),
        ("percent", "2.7%"),
        ("turns", "2.7 turns"),
        ("", "2.7"),
        ("99", "2.7"),
        ("× 1000", "2.7"),
        ("x" * 99, f"2.7 {'x' * 19}…"),
        ("a\n::error::b", "2.7 a ::error::b"),
    ],
)
def test_unit_is_shown_as_people_write_it(unit: str, shown: str) -> None:
    assert with_unit("2.7", unit) == shown


def test_text_from_outside_is_no_part_of_a_drawing() -> None:
    assert (drawn_symbol("Seconds"), drawn_symbol("turns")) == ("s", "")
