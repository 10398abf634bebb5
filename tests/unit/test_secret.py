"""A secret is found in every disguise, and nothing else is."""

from __future__ import annotations

import io
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coval_gate.base.secret import Redactor
from coval_gate.base.text import one_line
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.plain import PlainHost
from coval_sandbox.runner import LocalRunner
from leaks import DISGUISES, holds
from support import host_of

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
def test_disguised_secret_is_redacted(how: str, subtests: pytest.Subtests) -> None:
    for disguise, disguised in DISGUISES.items():
        with subtests.test(disguise):
            text = ESCAPES[how](f"before {disguised(KEY)} after")
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


GAPS: Final = [*" \t\n\r\v\f\u2028\u00a0", "\r\n", "\\n", "\\r", "\\t", "\\u000a", "\\x0a", "\\\n", "\\\\n", "%0A",
               "%20", "&#10;"]  # fmt: skip


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    """A text with the key, and white space, line breaks and their escapes anywhere in it."""
    gaps = {
        place: "".join(draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=3)))
        for place in draw(st.sets(st.integers(1, len(KEY) - 1), min_size=1))
    }
    return f"before {''.join(gaps.get(place, '') + char for place, char in enumerate(KEY))} after"


@given(text=wrapped(), how=st.sampled_from(list(ESCAPES)))
def test_key_that_is_wrapped_anywhere_is_redacted(text: str, how: str) -> None:
    shown = ESCAPES[how](text)
    assert holds(shown, KEY), "control: the test can find it"
    redacted = Redactor(KEY).redact(shown)
    assert not holds(redacted, KEY)
    assert "before ***" in redacted
    assert "*** after" in redacted
    assert not holds(Redactor(KEY).redact_body(shown.encode()).decode(), KEY)


@given(text=wrapped())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wrapped_key_is_in_nothing_that_a_host_writes(tmp_path: Path, text: str) -> None:
    local = LocalRunner(tmp_path)
    for kind, environ in ((GitHubHost, local.environ({})), (PlainHost, {})):
        log = io.StringIO()
        host = host_of(kind, log, environ)
        host.mask(KEY)
        log.truncate(log.seek(0))
        lines = text.split("\n")
        host.log(text)
        host.quote(*lines)
        host.fold(text, lines)
        host.annotate("error", text, text)
        host.set_outputs({"reason": text})
        host.save_state({"legs": text})
        host.add_summary(text)
        written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(holds(part, KEY) for part in (*log.getvalue().split("before"), *written))


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


SLOW: Final = ["\\", "\\u0063", "c\u200b", "%", "%25", "&amp;", "coval_sk", "coval%5fsk\\", "\\\\u200b", " ", "c \n",
               "coval_sk\\n ", "\\ %20"]  # fmt: skip


@pytest.mark.parametrize("piece", SLOW)
def test_long_text_is_redacted_quickly(piece: str) -> None:
    """Work that grew with the square of the length would not end here."""
    assert KEY not in Redactor(KEY).redact(piece * 50_000)


def test_secret_whose_beginning_is_known_too_is_redacted_whole() -> None:
    """What looks like a key in an input is masked, too: it may be the first half of one that is wrapped."""
    known = Redactor("coval_sk_prod_Zq7Xw3", "coval_sk_prod_Zq7Xw3Rk9Tn2Vb5Mh8Jd")
    assert known.redact('got "coval_sk_prod_Zq7Xw3 Rk9Tn2Vb5Mh8Jd"') == 'got "***"'


def test_secret_with_other_characters_is_redacted_as_it_is() -> None:
    assert Redactor("schlüssel-12").redact('a schlüssel-12 "schl\\u00fcssel-12"') == 'a *** "***"'
