"""Addresses that a page may link to. Pure."""

from __future__ import annotations

import re
from typing import Final

WEB: Final = re.compile(r"https?://[!-~]+")  # without spaces, controls and characters that look like others


def web_address(url: str) -> str:
    """Return an address of the web as it is; empty for anything else, such as a script."""
    return url if WEB.fullmatch(url) else ""
