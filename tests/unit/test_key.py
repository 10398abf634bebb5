"""The key is sent to the address that was checked, and is shown nowhere. TLS: test_client.py."""

import json
import string
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import assume, example, given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from coval_gate.base.secret import Redactor, Secret
from coval_gate.base.text import one_line, printable
from coval_gate.base.transport import HttpSession, Server
from coval_gate.inputs.fields import url
from leaks import SPELLINGS, has_secret
from support import KEY

# The address

ODD = [
    "http://HOST\\[::1]",
    "http://evil.example\\[::1]/v1",
    "http://127.0.0.1\\@evil.example",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1\t.evil.example",
    "http://evil.example [::1]/",
    "http://127.0.0.1。evil.example",
    "http://loc\u200balhost",
    "http://127.1",
    "http://[::1",
    "http://[::1%25lo]",
    "http://::1/",
    "http:/127.0.0.1",
    "http://127.0.0.1:99999",
    "file://127.0.0.1/v1",
    "https://api.coval.dev\\@evil.example",
    "https://api.coval.dev/a/../v1",
]
LOOPBACK = [
    "http://127.0.0.1:8080/v1",
    "http://LocalHost/v1",
    "HTTP://127.0.0.1",
    "http://[::1]:8080/v1",
    "http://[0:0:0:0:0:0:0:1]",
]
PIECES = [
    *"/\\@?#:[]%.-_ \t\n\r", "//", "\\\\", "http://", "https://", "HTTP://", "127.0.0.1", "127.", "0.1", "localhost",
    "[::1]", "::1", "evil.example", ":80", "%5c", "%2e", "%40", "%00", "%", "。", "．", "１", "ſ", "\u212a", "\u200b",
]  # fmt: skip
SESSION = HttpSession()
URLS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=30)


def accepted(text: str, *, encrypted: bool = True) -> str:
    """Return the URL as an input parses it; empty if it is rejected."""
    try:
        return url("https://example.com", encrypted=encrypted).parse(text.strip()) if text.strip() else ""
    except ValueError:
        return ""


def destination(root: str) -> tuple[str, str]:
    """Return the scheme and the host that `requests` connects to for a path below `root`."""
    prepared = SESSION.prepare_request(requests.Request("GET", f"{root}/runs", params={"page_size": "1"}))
    adapter = SESSION.get_adapter(prepared.url or "")
    assert isinstance(adapter, HTTPAdapter)
    pool = adapter.get_connection_with_tls_context(prepared, verify=True, proxies={}, cert=None)
    return pool.scheme or "", pool.host.strip("[]")


def stays_here(host: str) -> bool:
    return host == "localhost" or ip_address(host).is_loopback


@pytest.mark.parametrize("text", ODD)
def test_odd_url_is_refused(text: str) -> None:
    assert accepted(text) == ""


@pytest.mark.parametrize("text", LOOPBACK)
def test_http_is_accepted_on_loopback(text: str) -> None:
    scheme, host = destination(accepted(text))
    assert scheme == "http"
    assert stays_here(host)


@given(start=st.sampled_from(["http://", "https://", "HTTP://", ""]), rest=URLS, encrypted=st.booleans())
@example(start="http://", rest="HOST\\[::1]", encrypted=True)
@example(start="http://", rest="evil.example\\@127.0.0.1", encrypted=True)
def test_accepted_url_is_where_requests_and_links_go(start: str, rest: str, encrypted: bool) -> None:
    """The dashboard's address, which may be http, goes into links in reports."""
    if root := accepted(start + rest, encrypted=encrypted):
        scheme, host = destination(root)
        assert (scheme, host) == (urlsplit(root).scheme, urlsplit(root).hostname)
        assert scheme == "https" or not encrypted or stays_here(host)


# Text

CHARACTERS = string.ascii_letters + string.digits + "_-.+/=~:"
SECRETS = st.builds(
    str.__add__, st.sampled_from(["coval_sk_", "ghs_", "key-"]), st.text(CHARACTERS, min_size=8, max_size=60)
)
TEXT = st.text(max_size=20)


@given(secret=SECRETS, before=TEXT, after=TEXT)
def test_secret_is_redacted(secret: str, before: str, after: str) -> None:
    assert Redactor(secret).redact(f"{before} {secret} {after}") == f"{before} *** {after}"


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=SECRETS | st.just('coval"sk&<test>/1é'), before=TEXT, after=TEXT)
def test_secret_in_response_is_redacted_however_it_is_spelled(
    spelling: str, secret: str, before: str, after: str
) -> None:
    server = Server(root="", credential=Secret(secret), credential_header="")
    texts = [json.dumps(text)[1:-1] for text in (before, after)]
    inside = f" {SPELLINGS[spelling](secret)} ".join(texts)
    body = f'{{"error": {{"message": "{inside}", "details": [{{"{inside}": ["{inside}", 1, null]}}]}}}}'
    shown = f"{before} *** {after}".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert server.content_of(body.encode()) == {"error": {"message": shown, "details": [{shown: [shown, 1, None]}]}}


PARTS = st.lists(st.sampled_from([KEY, KEY[:8], KEY[3:], "…", "\u200b", "\\", '"', "[", "}", "é", "\n", "plain"]))
VALUES = st.recursive(
    PARTS.map("".join) | st.none(), lambda inner: st.lists(inner) | st.dictionaries(PARTS.map("".join), inner)
)


@given(value=VALUES, indent=st.sampled_from([None, 2]), as_it_is=st.booleans())
@example(value=KEY, indent=None, as_it_is=True)
@example(value=f"{KEY[:4]}\u200b{KEY[4:]}", indent=None, as_it_is=True)
def test_body_that_is_taken_as_it_is_needs_no_redaction(value: object, indent: int | None, as_it_is: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=not as_it_is).encode()
    server = Server(root="", credential=Secret(KEY), credential_header="")
    assert server.content_of(body) == Redactor(KEY).redact_json(json.loads(body))


@pytest.mark.parametrize("body", [b"", b"\xff", b"<html>", b"[" * 100_000, b'{"a": ' * 900 + b"1" + b"}" * 900])
def test_body_that_is_no_json_or_nested_too_deep_has_no_content(body: bytes) -> None:
    assert Server(root="", credential=Secret(KEY), credential_header="").content_of(body) is None


def test_beginning_of_cut_secret_is_redacted() -> None:
    for length in range(len(KEY) * 2 // 3, len(KEY)):
        for text in (f"“{KEY[:length]}…”", f"({KEY[:length]}...)", f"{KEY[:length]} ..."):
            redacted = Redactor(KEY).redact(text)
            assert not has_secret(redacted, KEY[:12]), text
            assert redacted.count("***") == 1


@pytest.mark.parametrize("filler", [" ", "\u200b"])
def test_secret_that_one_line_cuts_is_redacted(filler: str) -> None:
    for shown in range(1, len(KEY)):
        line = one_line(f"x{filler * (500 - 1 - shown)}{KEY}", 50)
        assert KEY[:8] not in Redactor(KEY).redact(line), line


@pytest.mark.parametrize("hidden", ["\u200b", "\x00", "\u202e", "\x1b[1m", "\ufeff\u2060"])
@pytest.mark.parametrize("place", [1, 8, len(KEY) - 1])
def test_secret_with_invisible_characters_inside_is_redacted(hidden: str, place: int) -> None:
    spelled = KEY[:place] + hidden + KEY[place:]
    assert Redactor(KEY).redact(f"line 1\nkey {spelled}, {KEY}.") == "line 1\nkey ***, ***."
    server = Server(root="", credential=Secret(KEY), credential_header="")
    assert server.content_of(json.dumps({"error": spelled}).encode()) == {"error": "***"}
    assert KEY[:8] not in printable(Redactor(KEY).redact(f"{KEY[:12]}{hidden}{KEY[12:18]}…"))


@given(st.text())
@example(KEY[:-1])
@example("coval_s…")
@example("coval\\_sk\\_live\\_1234567890")
@example("c%6fval_sk_testing")
def test_other_text_stays(text: str) -> None:
    assume(not has_secret(text, KEY[:8]) or text == KEY[:-1])
    assert Redactor(KEY).redact(text) == text


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("schlüssel-12", "a schlüssel-12", "a ***"),
        # of any bytes, as Python decodes the environment
        ("k\udcff-secret", "a k\udcff-secret", "a ***"),
    ],
)
def test_secret_with_other_characters_is_redacted(secret: str, text: str, shown: str) -> None:
    assert Redactor(secret).redact(text) == shown


def test_secret_whose_beginning_is_known_too_is_redacted_whole() -> None:
    known = Redactor("coval_sk_prod_Zq7Xw3", "coval_sk_prod_Zq7Xw3Rk9Tn2Vb5Mh8Jd")
    assert known.redact('got "coval_sk_prod_Zq7Xw3Rk9Tn2Vb5Mh8Jd"') == 'got "***"'
