# What Sennit and its examples use of PyGObject, which carries no types.
from typing import Any

from gi.repository import GLib as GLib

Gtk: Any
