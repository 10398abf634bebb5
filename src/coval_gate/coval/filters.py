"""Builds the filters of Coval's lists. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from coval_gate.model.run import Run


class RunFilter(NamedTuple):
    """The runs to list: those with all of the values that are not empty.

    `created_until`: the latest time of creation, in ISO 8601.
    """

    tag: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    status: str = ""
    created_until: str = ""

    @classmethod
    def like(cls, run: Run) -> RunFilter:
        """Return the filter for runs of the same agent, persona and test set."""
        return cls(agent_id=run.agent_id, persona_id=run.persona_id, test_set_id=run.test_set_id)

    @property
    def can_be_sent(self) -> bool:
        """Whether all values can be written without escapes, because Coval documents none."""
        return all(value.isprintable() and not set('"\\') & set(value) for value in self)

    def __str__(self) -> str:
        """Return the filter as Coval's parameter `filter`."""
        equal = self._replace(created_until="")._asdict().items()
        terms = [f'{name}="{value}"' for name, value in equal if value]
        return " AND ".join([*terms, *([f'create_time<="{self.created_until}"'] if self.created_until else [])])
