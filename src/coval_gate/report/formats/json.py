"""The whole document as JSON, for programs.

The major number of `schema_version` changes when something is removed or changes its meaning, the minor one when
something is added.
"""

from coval_gate.report.document import Document


def render(document: Document) -> str:
    return document.model_dump_json(indent=2, exclude_unset=True) + "\n"
