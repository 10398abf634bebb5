"""What only informs about a run: test cases in words, and what judges say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Texts for the report that do not affect the verdict.

    `labels`: test cases in words, by id. `texts`: explanations of metric values, by simulation id and metric id.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
