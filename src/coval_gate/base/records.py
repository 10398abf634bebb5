"""`NamedTuple` for records that load quickly.

`typing.NamedTuple` compiles the annotation of each field, for programs that read them. Nothing here reads those of a
record, and compiling them is a third of the time that our modules take to load before the launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        """Makes a named tuple of a class body: fields are what it annotates, defaults what it assigns to them."""

        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace.get("__annotations__", {})
            defaults = [namespace[field] for field in fields if field in namespace]
            record = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            for attribute in namespace.keys() - fields.keys() - {"__dict__", "__weakref__"}:
                setattr(record, attribute, namespace[attribute])
            return record

    class NamedTuple(metaclass=_Maker):
        """The base of a record, as `typing.NamedTuple` is."""
