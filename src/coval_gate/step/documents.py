"""The documents of a step's reports, each composed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coval_gate.report.document.step import Document
    from coval_gate.report.model import Report


class Documents:
    """Remembers the document of the last report, which all formats share."""

    def __init__(self) -> None:
        self._last: tuple[Report, Document, bool] | None = None

    def of(self, report: Report, *, brief: bool = False) -> Document:
        """Return the document. That of a large run takes seconds; a brief one may lack the simulations."""
        from coval_gate.report.compose.step import document_of  # not needed before the launch, whose start is measured

        if self._last and self._last[0] is report and self._last[2] <= brief:
            return self._last[1]
        document = document_of(report, brief=brief)
        self._last = report, document, brief
        return document
