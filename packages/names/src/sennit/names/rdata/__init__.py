"""Record data by type: each type a small class, loaded when it first turns up.

`rdata_class` gives the class of a type's number, `GenericRdata` where there is none. Where they
are is in ``registry.py``; what they are declared with in ``base.py``, ``fields.py`` and
``codecs.py``. A program adds its own with `register`.
"""

from __future__ import annotations

from sennit.names.rdata.base import GenericRdata, Rdata
from sennit.names.rdata.registry import (
    known_types,
    parse_rdata,
    rdata_class,
    rdata_from_wire,
    read_rdata,
    register,
)

__all__ = [
    "GenericRdata",
    "Rdata",
    "known_types",
    "parse_rdata",
    "rdata_class",
    "rdata_from_wire",
    "read_rdata",
    "register",
]
