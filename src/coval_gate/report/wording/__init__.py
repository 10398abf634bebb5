"""All the English about results: the only place that turns measurements and causes into sentences."""

from __future__ import annotations

from typing import Final

UNFINISHED: Final = "The step ended before it could reach a verdict."  # known before the launch, so it stands here
