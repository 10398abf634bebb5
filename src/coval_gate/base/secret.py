"""Keeps credentials out of logs and files."""

import re
from functools import cached_property, lru_cache
from typing import Any, Final

from coval_gate.base.text import printable

SHORTEST_SECRET: Final = 8  # characters
MASK: Final = "***"
CUT: Final = r"( ?(?:…|\.\.\.))"  # the end of a cut text


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
    """Masks secrets in texts that no format has escaped yet. The beginning of one is masked if an ellipsis follows."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)  # one may be the beginning of another
        self._beginnings = list(dict.fromkeys(secret[:SHORTEST_SECRET] for secret in self._secrets))

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        longest = max(map(len, self._secrets))
        return re.compile(rf"((?:{'|'.join(map(re.escape, self._beginnings))})[^\s…]{{0,{longest}}}?){CUT}")

    def redact(self, text: str) -> str:
        """Remove invisible characters, too, if a secret has some inside: what shows the text later removes them."""
        redacted, clean = self._redact(text), printable(text)
        if clean == text:
            return redacted
        whole = self._redact(clean)
        return whole if whole.count(MASK) > redacted.count(MASK) else redacted

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return self._cut.sub(self._masked, text) if any(part in text for part in self._beginnings) else text

    def _masked(self, cut: re.Match[str]) -> str:
        return MASK + cut[2] if any(secret.startswith(cut[1]) for secret in self._secrets) else cut[0]

    def is_clear(self, json: str) -> bool:
        """Return whether no text in this JSON needs redaction: without escapes, each stands in it as it is."""
        has_any = any(part in json for part in self._beginnings)
        return not has_any and "\\" not in json and printable(json) == json

    def redact_json(self, content: object) -> Any:
        """Redact every text in parsed JSON: after parsing, it does not matter which escapes spelled a secret."""
        match content:
            case str():
                return self.redact(content)
            case list():
                return [self.redact_json(item) for item in content]
            case dict():
                return {self.redact(key): self.redact_json(value) for key, value in content.items()}
        return content


@lru_cache(maxsize=8)
def redactor(*secrets: str) -> Redactor:
    return Redactor(*secrets)
