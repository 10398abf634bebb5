"""Credentials that stay out of logs and files, in whatever form a server repeats them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import cached_property, lru_cache
from html import escape, unescape
from typing import Final

SHORTEST_SECRET: Final = 8  # characters
MASK: Final = "***"
LARGEST_DISGUISE: Final = 4 * 1024 * 1024  # bytes of a response in which disguised secrets are looked for
VISIBLE: Final = re.compile(r"[!-~]+")
# After a backslash: a character that is not visible ASCII, or a line break that is written out.
HIDDEN: Final = (
    r"(?:u(?!00(?:2[1-9A-Fa-f]|[3-7])|2026)[0-9A-Fa-f]{4}|x(?:[0189A-Fa-f][0-9A-Fa-f]|20|7[fF])|[abfnrtv \t\r\n])"
)
# An escape, which whatever uses a text may turn back. The pattern begins with one class of characters, because `re`
# searches fast for that.
ESCAPE: Final = (
    r"[\\%&](?:"
    rf"(?<=\\)(?<!\\\\)\\*(?:{HIDDEN}(?:\\+{HIDDEN})*+|u([0-9A-Fa-f]{{4}})|x([0-9A-Fa-f]{{2}})|(?=[%&])|([!-/:-@\[-`{{-~]))"
    r"|(?<=%)(?:25)*([0-9A-Fa-f]{2})"
    r"|(?<=&)(?:amp;)*(#\d{1,7};|#[xX][0-9A-Fa-f]{1,6};|[a-zA-Z]{2,7};))"
)
INVISIBLE: Final = bytes({*range(0x21), 0x7F})
# Characters that are not seen, also escaped ones, which may stand between two characters of a secret; so may spaces and
# line breaks, because texts are wrapped, and lines are joined.
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
    """A value that only `reveal` returns; repr and str mask it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"


class Redactor:
    r"""Masks secrets, also where they are disguised.

    They may be escaped (`\u`, `%`, `&`), hold characters that are not seen, be wrapped by white space or line breaks
    (also written as `\n`), or be a part of base64. The beginning of one is masked, too, where an ellipsis says that the
    rest was cut off.
    """

    def __init__(self, *secrets: str) -> None:
        self._plain: list[str] = []
        self._disguised: list[_Disguised] = []
        for secret in secrets:
            codes = [_base64(secret, offset) for offset in range(3)] if VISIBLE.fullmatch(secret) else []
            safe = [code.replace("+", "-").replace("/", "_") for code in codes]
            written = (secret, json.dumps(secret)[1:-1], escape(secret), escape(secret, quote=False))
            self._plain += [spelling for spelling in dict.fromkeys((*written, *codes, *safe)) if spelling]
            self._disguised += [_Disguised(spelling) for spelling in dict.fromkeys((secret, *codes, *safe)) if codes]

    def redact(self, text: str) -> str:
        """Return `text` with the secrets masked."""
        for plain in self._plain:
            text = text.replace(plain, MASK)
        undisguised = _undisguised(text) if self._disguised else ""
        for each in self._disguised:
            if each.beginning in undisguised:
                text = each.redact(text)
        return text

    def redact_body(self, body: bytes) -> bytes:
        """Return the body of a response with the secrets masked; in a very large one, only as far as undisguised."""
        if len(body) <= LARGEST_DISGUISE:
            return self.redact(body.decode("latin-1")).encode("latin-1")  # the bytes of other characters are not seen
        for plain in self._plain:
            body = body.replace(plain.encode(), MASK.encode())
        return body


class _Disguised:
    """Masks a text wherever its characters are disguised. This is slow, so `beginning` tells whether to look at all."""

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
        while found := self._first.search(text, start):
            end, left = found.end(), len(self._others)
            for character in self._others:
                if not (match := character.match(text, end)):
                    break
                end, left = match.end(), left - 1
            cut = re.compile(UNSEEN + CUT).match(text, end) if 0 < left < len(self._others) else None
            if left and not cut:
                start = found.start() + 1
                continue
            parts += [text[done : found.start()], MASK, cut[1] if cut else ""]
            done = start = cut.end() if cut else end
        return "".join([*parts, text[done:]])


@lru_cache(maxsize=8)
def redactor(*secrets: str) -> Redactor:
    """Return the redactor of these secrets."""
    return Redactor(*secrets)


def _base64(secret: str, offset: int) -> str:
    """Return what base64 makes of the secret, `offset` bytes after a boundary, whatever comes before and after it."""
    code = b64encode(b"\0" * offset + secret.encode()).decode()
    shared = len(code.rstrip("=")) - (1 if code.endswith("=") else 0)
    return code[(0, 2, 3)[offset] : shared]


def _in_any_form(char: str) -> str:
    """Return a pattern for a visible ASCII character as it is, or escaped."""
    code = f"{ord(char):02x}"
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in code)
    plain, named = re.escape(char), re.escape(escape(char).removeprefix("&"))
    after_backslash = f"u00{digits}|x{digits}" + ("" if char.isalnum() else f"|{plain}")
    entities = f"#0*{ord(char)};|#[xX]0*{digits};" + ("" if named == plain else f"|{named}")
    return rf"(?:{plain}|(?<!\\)\\+(?:{after_backslash})|%(?:25)*{digits}|&(?:amp;)*(?:{entities}))"


def _undisguised(text: str) -> str:
    """Return `text` with escaped characters as they are, and without those that are not seen and white space."""
    if any(char in text for char in "\\%&"):
        text = _escape().sub(lambda match: _unescaped(match[0]), text)
    return text.encode("ascii", "ignore").translate(None, INVISIBLE).decode()


@lru_cache(maxsize=1)
def _escape() -> re.Pattern[str]:
    """Compile ESCAPE when a text needs it, because that takes as long as the import of a package."""
    return re.compile(ESCAPE)


@lru_cache(maxsize=1024)  # thousands of escapes are a few different ones
def _unescaped(found: str) -> str:
    """Return the visible ASCII character that an escape stands for; nothing for any other."""
    match = _escape().fullmatch(found)
    unicode, byte, char, percent, entity = match.groups() if match else [None] * 5
    if char:
        return str(char)
    text = unescape(f"&{entity}") if entity else chr(int(unicode or byte or percent or "0", 16))
    return text if VISIBLE.fullmatch(text) else ""
