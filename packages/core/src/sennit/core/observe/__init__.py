"""Files observed: `observe` tells what was created, modified, moved and removed.

On Linux the kernel says where to look (``inotify.py``), elsewhere, and where it cannot, files
are looked at now and then (``statpoll.py``).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.core.observe.files import Observer, observe
    from sennit.core.observe.statpoll import Change, FileEvent

__all__ = ["Change", "FileEvent", "Observer", "observe"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name from the module it lives in, the first time it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = "statpoll" if name in ("Change", "FileEvent") else "files"
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
