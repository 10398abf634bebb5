"""Writes requirements files, which install a release by hash, beside its wheel: scripts/locks.py dist

Each file names the wheel at its address in the release, and every package that it needs:
pip install --no-deps --require-hashes --requirement ADDRESS/coval-gate.txt
"""

import hashlib
import sys
from pathlib import Path
from typing import Final

from pins import ROOT, identity

LOCKS: Final = {"coval-gate.txt": ("command.txt", ""), "coval-gate-attach.txt": ("attach.txt", "[attach]")}


def write_locks(dist: Path, root: Path = ROOT) -> None:
    """Write the files beside the wheel. Raises ValueError unless `dist` contains one wheel."""
    (wheel,) = dist.glob("*.whl")
    release = identity(root)
    address = f"https://github.com/{release.repository}/releases/download/v{release.version}/{wheel.name}"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for name, (lock, extra) in LOCKS.items():
        needed = (root / "requirements" / lock).read_text(encoding="utf-8")
        own = f"coval-gate{extra} @ {address} \\\n    --hash=sha256:{digest}\n"
        (dist / name).write_text(needed + own, encoding="utf-8")


if __name__ == "__main__":
    write_locks(Path(sys.argv[1]))
