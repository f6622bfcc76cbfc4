"""Whose files are where: the realm that gives users their stores.

A portal asks a `DirectoryRealm` for the avatar of a user who has logged in, as an ``IFileStore``.
His root is the same for all, has his name in its path, or is what is said of him alone; those
who have the same root share what is counted there. Who may log in is the portal's business, and
anonymous users are among them only where the realm was told what they see.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.core.auth.interfaces import Avatar, IRealm
from sennit.core.errors import LoginDenied, LoginUnavailableError
from sennit.core.reactor.base import current_reactor
from sennit.ftp.errors import FTPUsageError, StoreError
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.store.directory import DirectoryStore
from sennit.ftp.store.root import Root
from sennit.ftp.store.rules import Names, Permissions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.ftp.store.quota import Quota
    from sennit.ftp.store.rules import Words

__all__ = ["DirectoryRealm", "UserFiles", "anonymous_files"]

MOST_ROOTS: Final = 10_000
"""Roots of which it is remembered how much there is."""
_NAMES: Final = Names(hidden=False)
"""What users can be called whose directories are called so."""

_log = logging.getLogger(__name__)


class UserFiles:
    """What is said of one user; what is left out is as for all.

    Args:
        root: His directory.
        permissions: What he may do, as `Permissions` takes it.
        quota: How much there may be.
        umask: Permission bits that what he makes does not have.
    """

    __slots__ = ("permissions", "quota", "root", "umask")

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        permissions: Words | Mapping[str, Words] | Permissions | None = None,
        quota: Quota | None = None,
        umask: int | None = None,
    ) -> None:
        self.root = None if root is None else os.fspath(root)
        self.permissions = None if permissions is None else Permissions.of(permissions)
        self.quota = quota
        self.umask = umask


def anonymous_files(
    root: str | os.PathLike[str], *, incoming: str = "", quota: Quota | None = None
) -> UserFiles:
    """Give what anonymous users see: files to fetch, and perhaps a directory to leave some in.

    Args:
        root: Their directory.
        incoming: A directory in it, such as ``/incoming``, where files can be stored, and
            neither seen nor replaced (RFC 2577 §8: else strangers meet there).
        quota: How much there may be.
    """
    permissions: dict[str, Words] = {"/": "view"}
    if incoming:
        permissions[incoming] = "create"
    return UserFiles(root, permissions=permissions, quota=quota)


@implementer(IRealm)
class DirectoryRealm:
    """Gives users their directories.

    Args:
        root: Of all of whom nothing else is said; ``{user}`` in it stands for the user's name.
            ``None`` when nobody else has one.
        permissions: What users may do, as `Permissions` takes it.
        quota: How much there may be beneath each root.
        umask: Permission bits that new files and directories do not have.
        hidden: Whether names that begin with a dot are there.
        follow: Whether links are followed that stay beneath the root.
        sync: Whether what is received is on the disk before it is acknowledged.
        keep_broken: Whether what has come of a new file that breaks off gets the file's name; never
            of anonymous users.
        create: Whether a root that is missing is made, its last name only.
        users: What is said of single users, by name.
        anonymous: What anonymous users see; nothing when left out, and they cannot log in.
        anonymous_name: What checkers call them.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        *,
        permissions: Words | Mapping[str, Words] | Permissions = "all",
        quota: Quota | None = None,
        umask: int = 0o022,
        hidden: bool = True,
        follow: bool = False,
        sync: bool = True,
        keep_broken: bool = False,
        create: bool = False,
        users: Mapping[str, UserFiles] | None = None,
        anonymous: UserFiles | None = None,
        anonymous_name: str = "anonymous",
    ) -> None:
        self._default = UserFiles(root, permissions=permissions, quota=quota, umask=umask)
        self._hidden = hidden
        self._follow = follow
        self._sync = sync
        self._keep_broken = keep_broken
        self._create = create
        self._users = dict(users or {})
        if anonymous is not None and anonymous.root is None:
            raise FTPUsageError("anonymous users need a root of their own")
        self._anonymous = anonymous
        self._anonymous_name = anonymous_name
        self._roots: OrderedDict[str, Root] = OrderedDict()

    @property
    def interfaces(self) -> tuple[Any, ...]:  # Any: interfaces are no types
        return (IFileStore,)

    def may_act_as(self, name: str, other: str) -> bool:
        return False

    async def open_avatar(self, name: str, interface: Any) -> Avatar:  # Any: `IFileStore`
        files = self._files(name)
        path = self._path(files, name)
        self._check(path, name)
        default = self._default
        quota = default.quota if files.quota is None else files.quota
        root = self._root(path, clean=quota is None)  # who counts cleans, too
        store = DirectoryStore(
            root,
            permissions=files.permissions or default.permissions or "all",
            quota=quota,
            umask=(default.umask if files.umask is None else files.umask) or 0,
            hidden=self._hidden,
            sync=self._sync,
            # A stranger cannot be told from another: each could go on with what others left.
            keep_broken=self._keep_broken and name != self._anonymous_name,
        )
        root.sessions += 1
        try:
            await store.count()
        except StoreError as error:
            self._left(root)
            raise LoginUnavailableError(f"the files of {name!r} cannot be counted") from error
        except BaseException:
            self._left(root)
            raise
        return Avatar(store, lambda: self._left(root))

    def _files(self, name: str) -> UserFiles:
        if name == self._anonymous_name:
            if self._anonymous is None:
                raise LoginDenied("anonymous users see nothing here")
            return self._anonymous
        return self._users.get(name, self._default)

    def _path(self, files: UserFiles, name: str) -> str:
        path = self._default.root if files.root is None else files.root
        if path is None:
            raise LoginDenied("no directory")
        if "{user}" not in path:
            return path
        if not _NAMES.can_be(name):
            raise LoginDenied("the name cannot be one of a directory")
        return path.replace("{user}", name)

    def _check(self, path: str, name: str) -> None:
        """See that there is a root, or make it."""
        try:
            if self._create:
                try:
                    os.mkdir(path, 0o755)
                except FileExistsError:
                    pass
            if not os.path.isdir(path):
                os.stat(path)
                raise NotADirectoryError(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            _log.warning("%r has no directory: %s", name, error)
            raise LoginDenied("no directory") from error
        except OSError as error:
            raise LoginUnavailableError(f"the directory of {name!r}: {error}") from error

    def _root(self, path: str, *, clean: bool) -> Root:
        path = os.path.abspath(path)
        root = self._roots.get(path)
        if root is None:
            root = self._roots[path] = Root(path, follow=self._follow)
            if len(self._roots) > MOST_ROOTS:
                for old, each in self._roots.items():
                    if not each.sessions:
                        del self._roots[old]
                        break
            if clean:
                self._clean(root)
        self._roots.move_to_end(path)
        return root

    @staticmethod
    def _clean(root: Root) -> None:
        """Remove what a crash has left, while the user begins: nobody sees it anyway."""
        current_reactor().defer_to_thread(root.clean).add_errback(
            lambda error: _log.warning("%s cannot be looked through: %s", root.path, error)
        )

    @staticmethod
    def _left(root: Root) -> None:
        root.sessions -= 1
        if not root.sessions:
            root.close()
