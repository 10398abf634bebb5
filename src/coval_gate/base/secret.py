"""Keeps credentials out of logs and files, in any form in which a server repeats them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import cached_property, lru_cache
from typing import Final

from coval_gate.base.text import without_sequences

SHORTEST_SECRET: Final = 8  # characters
MASK: Final = "***"
LARGEST_DISGUISE: Final = 4 * 1024 * 1024  # bytes; larger responses are not searched for disguised secrets
VISIBLE: Final = re.compile(r"[!-~]+")
NAMED: Final = frozenset("&<>\"'")  # characters that HTML has names for
# After a backslash: a character that is not visible ASCII, or an escaped line break.
HIDDEN: Final = (
    r"(?:u(?!00(?:2[1-9A-Fa-f]|[3-7])|2026)[0-9A-Fa-f]{4}|x(?:[0189A-Fa-f][0-9A-Fa-f]|20|7[fF])|[abfnrtv \t\r\n])"
)
# An escape, which the reader of a text may decode. The pattern begins with a character class, because `re` searches
# fast for one.
ESCAPE: Final = (
    r"[\\%&](?:"
    rf"(?<=\\)(?<!\\\\)\\*(?:{HIDDEN}(?:\\+{HIDDEN})*+|u([0-9A-Fa-f]{{4}})|x([0-9A-Fa-f]{{2}})|(?=[%&])|([!-/:-@\[-`{{-~]))"
    r"|(?<=%)(?:25)*([0-9A-Fa-f]{2})"
    r"|(?<=&)(?:amp;)*(#\d{1,7};|#[xX][0-9A-Fa-f]{1,6};|[a-zA-Z]{2,7};))"
)
INVISIBLE: Final = bytes({*range(0x21), 0x7F})
# Invisible characters, also escaped ones, between two characters of a secret. Spaces and line breaks count, because
# texts are wrapped, and lines are joined.
UNSEEN: Final = (
    r"(?:[^!-~…]"
    rf"|\\+(?:{HIDDEN}|(?=[%&]))"
    r"|%(?:25)*(?:[0189A-Fa-f][0-9A-Fa-f]|20|7[fF])"
    r"|&(?:amp;)*(?:#(?!0*(?:3[3-9]|[4-9]\d|1[01]\d|12[0-6]);)\d{1,7}"
    r"|#[xX](?!0*(?:2[1-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e]);)[0-9A-Fa-f]{1,6}"
    r"|zwn?j|shy|[lr][rl]m|nbsp|Tab|NewLine|e[nm]sp|thinsp);)*+"
)
CUT: Final = r"(?:[\\%&][\\%&#;a-zA-Z0-9]{0,11})?(…|\.\.\.|\\+u2026)"  # the end of a cut text, even in an escape


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
    r"""A secret may be escaped (`\u`, `%`, `&`), contain invisible characters, be broken by spaces or line breaks (also
    written as `\n`), or be part of base64. The beginning of a secret is masked, too, if an ellipsis follows. Terminal
    sequences are removed, because they may split a secret.
    """

    def __init__(self, *secrets: str) -> None:
        self._secrets: list[tuple[list[str], list[_Disguised]]] = []
        for secret in sorted(secrets, key=len, reverse=True):  # one may be the beginning of another
            codes = [_base64(secret, offset) for offset in range(3)] if VISIBLE.fullmatch(secret) else []
            safe = [code.replace("+", "-").replace("/", "_") for code in codes]
            written = (secret, json.dumps(secret)[1:-1], _as_html(secret), _as_html(secret, quote=False))
            plain = [spelling for spelling in dict.fromkeys((*written, *codes, *safe)) if spelling]
            disguised = [_Disguised(spelling) for spelling in dict.fromkeys((secret, *codes, *safe)) if codes]
            self._secrets.append((plain, disguised))

    def redact(self, text: str) -> str:
        text = without_sequences(text)
        undisguised = None
        for spellings, all_disguised in self._secrets:
            for plain in spellings:
                text = text.replace(plain, MASK)
            if undisguised is None and all_disguised:
                undisguised = _undisguised(text)
            for disguised in all_disguised:
                if disguised.beginning in (undisguised or ""):
                    text = disguised.redact(text)
        return text

    def redact_body(self, body: bytes) -> bytes:
        """In a very large body, mask undisguised secrets only."""
        if len(body) <= LARGEST_DISGUISE:
            return self.redact(body.decode("latin-1")).encode("latin-1")  # bytes of other characters do not matter
        for spellings, _ in self._secrets:
            for plain in spellings:
                body = body.replace(plain.encode(), MASK.encode())
        return body


class _Disguised:
    """This is slow; without `beginning` in the text, skip it."""

    def __init__(self, plain: str) -> None:
        self.beginning = plain[: SHORTEST_SECRET - 1]
        self._plain = plain

    @cached_property
    def _first(self) -> re.Pattern[str]:
        return re.compile(UNSEEN.join(_in_any_form(char) for char in self.beginning))

    @cached_property
    def _others(self) -> list[re.Pattern[str]]:
        return [re.compile(UNSEEN + _in_any_form(char)) for char in self._plain[len(self.beginning) :]]

    def redact(self, text: str) -> str:
        parts, done, start = [], 0, 0
        while beginning := self._first.search(text, start):
            end, left = beginning.end(), len(self._others)
            for character in self._others:
                if not (match := character.match(text, end)):
                    break
                end, left = match.end(), left - 1
            cut = re.compile(UNSEEN + CUT).match(text, end) if 0 < left < len(self._others) else None
            if left and not cut:
                start = beginning.start() + 1
                continue
            parts += [text[done : beginning.start()], MASK, cut[1] if cut else ""]
            done = start = cut.end() if cut else end
        return "".join([*parts, text[done:]])


@lru_cache(maxsize=8)
def redactor(*secrets: str) -> Redactor:
    return Redactor(*secrets)


def _base64(secret: str, offset: int) -> str:
    """`offset`: bytes after a boundary. Leave out characters that neighbours change."""
    code = b64encode(b"\0" * offset + secret.encode()).decode()
    shared = len(code.rstrip("=")) - (1 if code.endswith("=") else 0)
    return code[(0, 2, 3)[offset] : shared]


def _as_html(text: str, *, quote: bool = True) -> str:
    """Keys rarely need that, and the launch would wait for the import."""
    if not NAMED.intersection(text):
        return text
    from html import escape

    return escape(text, quote=quote)


def _in_any_form(char: str) -> str:
    code = f"{ord(char):02x}"
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in code)
    plain, named = re.escape(char), re.escape(_as_html(char).removeprefix("&"))
    after_backslash = f"u00{digits}|x{digits}" + ("" if char.isalnum() else f"|{plain}")
    entities = f"#0*{ord(char)};|#[xX]0*{digits};" + ("" if named == plain else f"|{named}")
    return rf"(?:{plain}|(?<!\\)\\+(?:{after_backslash})|%(?:25)*{digits}|&(?:amp;)*(?:{entities}))"


def _undisguised(text: str) -> str:
    if any(char in text for char in "\\%&"):
        text = _escape().sub(lambda match: _unescaped(match[0]), text)
    return text.encode("ascii", "ignore").translate(None, INVISIBLE).decode()


@lru_cache(maxsize=1)
def _escape() -> re.Pattern[str]:
    """Compile ESCAPE only if a text needs it: that takes as long as importing a package."""
    return re.compile(ESCAPE)


@lru_cache(maxsize=1024)  # a text repeats few different escapes
def _unescaped(escaped: str) -> str:
    """Return "" for anything but a visible ASCII character."""
    match = _escape().fullmatch(escaped)
    unicode, byte, char, percent, entity = match.groups() if match else [None] * 5
    if char:
        return str(char)
    from html import unescape

    text = unescape(f"&{entity}") if entity else chr(int(unicode or byte or percent or "0", 16))
    return text if VISIBLE.fullmatch(text) else ""
