"""Keeps credentials out of logs and files, in each spelling in which a program repeats them."""

import json
import re
from base64 import b64encode
from functools import cached_property, lru_cache
from typing import Final
from urllib.parse import quote

SHORTEST_SECRET: Final = 8  # characters
MASK: Final = "***"
IN_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
CUT: Final = r"( ?(?:…|\.\.\.|\\u2026))"  # the end of a cut text


class Secret:
    """A value that only `reveal` returns. repr and str mask it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"


class Redactor:
    """A secret may be written in JSON, HTML, a URL or base64. Its beginning is masked, too, if an ellipsis follows."""

    def __init__(self, *secrets: str) -> None:
        longest_first = sorted(filter(None, secrets), key=len, reverse=True)  # one may be the beginning of another
        self._spellings = list(dict.fromkeys(spelling for secret in longest_first for spelling in _spellings(secret)))
        self._beginnings = list(dict.fromkeys(spelling[:SHORTEST_SECRET] for spelling in self._spellings))

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        longest = max(map(len, self._spellings))
        return re.compile(rf"((?:{'|'.join(map(re.escape, self._beginnings))})[^\s…]{{0,{longest}}}?){CUT}")

    def redact(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return self._cut.sub(self._masked, text) if any(part in text for part in self._beginnings) else text

    def _masked(self, cut: re.Match[str]) -> str:
        return MASK + cut[2] if any(spelling.startswith(cut[1]) for spelling in self._spellings) else cut[0]

    def redact_body(self, body: bytes) -> bytes:
        return self.redact(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=8)
def redactor(*secrets: str) -> Redactor:
    return Redactor(*secrets)


def _spellings(secret: str) -> list[str]:
    raw = secret.encode("utf-8", "surrogateescape")  # a variable may hold any bytes
    urls = [quote(raw, safe=""), quote(raw)]  # some keep slashes, and some write the digits of an escape small
    urls += [re.sub("%..", lambda escape: escape[0].lower(), url) for url in urls]
    codes = [_base64(raw, offset) for offset in range(3)]
    safe = [code.replace("+", "-").replace("/", "_") for code in codes]
    return [secret, json.dumps(secret)[1:-1], secret.translate(IN_HTML), *urls, *codes, *safe]


def _base64(secret: bytes, offset: int) -> str:
    """`offset`: bytes after a boundary. Leave out characters that neighbours change."""
    code = b64encode(b"\0" * offset + secret).decode()
    shared = len(code.rstrip("=")) - (1 if code.endswith("=") else 0)
    return code[(0, 2, 3)[offset] : shared]
