"""HTTP requests to one server, limited in time and size. Only that server gets the credential.

The address is parsed here as the requests will parse it, and network errors are read from those of requests.
"""

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException, IncompleteRead
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import requests
import urllib3
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from coval_gate import __version__
from coval_gate.base.clock import Clock
from coval_gate.base.schedule import BackgroundCall, Wait
from coval_gate.base.secret import Secret, redactor
from coval_gate.base.text import duration, is_shallow, json_in

NetworkCause = Literal["transient", "deadline", "size", "certificate", "bundle", "address"]

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
IDLE_LIMIT: Final = 5.0  # s; some networks drop an idle connection silently, and the next request hangs
ERROR_LIMIT: Final = 1024 * 1024  # bytes of an error response
TOO_LATE: Final = "was not sent: the deadline has passed."
NETWORK_ERRORS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class NetworkError(Exception):
    """`what` ends a sentence about the request ("got no response (…).").

    `arrived` is False if the server certainly received nothing. `cause` is "transient" if a retry may succeed, and
    "deadline" if the deadline has passed. Otherwise it names what is wrong: the "size" of the response, the server's
    "certificate", the file of trusted certificates ("bundle"), or the "address".
    """

    def __init__(self, what: str, *, arrived: bool, cause: NetworkCause = "transient") -> None:
        super().__init__(what)
        self.what = what
        self.arrived = arrived
        self.cause = cause


def network_error(error: Exception) -> NetworkError:
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


def _lasting(why: str, cause: NetworkCause) -> NetworkError:
    return NetworkError(f"was not sent: {why}.", arrived=False, cause=cause)


def _innermost(error: BaseException) -> BaseException:
    """requests wraps urllib3's errors, which wrap each other."""
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
    r"""None if it is no absolute http(s) URL, or if urllib3 would rewrite it.

    For Python, the host of `http://evil.example\[::1]` is the loopback interface, but urllib3 connects to evil.example.
    Only changes of case are accepted.
    """
    try:
        url = parse_url(text)
    except LocationParseError:
        return None
    is_plain = text.isascii() and url.url.lower() == text.lower()
    return url if is_plain and url.scheme in ("http", "https") and HOST.fullmatch(url.host or "") else None


def is_loopback(url: Url) -> bool:
    host = (url.host or "").strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # not an IP address
        return False


class HttpSession(requests.Session):
    """It follows no redirects, does not read their bodies, and uses no proxy for loopback addresses."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        address = parse_address(request.url or "")
        if address and is_loopback(address):
            # A proxy would send the credential to another machine, unencrypted. `trust_env` stays on, because the
            # certificates in REQUESTS_CA_BUNDLE are used here, too.
            settings["proxies"] = {}
        return super().send(request, **settings)


SessionFactory = Callable[[], requests.Session]


class Timeouts(NamedTuple):
    """In seconds: to connect, for the whole response, and for a request sent just before the deadline."""

    connect: float = 10.0
    response: float = 30.0
    final: float = 2.0


class Server(NamedTuple):
    """Every path follows `root`. Without a `credential_header`, no request has the credential."""

    root: str
    credential: Secret
    credential_header: str
    credential_prefix: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    timeouts: Timeouts = Timeouts()
    body_limit: int = ERROR_LIMIT  # bytes of a response

    def content_of(self, body: bytes) -> Any:
        """Return the JSON in a body, with the credential masked where the body repeats it.

        Tolerate damaged text (half a surrogate, an invalid byte); None if it is not JSON, or nested too deep.
        """
        with suppress(RecursionError):
            text, redacting = body.decode("utf-8-sig", "replace"), redactor(self.credential.reveal())
            content = json_in(text)
            if is_shallow(body) and redacting.is_clear(text):
                return content
            return redacting.redact_json(content)  # which is slow, and raises RecursionError for what is nested deep
        return None


class Request(NamedTuple):
    """`query` and `json` are omitted if None. `body_limit`: of the response in bytes; None: the server's limit."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    json: Mapping[str, Any] | Sequence[Any] | None = None
    body_limit: int | None = None

    def __str__(self) -> str:
        """For messages; the query would not help the reader."""
        return f"{self.method} {self.path}"


class Response(NamedTuple):
    """`content`: the JSON in its complete body, with the credential masked; None if it has none."""

    status: int
    headers: Mapping[str, str]
    content: Any = None
    is_empty: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def date(self) -> float | None:
        """By the server's clock, in whole seconds since the epoch. Source: RFC 9110, section 6.6.1."""
        return http_date(self.headers.get("date", ""))

    @property
    def retry_after(self) -> float | None:
        """Return the pause that the server asks for, in seconds. Source: RFC 9110, section 10.2.3."""
        text = self.headers.get("Retry-After", "")
        if re.fullmatch(r"\s*\d+\s*", text, re.ASCII):
            return float(text)
        moment = http_date(text)
        return None if moment is None or self.date is None else max(0.0, moment - self.date)


def http_date(text: str) -> float | None:
    """Return seconds since the epoch; None if the text is no date. Without a zone, it is in UTC."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class _Pooled(NamedTuple):
    """requests would read `settings` from the environment before every call."""

    session: requests.Session
    settings: Mapping[str, Any]
    used: float = 0.0  # when it was used last, by the clock


class Transport:
    """For concurrent requests. At `ends`, it stops waiting for every response."""

    def __init__(
        self, server: Server, *, clock: Clock, new_session: SessionFactory = HttpSession, ends: float = math.inf
    ) -> None:
        self.server = server
        self.clock = clock
        self.ends = ends
        self._new_session = new_session
        self._idle: list[_Pooled] = []
        self._server_zero: float | None = None  # the server's time at zero of the clock's now(), or a little less

    def close(self) -> None:
        for pooled in self._idle:
            pooled.session.close()

    def take_session(self, request: Request) -> _Pooled:
        if not self._idle:
            return self._opened()
        pooled = self._idle.pop()
        if request.method == "POST" or self.clock.now() - pooled.used > IDLE_LIMIT:
            pooled.session.close()  # if a stale connection fails, a POST may or may not have had an effect
        return pooled

    def give_back(self, pooled: _Pooled) -> None:
        self._idle.append(pooled._replace(used=self.clock.now()))

    def _opened(self) -> _Pooled:
        session = self._new_session()
        session.auth = self._authorized
        session.headers.update({"Accept": "application/json", "User-Agent": f"coval-gate/{__version__}"})
        session.headers.update(self.server.headers)
        settings = session.merge_environment_settings(self.server.root, {}, stream=True, verify=None, cert=None)
        return _Pooled(session, settings)

    def _authorized(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As the session's `auth`, it also stops requests from adding a password from a .netrc file."""
        server = self.server
        if server.credential_header:
            request.headers[server.credential_header] = server.credential_prefix + server.credential.reveal()
        return request

    async def send(self, request: Request, *, until: float) -> Response:
        """Wait until `until` or a timeout of the server. Raises NetworkError without a usable response."""
        response = await Exchange(self, request, until).response()
        if (date := response.date) is not None:
            # On its way, a response loses time: the latest of these is closest to the server's time.
            zero = date - self.clock.now()
            self._server_zero = zero if self._server_zero is None else max(self._server_zero, zero)
        return response

    def server_time(self, moment: float) -> float | None:
        """Return seconds since the epoch, or a little less, as responses take time; None if no response shows it."""
        return None if self._server_zero is None else self._server_zero + moment


class Exchange:
    """After a timeout, `late_response` can wait for the response again.

    `open_for`: how many seconds the connection stays open for the response, even if the wait ends earlier.
    """

    def __init__(self, transport: Transport, request: Request, until: float, open_for: float = 0.0) -> None:
        self.request = request
        self._transport = transport
        self._until = until
        self._open_for = open_for
        self._call: BackgroundCall[Response] | None = None

    async def response(self) -> Response:
        """Raises NetworkError without a usable response.

        A socket timeout does not limit the total time (a server may send its headers byte by byte, and a DNS lookup has
        no timeout), so this needs a thread.
        """
        transport, timeouts, now = self._transport, self._transport.server.timeouts, self._transport.clock.now()
        within = min(max(timeouts.final, min(timeouts.response, self._until - now)), transport.ends - now)
        if within <= 0:
            raise NetworkError(TOO_LATE, arrived=False, cause="deadline")
        pooled = transport.take_session(self.request)
        times = (min(timeouts.connect, within), max(within, self._open_for))
        self._call = call = BackgroundCall(partial(self._send, pooled, times))
        await Wait(within, (call,))
        if call.ended:
            transport.give_back(pooled)
        return self._read(call, within)

    @property
    def open_call(self) -> BackgroundCall[Response] | None:
        """None before the wait for the response starts and after it ends."""
        call = self._call
        return call if call and call.started and not call.ended else None

    async def late_response(self, within: float) -> Response:
        """Wait again for the response to a sent request, for up to `within` seconds. Raises as `response`."""
        call = self._call
        if call is None or not call.started:
            raise NetworkError("was not sent.", arrived=False)
        if within and not call.ended:
            await Wait(within, (call,))
        return self._read(call, within)

    def _read(self, call: BackgroundCall[Response], within: float) -> Response:
        if not call.ended:
            raise NetworkError(f"took longer than {duration(within)}.", arrived=True)
        try:
            return call.result
        except NETWORK_ERRORS as error:
            raise network_error(error) from None

    def _send(self, pooled: _Pooled, times: tuple[float, float]) -> Response:
        """Run in a separate thread. `times`: timeouts in seconds, to connect and to wait for data."""
        server, request, session = self._transport.server, self.request, pooled.session
        prepared = requests.PreparedRequest()
        prepared.prepare(
            request.method,
            server.root + request.path,
            headers=session.headers,
            params=request.query,
            json=request.json,
            auth=session.auth,
        )
        with session.send(prepared, timeout=times, allow_redirects=False, **pooled.settings) as received:
            body = _read_body(received, request.body_limit or server.body_limit)
            response = Response(received.status_code, received.headers, server.content_of(body), is_empty=not body)
        if response.status < 200:
            session.close()  # the final response follows; the next request must not read it as its own
        return response


def _read_body(response: requests.Response, limit: int) -> bytes:
    """Raises NetworkError if the body exceeds `limit` bytes, or ERROR_LIMIT for an error."""
    limit = limit if response.ok else min(limit, ERROR_LIMIT)
    received = bytearray()
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        received += chunk
        if len(received) > limit:
            what = f"returned {response.status_code} with more than {limit >> 20} MiB."
            raise NetworkError(what, arrived=True, cause="size" if response.ok else "transient")
    return bytes(received)
