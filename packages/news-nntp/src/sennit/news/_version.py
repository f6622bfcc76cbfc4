"""The version of this distribution: the only place it is written."""

from __future__ import annotations

__version__ = "0.1.0"
