"""A measured figure beside its yardstick, and what several measurements need."""

import compileall
from dataclasses import dataclass
from pathlib import Path

from coval_gate.inputs.inputs import declared

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = {declaration.name: declaration.default for declaration in declared()}


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure, and what the docs claim of it. Its text is one line."""

    name: str
    value: float
    unit: str = ""
    yardstick: tuple[str, float] | None = None  # such as ("fixed 30 s interval", 5.4), in the same unit
    most: float | None = None  # the largest acceptable value; None without a claim

    @property
    def ok(self) -> bool:
        """Whether the claim is met."""
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        shown = f"{self.name}: {self.value:,.2f} {self.unit}".rstrip()
        if self.yardstick:
            shown += f"; {self.yardstick[0]}: {self.yardstick[1]:,.2f}"
        return shown if self.most is None else f"{shown}; at most {self.most:,.2f}: {'ok' if self.ok else 'NO'}"


def compile_gate() -> None:
    """Compile all modules, as in the image. With -B, each process would otherwise compile every module again."""
    compileall.compile_dir(str(ROOT / "src" / "coval_gate"), quiet=1)
