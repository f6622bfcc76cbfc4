"""What ``[service.NAME]`` with ``type = "ftp"`` can say; only the runner imports this."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated

from sennit.core.errors import MissingExtraError

try:
    from sennit.core.service.config import (
        Directory,
        Listen,
        Meta,
        Path,
        ServiceConfig,
        Table,
        default_list,
        listen_on,
        refers,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-ftp", "service") from error

__all__ = ["FTPConfig", "LimitsTable", "UserTable"]

Count = Annotated[int, Meta(ge=1)]
Octets = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(gt=0)]
Mode = Annotated[str, Meta(pattern="^0?[0-7]{3}$")]
Words = dict[str, list[str]]
"""Words for what may be done, by directory: ``{"/": ["view"], "/incoming": ["create"]}``."""


class UserTable(Table, kw_only=True, frozen=True):
    """What is said of one user: ``[service.NAME.user.alice]``. What is left out is as for all.

    Attributes:
        root: Directory.
        permissions: What may be done, by directory.
        quota: Octets that may lie beneath the root.
        quota_files: Files and directories that may.
        umask: Permission bits that new files do not have.
    """

    root: Path | None = None
    permissions: Words = {}
    quota: Octets | None = None
    quota_files: Octets | None = None
    umask: Mode | None = None


class LimitsTable(Table, kw_only=True, frozen=True):
    """How much a client may send and ask: ``[service.NAME.limits]``.

    Attributes:
        line: Octets of one command, its end included.
        path: Octets of one path, as it is in full.
        errors: Commands in a row that are none, after which a session ends.
        matches: Entries that one pattern of a listing may match.
        status_entries: Entries that STAT tells of.
        ascii_size: Octets of a file that SIZE reads to tell its size in type A.
        window: Octets of an upload that are gathered before they are written.
        logins: Logins of one session that may fail.
        login_delay: Seconds until a failed login is answered.
    """

    line: Annotated[int, Meta(ge=512)] = 4096
    path: Annotated[int, Meta(ge=255)] = 4096
    errors: Count = 20
    matches: Count = 10_000
    status_entries: Count = 1000
    ascii_size: Octets = 16_777_216
    window: Annotated[int, Meta(ge=65_536)] = 1_048_576
    logins: Count = 3
    login_delay: Annotated[float, Meta(ge=0, le=60)] = 1.0


class FTPConfig(ServiceConfig, kw_only=True, frozen=True):
    """Serve files by FTP and FTPS.

    Attributes:
        listen: Where to listen: URLs, or {url = "tls://:990", tls = "main"} for implicit TLS.
        root: Directory of users, {user} in it stands for a user's name. Without users it is
            what anybody may fetch.
        users: Table [users.NAME] of who may log in.
        anonymous: Directory that anybody may fetch from, beside the users.
        incoming: A directory in that, such as /incoming, where anybody may leave files.
        permissions: What users may do, by directory: list, read, create, write, append, delete,
            rename, mkdir, change, or view, upload, all, nothing. Left out, all.
        user: Users of whom something else is said.
        quota: Octets that may lie beneath each root.
        quota_files: Files and directories that may.
        umask: Permission bits that new files do not have.
        hidden_files: Whether names that begin with a dot are there.
        follow_links: Whether links are followed that stay beneath the root.
        create_roots: Whether a user's directory is made where it is missing.
        sync: Whether a file is on the disk before it is acknowledged.
        keep_broken: Whether what has come of a user's upload that breaks off gets the file's name,
            so that clients can go on with it, where no file had it.
        chmod: Whether permission bits can be set (SITE CHMOD).
        tls: Table [tls.NAME] with the certificate for TLS on plain endpoints (AUTH TLS).
        require_tls: Whether nobody logs in without TLS. Left out, that is so where there are users.
        resume_tls: Whether data connections have to resume the TLS session of their control
            connection.
        clear_control: Whether clients may take TLS off their control connections after the login
            (CCC), for firewalls that have to read along.
        passive_ports: Ports for data connections, such as 50000-50100; any free one if left out.
        public_address: The IPv4 address that clients are told for those, where it is another one.
        active: Whether clients may be connected to (PORT, EPRT).
        banner: Greeting.
        hosts: Names that clients may ask for (HOST).
        download_rate: Octets a second that one session is sent.
        upload_rate: Octets a second that one session may send.
        user_download_rate: Octets a second that all sessions of one user are sent.
        user_upload_rate: Octets a second that they may send.
        idle_timeout: Seconds without a command or transfer after which a session ends.
        login_timeout: Seconds for logging in.
        data_timeout: Seconds for a data connection to stand.
        stall_timeout: Seconds that a transfer may stand still.
        limits: More about how much a client may send and ask.
        max_per_address: Sessions at one time from one IPv4 address or IPv6 /64.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:2121")
    root: Path | None = None
    users: Annotated[str, refers("users")] | None = None
    anonymous: Directory | None = None
    incoming: Annotated[str, Meta(pattern="^/.")] | None = None
    permissions: Words = {}
    user: dict[str, UserTable] = {}
    quota: Octets | None = None
    quota_files: Octets | None = None
    umask: Mode = "022"
    hidden_files: bool = True
    follow_links: bool = False
    create_roots: bool = False
    sync: bool = True
    keep_broken: bool = False
    chmod: bool = False
    tls: Annotated[str, refers("tls")] | None = None
    require_tls: bool | None = None
    resume_tls: bool = True
    clear_control: bool = False
    passive_ports: Annotated[str, Meta(pattern="^[0-9]{1,5}-[0-9]{1,5}$")] | None = None
    public_address: str | None = None
    active: bool = True
    banner: str = "FTP at your service"
    hosts: list[str] = default_list()
    download_rate: Rate | None = None
    upload_rate: Rate | None = None
    user_download_rate: Rate | None = None
    user_upload_rate: Rate | None = None
    idle_timeout: Seconds = 300.0
    login_timeout: Seconds = 60.0
    data_timeout: Seconds = 30.0
    stall_timeout: Seconds = 60.0
    limits: LimitsTable = LimitsTable()
    max_per_address: Count = 8

    def __post_init__(self) -> None:
        """Check what belongs together."""
        has_own = bool(self.user) and all(each.root for each in self.user.values())
        if self.users is None:
            if self.root is None and self.anonymous is None:
                raise ValueError("root: say which directory anybody may fetch from, or name users")
            if self.root is not None and self.anonymous is not None:
                raise ValueError("root: without users anonymous is all there is; leave one out")
            if self.user:
                raise ValueError("user: needs users, the table of who may log in")
        elif self.root is None and not has_own:
            raise ValueError("root: users need a directory")
        if self.incoming is not None and self.users is not None and self.anonymous is None:
            raise ValueError("incoming: is for anonymous users; say what anonymous is")
        if any(each in self.banner for each in "\r\n\0"):
            raise ValueError("banner: is one line")
        ports = self.data_ports
        if ports is not None and not (ports and ports[0] > 0 and ports[-1] < 65_536):
            raise ValueError("passive_ports: expected LOW-HIGH, from 1 to 65535")
        encrypted = all(each.url.startswith(("tls:", "tls+")) for each in self.listen)
        if self.must_have_tls and self.tls is None and not encrypted:
            raise ValueError(
                "tls: passwords are not to pass in clear; name a certificate, "
                "or say require_tls = false"
            )

    @property
    def data_ports(self) -> range | None:
        """The ports for data connections; ``None`` for any."""
        if self.passive_ports is None:
            return None
        low, _, high = self.passive_ports.partition("-")
        return range(int(low), int(high) + 1)

    @property
    def must_have_tls(self) -> bool:
        """Whether nobody logs in without TLS."""
        return self.users is not None if self.require_tls is None else self.require_tls
