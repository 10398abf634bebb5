"""The address of a server, parsed as the requests will parse it, and network errors, read from those of requests."""

from __future__ import annotations

import re
import zlib
from http.client import HTTPException, IncompleteRead
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal

import requests
import urllib3
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

if TYPE_CHECKING:
    from urllib3.util import Url

Cause = Literal["transient", "deadline", "size", "certificate", "bundle", "address"]

# Failures before the TLS connection is established, and thus before anything is sent.
HANDSHAKE: Final = re.compile(r"HANDSHAKE|WRONG_VERSION|UNSUPPORTED_PROTOCOL|_ALERT_|NO_PROTOCOLS")
UNUSABLE: Final = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    urllib3.exceptions.LocationValueError,
    UnicodeError,
)
# The response is not valid HTTP. requests reports an invalid response header as one of the request.
DAMAGED: Final = (
    HTTPException,
    zlib.error,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.ProtocolError,
)
HOST: Final = re.compile(r"[a-z0-9_][a-z0-9._-]*|\[[0-9a-f:.]+\]")


class NetworkError(Exception):
    """A request got no usable response.

    `what` ends a sentence about the request ("got no response (…)."). `arrived` is False if the server certainly
    received nothing. `cause` is "transient" if a retry may succeed, and "deadline" if the deadline has passed.
    Otherwise it names what is wrong: the "size" of the response, the server's "certificate", the file of trusted
    certificates ("bundle"), or the "address".
    """

    def __init__(self, what: str, *, arrived: bool, cause: Cause = "transient") -> None:
        super().__init__(what)
        self.what = what
        self.arrived = arrived
        self.cause = cause


def network_error(error: Exception) -> NetworkError:
    """Return the NetworkError for an error that requests, urllib3 or the operating system raised."""
    text = str(error)
    tls = isinstance(error, requests.exceptions.SSLError)
    if tls and "CERTIFICATE_VERIFY_FAILED" in text:
        return _lasting("the server's certificate cannot be verified", "certificate")
    if "TLS CA certificate bundle" in text or "NO_CERTIFICATE_OR_CRL_FOUND" in text:
        return _lasting("REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE does not name a certificate file", "bundle")
    if isinstance(error, UNUSABLE) and not isinstance(_innermost(error), DAMAGED):
        return _lasting("the address or a header is not valid", "address")
    reason = _innermost(error)
    not_sent = isinstance(error, (requests.ConnectTimeout, requests.exceptions.ProxyError)) or isinstance(
        reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    )
    if not_sent or (tls and HANDSHAKE.search(text)):
        return NetworkError(f"could not be sent ({_in_words(reason)}).", arrived=False)
    return NetworkError(f"got no response ({_in_words(reason)}).", arrived=True)


def _lasting(why: str, cause: Cause) -> NetworkError:
    return NetworkError(f"was not sent: {why}.", arrived=False, cause=cause)


def _innermost(error: BaseException) -> BaseException:
    """Return the innermost error. requests wraps urllib3's errors, which wrap each other."""
    for _ in range(5):
        inner: Any = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _in_words(error: BaseException) -> str:
    words = {
        urllib3.exceptions.NameResolutionError: "the host name does not resolve",
        urllib3.exceptions.NewConnectionError: "no connection could be made",
        urllib3.exceptions.ConnectTimeoutError: "the connection timed out",
        urllib3.exceptions.ReadTimeoutError: "the response timed out",
        IncompleteRead: "the response was cut off",
        ConnectionResetError: "the connection was reset",
        ConnectionError: "the connection was closed",
        TimeoutError: "the connection timed out",
    }
    if isinstance(error, urllib3.exceptions.NewConnectionError) and "refused" in str(error):
        return "the connection was refused"
    other = "the response is not valid HTTP" if isinstance(error, DAMAGED) else type(error).__name__
    return next((text for error_type, text in words.items() if isinstance(error, error_type)), other)


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
