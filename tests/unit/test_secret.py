"""A secret is found in every spelling, and nothing else is."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coval_gate.base.secret import Redactor
from coval_gate.base.text import one_line
from leaks import DISGUISES, holds

KEY = "coval_sk_test_sandbox"
CHARACTERS = string.ascii_letters + string.digits + "_-.+/=~:"
SECRETS = st.builds(
    str.__add__, st.sampled_from(["coval_sk_", "ghs_", "key-"]), st.text(CHARACTERS, min_size=8, max_size=60)
)
TEXT = st.text(max_size=20)


@pytest.mark.parametrize("disguise", DISGUISES)
@given(secret=SECRETS, before=TEXT, after=TEXT)
def test_secret_is_redacted(disguise: str, secret: str, before: str, after: str) -> None:
    text = f"{before} {DISGUISES[disguise](secret)} {after}"
    assert holds(text, secret), "control: the test can find it"
    redacted = Redactor(secret).redact(text)
    assert not holds(redacted, secret)
    assert redacted.startswith(before)
    assert redacted.endswith(after)
    assert not holds(Redactor(secret).redact_body(text.encode()).decode(), secret)


@pytest.mark.parametrize("disguise", ["plain", "base64", "base64-1"])
def test_beginning_of_cut_secret_is_redacted(disguise: str) -> None:
    whole = DISGUISES[disguise](KEY)
    for length in range(len(whole) * 2 // 3, len(whole)):
        for text in (
            f"“{whole[:length]}…”",
            f"({whole[:length]}...)",
            rf"({whole[:length]}\u2026)",
            f"{whole[:length]} ...",
        ):
            redacted = Redactor(KEY).redact(text)
            assert not holds(redacted, KEY[:12]), text
            assert redacted.count("***") == 1
            assert Redactor(KEY).redact_body(text.encode()) == redacted.encode()  # before a format escapes it


@pytest.mark.parametrize("filler", [" ", "\u200b"])
def test_secret_that_one_line_cuts_is_redacted(filler: str) -> None:
    for shown in range(1, len(KEY)):
        line = one_line(f"x{filler * (500 - 1 - shown)}{KEY}", 50)
        assert KEY[:8] not in Redactor(KEY).redact(line), line


@given(st.text())
def test_other_text_stays(text: str) -> None:
    assume(not holds(text, KEY[:8]))
    redactor = Redactor(KEY)
    assert redactor.redact(text) == text
    assert redactor.redact_body(text.encode("utf-8", "replace")) == text.encode("utf-8", "replace")


@pytest.mark.parametrize("text", [KEY[:-1], "coval_s…", "coval\\_sk\\_live\\_1234567890", "c%6fval_sk_testing", "…"])
def test_similar_text_stays(text: str) -> None:
    assert Redactor(KEY).redact(text) == text


def test_long_text_is_redacted_quickly() -> None:
    """Work that grew with the square of the length would not end here."""
    assert KEY not in Redactor(KEY).redact("coval_sk" * 50_000)


def test_bytes_of_other_text_stay() -> None:
    assert (
        Redactor(KEY).redact_body(b"\xff\xed\xa0\x80 " + KEY.encode() + b" \xe2\x80")
        == b"\xff\xed\xa0\x80 *** \xe2\x80"
    )


def test_secret_whose_beginning_is_known_too_is_redacted_whole() -> None:
    known = Redactor("coval_sk_prod_Zq7Xw3", "coval_sk_prod_Zq7Xw3Rk9Tn2Vb5Mh8Jd")
    assert known.redact('got "coval_sk_prod_Zq7Xw3Rk9Tn2Vb5Mh8Jd"') == 'got "***"'


def test_secret_with_other_characters_is_redacted_as_it_is() -> None:
    assert Redactor("schlüssel-12").redact('a schlüssel-12 "schl\\u00fcssel-12"') == 'a *** "***"'


def test_secret_of_any_bytes_is_redacted() -> None:
    """The environment has them as Python decodes it."""
    assert Redactor("k\udcff-secret").redact("a k\udcff-secret") == "a ***"
