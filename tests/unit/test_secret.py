"""A secret is found in every disguise, and nothing else is."""

from __future__ import annotations

import json
import string
import time
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coval_gate.secret import Redactor
from coval_gate.text import one_line
from leaks import DISGUISES, holds

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "coval_sk_test_sandbox"
CHARACTERS = string.ascii_letters + string.digits + "_-.+/=~:"
SECRETS = st.builds(
    str.__add__, st.sampled_from(["coval_sk_", "ghs_", "key-"]), st.text(CHARACTERS, min_size=8, max_size=60)
)
TEXT = st.text(max_size=20)
ESCAPES: Final[dict[str, Callable[[str], str]]] = {
    "as it is": lambda text: text,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON twice": lambda text: json.dumps(json.dumps(text)),
    "XML": escape,
    "one line": one_line,
}


@pytest.mark.parametrize("how", ESCAPES)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_disguised_secret_is_redacted(disguise: str, how: str) -> None:
    text = ESCAPES[how](f"before {DISGUISES[disguise](KEY)} after")
    assert holds(text, KEY), "control: the test can find it"
    redacted = Redactor(KEY).redact(text)
    assert not holds(redacted, KEY)
    assert "***" in redacted
    assert "before " in redacted
    assert " after" in redacted
    assert not holds(Redactor(KEY).redact_body(text.encode()).decode(), KEY)


@given(
    secret=SECRETS,
    before=TEXT,
    after=TEXT,
    disguise=st.sampled_from(list(DISGUISES)),
    how=st.sampled_from(list(ESCAPES)),
)
def test_any_disguised_secret_is_redacted(secret: str, before: str, after: str, disguise: str, how: str) -> None:
    redacted = Redactor(secret).redact(ESCAPES[how](before + DISGUISES[disguise](secret) + after))
    assert not holds(redacted, secret)


@given(secret=SECRETS, before=TEXT, after=TEXT, disguise=st.sampled_from(list(DISGUISES)))
def test_redacted_json_is_json(secret: str, before: str, after: str, disguise: str) -> None:
    text = before + DISGUISES[disguise](secret) + after
    for ascii_only in (True, False):
        json.loads(Redactor(secret).redact(json.dumps({"text": text}, ensure_ascii=ascii_only)))


@pytest.mark.parametrize(
    "disguise", ["plain", "unicode", "zero-width", "url", "url-twice", "html", "base64", "base64-1"]
)
def test_beginning_of_disguised_secret_is_redacted(disguise: str) -> None:
    whole = DISGUISES[disguise](KEY)
    for length in range(len(whole) * 2 // 3, len(whole)):
        for text in (f"“{whole[:length]}…”", f"({whole[:length]}...)", json.dumps(f"{whole[:length]}…")):
            redacted = Redactor(KEY).redact(text)
            assert not holds(redacted, KEY[:12]), text
            assert redacted.count("***") == 1


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


@pytest.mark.parametrize(
    "piece", ["\\", "\\u0063", "c\u200b", "%", "%25", "&amp;", "coval_sk", "coval%5fsk\\", "\\\\u200b"]
)
def test_long_text_is_redacted_quickly(piece: str) -> None:
    began = time.process_time()
    Redactor(KEY).redact(piece * 100_000)
    assert time.process_time() - began < 5


def test_secret_with_other_characters_is_redacted_as_it_is() -> None:
    assert Redactor("schlüssel-12").redact('a schlüssel-12 "schl\\u00fcssel-12"') == 'a *** "***"'
