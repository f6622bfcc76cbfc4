"""Giving up privileges, for good, before the first octet of a peer is read.

Order matters, and is that of capabilities(7): ``no_new_privs`` first, then the capabilities
that may ever be had again, then groups, group and user, then the capabilities that are
kept, then a look at what the kernel says of it. Threads have credentials of their own: the
C library's ``setuid`` reaches all of them, ``prctl`` and ``capset`` only the caller's, so
threads that run already lose every capability, and those started later have what is kept.

Linux has all of it; elsewhere user and groups, and asking for the rest is an error.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from sennit.core.errors import SennitError, UsageError

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Sequence

__all__ = [
    "CAPABILITIES",
    "Privileges",
    "PrivilegesError",
    "capability_number",
    "die_with_parent",
    "is_root",
]

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Names by number (capabilities(7))."""

# prctl(2), capset(2)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522


class PrivilegesError(SennitError):
    """Privileges could not be given up as asked; the process must not go on."""


def is_root() -> bool:
    """Whether this process may do everything."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def capability_number(name: str) -> int:
    """The number of a capability; ``net_bind_service`` is ``CAP_NET_BIND_SERVICE`` too.

    Raises:
        UsageError: There is none of that name.
    """
    wanted = name.upper()
    if not wanted.startswith("CAP_"):
        wanted = f"CAP_{wanted}"
    try:
        return CAPABILITIES.index(wanted)
    except ValueError:
        from difflib import get_close_matches

        close = get_close_matches(wanted, CAPABILITIES, 1)
        hint = f"; did you mean {close[0]}?" if close else ", such as CAP_NET_BIND_SERVICE"
        raise UsageError(f"{name!r} is no capability{hint}") from None


class Privileges:
    """Whom to become, and what to keep.

    Names are looked up when this is made, so that a mistake shows before anything listens.

    Args:
        user: Name or number; the present one when left out.
        group: Name or number; the user's own when left out.
        groups: Further groups; the user's own where left out, none where empty.
        capabilities: What to keep of root's powers, such as ``CAP_NET_BIND_SERVICE``.
        no_new_privs: Whether programs started from here gain nothing by set-user-ID bits.

    Raises:
        UsageError: There is no such user, group or capability, or this system or process
            cannot become it.
    """

    def __init__(
        self,
        user: str | None = None,
        group: str | None = None,
        groups: Sequence[str] | None = None,
        capabilities: Sequence[str] = (),
        *,
        no_new_privs: bool = False,
    ) -> None:
        self.uid: int | None = None
        self.gid: int | None = None
        self.groups: tuple[int, ...] | None = None
        self.capabilities = tuple(capability_number(each) for each in capabilities)
        self.no_new_privs = no_new_privs
        name: str | None = None
        if user is not None:
            self.uid, self.gid, name = _find_user(user)
        if group is not None:
            self.gid = _find_group(group)
        if self.gid is None and user is not None:
            raise UsageError(f"user {user!r} has no group of its own; say which")
        if groups is not None:
            self.groups = tuple(_find_group(each) for each in groups)
        elif self.gid is not None:
            self.groups = tuple(os.getgrouplist(name, self.gid)) if name else (self.gid,)
        if (self.capabilities or no_new_privs) and sys.platform != "linux":
            raise UsageError("capabilities and no_new_privs are Linux' own")
        if self.capabilities and self.uid is None:
            raise UsageError("capabilities are kept when another user is taken: say which")
        if self.changes_ids and not is_root():
            if (self.uid, self.gid) != (os.getuid(), os.getgid()) or self.capabilities:
                raise UsageError(
                    f"only root can become another user; this runs as number {os.getuid()}"
                )
            self.uid = self.gid = self.groups = None

    @property
    def changes_ids(self) -> bool:
        """Whether another user or group is taken."""
        return self.uid is not None or self.gid is not None

    def forbid_new(self) -> None:
        """Set ``no_new_privs``, if asked for: at the very beginning, before there are threads."""
        if self.no_new_privs:
            _prctl(_libc(), _PR_SET_NO_NEW_PRIVS, 1)

    def drop(self) -> None:
        """Become that user, keep what is to be kept, and see that it is so.

        Raises:
            PrivilegesError: The kernel refused, or says otherwise afterwards.
        """
        try:
            self.forbid_new()
            if self.changes_ids:
                self._change()
        except OSError as error:
            raise PrivilegesError(f"privileges cannot be given up: {error}") from error
        self._verify()

    def _change(self) -> None:
        libc = _libc() if _is_linux() else None
        becomes_other = self.uid not in (None, 0)
        if libc is not None and becomes_other:
            for each in range(64):
                if each not in self.capabilities and libc.prctl(_PR_CAPBSET_DROP, each, 0, 0, 0):
                    break  # a number that this kernel does not know: that was the last one
            if self.capabilities:
                _prctl(libc, _PR_SET_KEEPCAPS, 1)
        if self.groups is not None:
            os.setgroups(self.groups)
        if self.gid is not None:
            os.setresgid(self.gid, self.gid, self.gid)
        if self.uid is not None:
            os.setresuid(self.uid, self.uid, self.uid)
        if libc is not None and becomes_other and self.capabilities:
            _capset(libc, self.capabilities)
            for each in self.capabilities:
                # Ambient, so that a program started from here has it too.
                _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, each)
            _prctl(libc, _PR_SET_KEEPCAPS, 0)

    def _verify(self) -> None:
        """Trust the kernel alone: look, and try to come back."""
        if self.uid is not None:
            if set(os.getresuid()) != {self.uid}:
                raise PrivilegesError(f"user is {os.getresuid()}, not {self.uid}")
            if self.uid != 0:
                try:
                    os.setuid(0)
                except OSError:
                    pass
                else:
                    raise PrivilegesError("root can be had back; the process must not go on")
        if self.gid is not None and set(os.getresgid()) != {self.gid}:
            raise PrivilegesError(f"group is {os.getresgid()}, not {self.gid}")
        if self.groups is not None and self.uid not in (None, 0):
            more = set(os.getgroups()) - set(self.groups) - {self.gid}
            if more:
                raise PrivilegesError(f"groups {sorted(more)} are still there")


def die_with_parent(signum: int) -> None:
    """Get a signal when the process that started this one ends (Linux; else nothing).

    The kernel forgets it when the user changes: it is to be said again then.
    """
    if sys.platform == "linux":
        _prctl(_libc(), _PR_SET_PDEATHSIG, signum)


def _is_linux() -> bool:
    return sys.platform == "linux"


def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    import ctypes

    longs = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *longs) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def _capset(libc: ctypes.CDLL, numbers: Sequence[int]) -> None:
    """Have these capabilities, effective, permitted and inheritable, and no other."""
    import ctypes
    import struct

    bits = sum(1 << each for each in numbers)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(struct.pack("6I", low, low, low, high, high, high))
    if libc.capset(header, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _find_user(user: str) -> tuple[int, int | None, str | None]:
    """Number, group and name of a user."""
    import pwd

    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if user.isdigit():
            # A number without a name is fine, as in containers.
            return int(user), None, None
        raise UsageError(f"there is no user {user!r}") from None
    return found.pw_uid, found.pw_gid, found.pw_name


def _find_group(group: str) -> int:
    import grp

    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {group!r}") from None
