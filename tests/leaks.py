"""Finds a secret in what was written, as an attacker would: by decoding it. It shares no code with the gate."""

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

ROUNDS = 4  # times that a text is decoded
BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}")

SPELLINGS: Final[dict[str, Callable[[str], str]]] = {  # inside a text in JSON
    "plain": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "slash": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
    "HTML-safe": lambda secret: re.sub("[<>&_]", lambda char: f"\\u{ord(char[0]):04x}", json.dumps(secret)[1:-1]),
    "escaped": lambda secret: "".join(f"\\u{ord(char):04X}" for char in secret),
}


SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # of a terminal


def has_secret(text: str, secret: str) -> bool:
    """Return whether a text contains a secret, in any form that decoding brings back."""
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
