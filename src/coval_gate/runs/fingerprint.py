"""The fingerprint of a run: digests of what its conversations depend on. Pure.

Coval does not show which contents of its test cases, which version of its persona and which options a run was launched
with. So the launch writes digests of them into the metadata. From these, a later run learns what has changed since.
"""

from __future__ import annotations

import base64
import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.coval.resources import Persona, TestCase

NAME: Final = "coval_gate_fingerprint"  # in the metadata; further parts have a number behind it
VERSION: Final = "1"
PART_LIMIT: Final = 200  # characters of a text in the metadata
MOST_CASES: Final = 250  # that are compared one by one
DIGEST: Final = 3  # bytes of the digest of an id, and of a content
PAIR: Final = 2 * DIGEST
OPTIONS: Final = ("iteration_count", "sub_sample_size", "sub_sample_seed", "config_overrides")  # names of inputs
COMPARED: Final = OPTIONS[1:]  # more iterations make the same conversations only more certain


class Fingerprint(NamedTuple):
    """The digests; an empty one is not known.

    `cases`: for each test case, the digests of its id and its content; none if there are more than MOST_CASES.
    `all_cases`: a digest over all of them in that case. `options`: by the names of inputs.
    """

    cases: frozenset[bytes] = frozenset()
    all_cases: str = ""
    persona: str = ""
    options: Mapping[str, str] = MappingProxyType({})

    def as_metadata(self) -> dict[str, str]:
        """Return the fingerprint as metadata of a launch, in texts of at most PART_LIMIT characters."""
        pairs = base64.urlsafe_b64encode(b"".join(sorted(self.cases))).decode()
        content = ".".join([self.persona, *(self.options.get(name, "") for name in OPTIONS), self.all_cases, pairs])
        whole = ".".join([VERSION, _digest(content), content])
        parts = [whole[begin : begin + PART_LIMIT] for begin in range(0, len(whole), PART_LIMIT)]
        return {_name(number): part for number, part in enumerate(parts)}


def fingerprint_of(
    parameters: Mapping[str, Any], cases: Iterable[TestCase] = (), persona: Persona | None = None
) -> Fingerprint:
    """Return the fingerprint of a launch: of its `parameters`, its test cases, and its persona."""
    pairs = frozenset(_hashed(_json(case.id))[:DIGEST] + _hashed(case.content)[:DIGEST] for case in cases)
    is_small = len(pairs) <= MOST_CASES
    values = {**parameters, **parameters.get("options", {})}
    return Fingerprint(
        cases=pairs if is_small else frozenset(),
        all_cases="" if is_small else _digest([pair.hex() for pair in sorted(pairs)]),
        persona=_hashed(persona.content)[:4].hex() if persona else "",
        options={name: _digest(values.get(name)) for name in OPTIONS},
    )


def read_fingerprint(metadata: Mapping[str, Any]) -> Fingerprint | None:
    """Read the fingerprint in the metadata of a run; None if it is absent, damaged, or of another version."""
    parts: list[str] = []
    while isinstance(part := metadata.get(_name(len(parts))), str):
        parts.append(part)
    version, _, rest = "".join(parts).partition(".")
    check, _, content = rest.partition(".")
    fields = content.split(".")
    if version != VERSION or check != _digest(content) or len(fields) != len(OPTIONS) + 3:
        return None
    persona, *options, all_cases, pairs = fields
    try:
        raw = base64.b64decode(pairs, altchars=b"-_", validate=True)
    except ValueError:
        return None
    cases = frozenset(raw[begin : begin + PAIR] for begin in range(0, len(raw), PAIR))
    return Fingerprint(
        cases=cases, all_cases=all_cases, persona=persona, options=dict(zip(OPTIONS, options, strict=True))
    )


def changed_cases(now: Fingerprint | None, then: Fingerprint | None, cases: Iterable[str]) -> frozenset[str] | None:
    """Return the test cases (ids) whose contents differ; None if the fingerprints do not show it.

    A test case that one of the fingerprints lacks counts as changed: nothing shows that it is the same.
    """
    if now is None or then is None:
        return None
    if now.cases and then.cases:
        same = {pair[:DIGEST] for pair in now.cases & then.cases}
        return frozenset(case for case in cases if _hashed(_json(case))[:DIGEST] not in same)
    return frozenset() if now.all_cases and now.all_cases == then.all_cases else None


def changed_persona(now: Fingerprint | None, then: Fingerprint | None) -> bool | None:
    """Return whether the persona has changed; None if the fingerprints do not show it."""
    if now is None or then is None or not (now.persona and then.persona):
        return None
    return now.persona != then.persona


def changed_options(now: Fingerprint | None, then: Fingerprint | None) -> tuple[str, ...]:
    """Return the options that differ and matter to a comparison, as far as both fingerprints show them."""
    if now is None or then is None:
        return ()
    pairs = {name: (now.options.get(name), then.options.get(name)) for name in COMPARED}
    return tuple(name for name, (ours, theirs) in pairs.items() if ours and theirs and ours != theirs)


def _name(number: int) -> str:
    return f"{NAME}_{number + 1}" if number else NAME


def _digest(value: object) -> str:
    return _hashed(_json(value))[:4].hex()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
