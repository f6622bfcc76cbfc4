"""From a table of the configuration to a running service."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from sennit.core.auth.checkers import AnonymousChecker
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal
from sennit.core.service.server import ServerService
from sennit.core.service.tree import StartError, checked
from sennit.ftp.limits import Limits
from sennit.ftp.rates import Rates
from sennit.ftp.server import FTPServerFactory
from sennit.ftp.store.quota import Quota
from sennit.ftp.store.realm import DirectoryRealm, UserFiles, anonymous_files
from sennit.ftp.store.rules import Permissions
from sennit.ftp.watching import FTPMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.ftp.config import FTPConfig, UserTable

__all__ = ["FTPService", "build_ftp", "sample_files", "try_ftp"]


class FTPService(ServerService):
    """An FTP server at every endpoint of one configuration.

    Args:
        config: What it was told.
        context: Its name and surroundings.
    """

    def __init__(self, config: FTPConfig, context: ServiceContext) -> None:
        self._config = config
        users = [] if config.users is None else [context.users(config.users)]
        anonymous = _anonymous_of(config)
        realm = DirectoryRealm(
            config.root if users else None,
            permissions=checked("permissions", lambda: Permissions(config.permissions or "all")),
            quota=_quota(config.quota, config.quota_files),
            umask=int(config.umask, 8),
            hidden=config.hidden_files,
            follow=config.follow_links,
            sync=config.sync,
            keep_broken=config.keep_broken,
            create=config.create_roots,
            users={
                name: checked(f"user.{name}", partial(_files_of, table))
                for name, table in config.user.items()
            },
            anonymous=anonymous,
        )
        portal = Portal(realm, users)
        if anonymous is not None:
            portal.register(AnonymousChecker())
        super().__init__(
            context.name,
            checked("public_address", lambda: _factory_of(config, context, portal)),
            context.endpoints(config),
            limits=context.limits(config),
        )

    async def prepare(self, reactor: IReactor) -> None:
        """See that the directories are there, then bind every endpoint.

        Raises:
            StartError: One is not, or an address cannot be listened on.
        """
        self.examine()
        await super().prepare(reactor)

    def examine(self) -> list[str]:
        """See that the directories are there.

        Raises:
            StartError: One is not, or is none.
        """
        for key, path in self._directories():
            if "{user}" not in str(path) and not self._config.create_roots and not path.is_dir():
                raise StartError(self.name, f"{path} is no directory", key=key)
            if not os.access(path.parent if "{user}" in str(path) else path, os.X_OK):
                raise StartError(self.name, f"{path} cannot be entered", key=key)
        return []

    def _directories(self) -> Iterator[tuple[str, Path]]:
        if self._config.root is not None:
            yield "root", self._config.root
        for name, table in self._config.user.items():
            if table.root is not None:
                yield f"user.{name}.root", table.root


def _anonymous_of(config: FTPConfig) -> UserFiles | None:
    """What anybody may see, if anything."""
    root = config.anonymous
    if root is None and config.users is None:
        root = config.root
    if root is None:
        return None
    return checked(
        "incoming",
        lambda: anonymous_files(
            root,
            incoming=config.incoming or "",
            quota=_quota(config.quota, config.quota_files),
        ),
    )


def _files_of(table: UserTable) -> UserFiles:
    return UserFiles(
        table.root,
        permissions=table.permissions or None,
        quota=_quota(table.quota, table.quota_files),
        umask=None if table.umask is None else int(table.umask, 8),
    )


def _quota(octets: int | None, files: int | None) -> Quota | None:
    return None if octets is None and files is None else Quota(octets, files)


def _factory_of(config: FTPConfig, context: ServiceContext, portal: Portal) -> FTPServerFactory:
    limits = config.limits
    return FTPServerFactory(
        portal,
        limits=Limits(
            max_line=limits.line,
            max_path=limits.path,
            max_errors=limits.errors,
            max_matches=limits.matches,
            max_status_entries=limits.status_entries,
            max_ascii_size=limits.ascii_size,
            window=limits.window,
            idle=config.idle_timeout,
            login=config.login_timeout,
            data_connection=config.data_timeout,
            progress=config.stall_timeout,
        ),
        tls=None if config.tls is None else context.tls(config.tls),
        tls_mode="required" if config.must_have_tls else "optional",
        must_resume=config.resume_tls,
        clear_control=config.clear_control,
        passive_ports=config.data_ports,
        public_address=config.public_address,
        active=config.active,
        anonymous=config.users is None or config.anonymous is not None,
        banner=config.banner,
        site=config.chmod,
        hosts=config.hosts,
        login_limits=LoginLimits(
            limits.logins, limits.login_delay, count_loopback=config.count_loopback
        ),
        rates=Rates(
            download=config.download_rate,
            upload=config.upload_rate,
            user_download=config.user_download_rate,
            user_upload=config.user_upload_rate,
        ),
        metrics=FTPMetrics(context.name),
    )


def build_ftp(config: FTPConfig, context: ServiceContext) -> FTPService:
    """Assemble the service; nothing is opened yet."""
    return FTPService(config, context)


def try_ftp(config: FTPConfig, urls: Sequence[str]) -> list[str]:
    """Give a listing per endpoint."""
    found: list[str] = []
    for url in urls:
        scheme, _, place = url.partition("://")
        host, _, port = place.rpartition(":")
        if scheme in ("tcp", "tls"):
            name = "" if config.users is None else "NAME@"
            explicit = "ftp" if config.tls is None else "ftpes"
            how = "ftps" if scheme == "tls" else explicit
            found.append(f"sennit ftp ls {how}://{name}{host}:{port}/")
    return found


def sample_files() -> dict[str, str]:
    """A directory for a new configuration to serve."""
    return {"files/hello.txt": "Hello.\n"}
