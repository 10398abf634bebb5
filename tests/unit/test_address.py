"""The key is sent to the address that was checked."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from coval_gate.base.transport import HttpSession
from coval_gate.inputs.fields import url

ODD = [
    "http://HOST\\[::1]",
    "http://evil.example\\[::1]/v1",
    "http://127.0.0.1\\@evil.example",
    "http://evil.example\\@127.0.0.1/",
    "http://127.0.0.1:80\\@evil.example/",
    "http:\\\\127.0.0.1",
    "http://127.0.0.1@evil.example",
    "http://[::1]@evil.example",
    "http://evil.example?@127.0.0.1/",
    "http://evil.example#@127.0.0.1/",
    "http://127.0.0.1\t.evil.example",
    "http://127.0.0.1\n.evil.example",
    "http://evil.example [::1]/",
    "http://127%2e0.0.1",
    "http://127.0.0.1%2f.evil.example",
    "http://evil.example%5b::1]",
    "http://127.0.0.1。evil.example",
    "http://127。0。0。1",
    "http://１２７.0.0.1",
    "http://loc\u200balhost",
    "http://localho\u017ft",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.256",
    "http://127.999.1.1",
    "http://127.0.0.01",
    "http://127.1",
    "http://0x7f.0.0.1",
    "http://2130706433",
    "http://localhost.",
    "http://localhost.evil.example",
    "http://[::1",
    "http://[::1%25lo]",
    "http://[::1].evil.example",
    "http://[::2]",
    "http://::1/",
    "http:///127.0.0.1",
    "http:/127.0.0.1",
    "http:127.0.0.1",
    "//127.0.0.1",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:x",
    "file://127.0.0.1/v1",
    "https://api.coval.dev\\@evil.example",
    "https://api.coval.dev/a/../v1",
    "https://api.coval.dev/ü",
]
LOOPBACK = [
    "http://127.0.0.1",
    "http://127.0.0.1:8080/v1",
    "http://127.8.9.10/v1",
    "http://localhost:8080",
    "http://LocalHost/v1",
    "HTTP://127.0.0.1",
    "http://[::1]:8080/v1",
    "http://[0:0:0:0:0:0:0:1]",
]
PIECES = [
    *"/\\@?#:[]%.-_ \t\n\r", "//", "\\\\", "http://", "https://", "HTTP://", "127.0.0.1", "127.", "0.1", "localhost",
    "[::1]", "::1", "evil.example", ":80", "%5c", "%2e", "%40", "%00", "%", "。", "．", "１", "ſ", "\u212a", "\u200b",
]  # fmt: skip
URLS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=30)


def accepted(text: str, *, encrypted: bool = True) -> str:
    """Return the URL as an input parses it; empty if it is rejected."""
    try:
        return url("https://example.com", encrypted=encrypted).parse(text.strip()) if text.strip() else ""
    except ValueError:
        return ""


def destination(root: str) -> tuple[str, str]:
    """Return the scheme and the host that `requests` connects to for a path below `root`."""
    session = HttpSession()
    prepared = session.prepare_request(requests.Request("GET", f"{root}/runs", params={"page_size": "1"}))
    adapter = session.get_adapter(prepared.url or "")
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


@given(start=st.sampled_from(["http://", "https://", "HTTP://", ""]), rest=URLS)
@example(start="http://", rest="HOST\\[::1]")
@example(start="http://", rest="evil.example\\@127.0.0.1")
def test_accepted_url_is_where_requests_go(start: str, rest: str) -> None:
    if not (root := accepted(start + rest)):
        return
    scheme, host = destination(root)
    assert scheme == urlsplit(root).scheme
    assert host == urlsplit(root).hostname
    assert scheme == "https" or stays_here(host)


@given(start=st.sampled_from(["http://", "https://"]), rest=URLS)
def test_link_leads_where_it_says(start: str, rest: str) -> None:
    """The dashboard's address goes into links in reports."""
    if root := accepted(start + rest, encrypted=False):
        assert destination(root) == (urlsplit(root).scheme, urlsplit(root).hostname)
