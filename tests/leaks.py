"""Finds a secret in what was written, as an attacker would: by decoding it. It shares no code with the gate."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote

ROUNDS = 4  # times that a text is decoded
BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}")

DISGUISES: Final[dict[str, Callable[[str], str]]] = {
    "plain": lambda secret: secret,
    "unicode": lambda secret: "".join(f"\\u{ord(char):04x}" for char in secret),
    "unicode-twice": lambda secret: "".join(f"\\\\u{ord(char):04X}" for char in secret),
    "unicode-once": lambda secret: secret.replace("_", "\\u005f"),
    "hexadecimal": lambda secret: "".join(f"\\x{ord(char):02x}" for char in secret),
    "zero-width": lambda secret: "\u200b".join(secret),
    "joined": lambda secret: secret[:9] + "\u200d\u2060\ufeff" + secret[9:],
    "soft-hyphen": lambda secret: f"{secret[:3]}\u00ad{secret[3:]}",
    "variation": lambda secret: secret.replace("_", "_\ufe0f\U000e0101"),
    "control": lambda secret: f"{secret[:5]}\x00\x1b{secret[5:]}",
    "colours": lambda secret: "\x1b[1;38:5:9m".join([secret[:5], secret[5:12], secret[12:]]),
    "hyperlink": lambda secret: f"{secret[:4]}\x1b]8;;http://a.example/?b\x1b\\{secret[4:9]}\x1b]8;;\x07{secret[9:]}",
    "line-break": lambda secret: f"{secret[:11]}\n{secret[11:]}",
    "wrapped": lambda secret: "\r\n    ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
    "tab": lambda secret: f"{secret[:6]}\t{secret[6:]}",
    "spaces": lambda secret: " ".join(secret),
    "written-line-break": lambda secret: f"{secret[:4]}\\n{secret[4:]}",
    "written-tabs": lambda secret: "\\t\\r".join(secret),
    "escaped-line-break": lambda secret: f"{secret[:8]}\\u000a\\x20{secret[8:]}",
    "continued": lambda secret: f"{secret[:8]}\\\n{secret[8:]}",
    "url-line-break": lambda secret: f"{secret[:8]}%0D%0A%20{secret[8:]}",
    "html-line-break": lambda secret: f"{secret[:8]}&#10;&nbsp;{secret[8:]}",
    "base64-lines": lambda secret: base64.encodebytes(f"{'x' * 52}{secret}".encode()).decode(),
    "escaped-zero-width": lambda secret: "\\u200b".join(secret),
    "url": lambda secret: "".join(f"%{ord(char):02x}" for char in secret),
    "url-twice": lambda secret: quote("".join(f"%{ord(char):02X}" for char in secret)),
    "url-once": lambda secret: secret.replace("_", "%5F"),
    "url-zero-width": lambda secret: quote("\u200b".join(secret)),
    "html": lambda secret: "".join(f"&#{ord(char)};" for char in secret),
    "html-hexadecimal": lambda secret: html.escape("".join(f"&#x{ord(char):X};" for char in secret)),
    "html-zero-width": lambda secret: "&#8203;".join(secret),
    "markdown": lambda secret: secret.replace("_", "\\_"),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64-1": lambda secret: base64.b64encode(f"x{secret}y".encode()).decode(),
    "base64-2": lambda secret: base64.b64encode(f"xy{secret}".encode()).decode(),
    "base64-basic": lambda secret: base64.b64encode(f"user:{secret}\n".encode()).decode(),
    "base64-safe": lambda secret: base64.urlsafe_b64encode(f">>>{secret}???".encode()).decode(),
    "base64-safe-1": lambda secret: base64.urlsafe_b64encode(f"~{secret}".encode()).decode(),
    "base64-json": lambda secret: base64.b64encode(f"\xff{secret}".encode()).decode().replace("/", "\\/"),
    "base64-url": lambda secret: quote(base64.b64encode(f"ÿÿ{secret}".encode()).decode(), safe=""),
}


SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # of a terminal


def holds(text: str, secret: str) -> bool:
    """Return whether a text holds a secret, in any form that decoding brings back."""
    for _ in range(ROUNDS):
        before, text = text, _decoded(text)
        visible = re.sub(r"[^!-~]+", "", SEQUENCES.sub("", text))
        if secret in visible or any(secret.encode() in decoded for decoded in _from_base64(visible)):
            return True
        if text == before:
            break
    return False


def _decoded(text: str) -> str:
    text = re.sub(r"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})", lambda found: chr(int(found[1] or found[2], 16)), text)
    text = re.sub(r"\\+[abfnrtv]", "\n", text)
    return re.sub(r"\\+([!-/:-@\[-`{-~\s])", r"\1", html.unescape(unquote(text, errors="replace")))


def _from_base64(text: str) -> list[bytes]:
    """Decode every run of base64's characters, from each of four places on."""
    runs = BASE64.findall(text.replace("-", "+").replace("_", "/"))
    found = []
    for run in (run[start:] for run in runs for start in range(4)):
        try:
            found.append(base64.b64decode(run[: len(run) // 4 * 4]))
        except binascii.Error:
            continue
        if len(run) % 4 > 1:
            found.append(base64.b64decode(run + "=" * (-len(run) % 4)))
    return found


def in_json(text: str) -> str:
    """Return a text as the inside of a JSON string; an escape in it stays an escape."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return re.sub(r"\\\\u([0-9a-fA-F]{4})", r"\\u\1", escaped)
