"""Files observed: `observe` tells what was created, modified, moved and removed.

On Linux the kernel says where to look (``inotify.py``), elsewhere, and where it cannot, files
are looked at now and then (``statpoll.py``).
"""

from __future__ import annotations

from sennit.core.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.core.observe.files import Observer, observe
    from sennit.core.observe.statpoll import Change, FileEvent

__all__ = ["Change", "FileEvent", "Observer", "observe"]

_ROOMS = {"files": ("Observer", "observe"), "statpoll": ("Change", "FileEvent")}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
