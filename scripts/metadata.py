"""Completes the package's metadata while hatchling builds it: addresses, and README with links that lead out of it."""

import re
import runpy
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

FILE: Final = re.compile(r"(\]\()(?![a-z]+:|#)")  # links to files of the repository
IMAGE: Final = re.compile(r'(src(?:set)?=")(?![a-z]+:)')


class Addresses(MetadataHookInterface):
    """Sets the metadata that depends on the repository and the release, by src/coval_gate/__init__.py."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        named = runpy.run_path(str(root / "src/coval_gate/__init__.py"))
        home, source = f"https://github.com/{named['REPOSITORY']}", named["SOURCE"]
        text = (root / "README.md").read_text(encoding="utf-8")
        text = IMAGE.sub(rf"\g<1>{home}/raw/{source}/", FILE.sub(rf"\g<1>{home}/blob/{source}/", text))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = {
            "Homepage": home,
            "Documentation": f"{home}/tree/{source}/docs",
            "Changelog": f"{home}/blob/{source}/CHANGELOG.md",
            "Issues": f"{home}/issues",
            "Security": f"{home}/blob/{source}/SECURITY.md",
        }
