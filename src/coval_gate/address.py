"""Parses a server's address with the parser that requests uses to send."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

if TYPE_CHECKING:
    from urllib3.util import Url

HOST: Final = re.compile(r"[a-z0-9_][a-z0-9._-]*|\[[0-9a-f:.]+\]")


def parse_address(text: str) -> Url | None:
    r"""Return the parts of an absolute http(s) URL; None if it is not one, or if urllib3 would rewrite it.

    Parsers disagree on odd URLs: for Python, the host of `http://evil.example\[::1]` is the loopback interface, but
    urllib3 connects to evil.example. Only changes of case are accepted.
    """
    try:
        url = parse_url(text)
    except LocationParseError:
        return None
    is_plain = text.isascii() and url.url.lower() == text.lower()
    return url if is_plain and url.scheme in ("http", "https") and HOST.fullmatch(url.host or "") else None


def is_loopback(url: Url) -> bool:
    """Return whether requests to the URL stay on this machine."""
    host = (url.host or "").strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # not an IP address
        return False
