"""Reports as files: the document in formats that other programs and people read."""

from collections.abc import Callable, Mapping
from typing import Final

from coval_gate.features.files import digest, html, junit
from coval_gate.report.document import Document


def json(document: Document) -> str:
    """Return the whole document.

    The major number of its `schema_version` changes when something is removed or changes its meaning, the minor one
    when something is added.
    """
    return document.model_dump_json(indent=2, exclude_unset=True) + "\n"


RENDERERS: Final[Mapping[str, Callable[[Document], str]]] = {  # by the name of the input, without `_path`
    "digest": digest.render,
    "html": html.render,
    "json": json,
    "junit": junit.render,
}
