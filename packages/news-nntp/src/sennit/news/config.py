"""What ``[service.NAME]`` with ``type = "news"`` can say; only the runner imports this."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated, Literal

from sennit.core.errors import MissingExtraError

try:
    from sennit.core.service.config import (
        Listen,
        Meta,
        Path,
        Secret,
        ServiceConfig,
        Table,
        default_list,
        listen_on,
        refers,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-news-nntp", "service") from error

__all__ = ["AccessTable", "ExpireTable", "LimitsTable", "NewsConfig", "PeerTable"]

Count = Annotated[int, Meta(ge=1)]
Days = Annotated[float, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Kind = Literal["cancel", "supersedes", "newgroup", "rmgroup", "checkgroups"]


class AccessTable(Table, kw_only=True, frozen=True):
    """What one user may do: ``[service.NAME.user.ann]``.

    Attributes:
        read: Wildmat of the groups that may be read; "" for none.
        post: Wildmat of those that may be posted to; "" for none.
        approve: Whether an Approved field counts in what is posted to moderated groups.
    """

    read: str = "*"
    post: str = "*"
    approve: bool = False


class PeerTable(Table, kw_only=True, frozen=True):
    """Another server: ``[service.NAME.peer.NAME]``.

    Attributes:
        networks: Where it connects from; what it offers from there is taken.
        url: Where it is offered what comes, such as nntp://news.example; left out, it is not.
        identities: Names by which it stands in Path, where they are others than its own.
        groups: Wildmat: it is offered an article when one of its groups matches.
        distributions: Wildmat, likewise.
        exclude: Other names in Path with which an article is not for it.
        max_groups: Articles that name more groups are not for it.
        max_size: Nor are those of more octets.
        max_backlog: How many may wait for it; the oldest are given up then.
        window: How many it is offered at once.
        retry: Seconds after which it is offered again what it wanted later.
        linger: Seconds for which a connection to it is kept when nothing waits.
        trusted: Whether its control messages are acted on.
        tls: Whether its connection is to be encrypted (STARTTLS); nntps: always is.
    """

    networks: list[str] = []
    url: Annotated[str, Meta(pattern="^nntps?://")] | None = None
    identities: list[str] = []
    groups: str = "*"
    distributions: str = "*,!local"
    exclude: list[str] = []
    max_groups: Count = 50
    max_size: Count = 1_048_576
    max_backlog: Count = 1_000_000
    window: Annotated[int, Meta(ge=1, le=1000)] = 64
    retry: Seconds = 60.0
    linger: Seconds = 60.0
    trusted: bool = False
    tls: bool = False


class ExpireTable(Table, kw_only=True, frozen=True):
    """How long articles stay: ``[[service.NAME.expire]]``. The last that fits a group is its rule.

    Attributes:
        groups: Wildmat.
        days: Days that an article stays which does not say (Expires); left out, for ever.
        minimum: Days that it stays at least, whatever it says.
        maximum: Days that it stays at most, whatever it says.
        count: Articles that a group has at most.
    """

    groups: str = "*"
    days: Days | None = None
    minimum: Days = 0.0
    maximum: Days | None = None
    count: Count | None = None


class LimitsTable(Table, kw_only=True, frozen=True):
    """How much a client may send and ask: ``[service.NAME.limits]``.

    Attributes:
        line: Octets of a command, its end included; a longer one is refused.
        response: Octets of a line within a login by SASL; any that has more ends the connection.
        discarded: Octets of an article that is too long which are read before the connection ends.
        streamed: Articles, offered or sent, that may wait for their answers.
        streamed_octets: Octets of articles that may wait so.
        ratio: Octets that a deflated one may become, after the first MiB.
        listed_at_once: Lines of a list that are made before others have their turn.
        logins: Logins of one connection that may fail.
        login_delay: Seconds until a failed login is answered.
    """

    line: Annotated[int, Meta(ge=512)] = 512
    response: Annotated[int, Meta(ge=512)] = 16_384
    discarded: Count = 67_108_864
    streamed: Count = 100
    streamed_octets: Count = 4_194_304
    ratio: Count = 100
    listed_at_once: Count = 500
    logins: Count = 3
    login_delay: Annotated[float, Meta(ge=0, le=60)] = 1.0


class NewsConfig(ServiceConfig, kw_only=True, frozen=True):
    """Serve newsgroups by NNTP.

    Attributes:
        listen: Where to listen: URLs, or {url = "tls://:563", tls = "main"}.
        store: File that holds the articles; made where there is none.
        cache: Octets of that file that are kept in memory.
        read_in_threads: Whether it is read in threads: for stores that are much larger than memory
            and disks that are slow; else it costs more.
        groups: Newsgroups that there are to be: a name, and perhaps a blank and what it is about;
            "(Moderated)" at its end makes it moderated.
        name: This server's name in Path and Message-IDs; left out, that of the machine.
        mode: Whom it is for: reader, transit (peers), both, or switching (peers, until a client
            says MODE READER).
        read: Wildmat of the groups that anybody may read; "" for none.
        post: Wildmat of the groups that anybody may post to; "" for none.
        users: Table [users.NAME] of who may log in.
        user: What single users may do; others may read and post everything.
        peer: Other servers.
        tls: Table [tls.NAME] with the certificate for STARTTLS.
        login_in_clear: Whether passwords are taken over connections without TLS.
        compress: Whether COMPRESS DEFLATE is offered.
        new_news: Whether NEWNEWS is answered.
        motd: Message of the day, in lines.
        subscriptions: Groups for readers who have none yet.
        distribution: What each distribution is, by name.
        distrib_pats: Lines weight:wildmat:distribution for those who post.
        moderators: Lines wildmat:address, with %s for the group, for those who post.
        expire: How long articles stay.
        expire_every: Hours between two looks for what is due.
        remember: Days for which Message-IDs are remembered of what has gone.
        control: Control messages that are acted on, of those who may send them.
        issuers: By mail address, a wildmat of groups that its owner may make and remove.
        junk: Group for what peers send to groups that are not here; left out, that is refused.
        distributions: Wildmat of distributions that are taken from peers.
        max_age: Days since it was injected after which a peer's article is refused.
        max_groups: Groups that a peer's article may name.
        offer_wait: Seconds for which other peers wait when one was told to send an article.
        remember_refused: Whether articles that were refused for what they are, are not sent again.
        max_article: Octets of one article.
        max_crosspost: Groups that a post may name.
        max_followups: Groups to which answers to a post may go.
        complaints_to: Mail address for complaints, told in each post.
        trace: What is told in each post of who posted it: plain, a hash, or nothing.
        trace_key: Octets for that hash, such as {file = "trace.key"}.
        lock_key: Octets for Cancel-Locks, such as {file = "lock.key"}: who posts with a login may
            then have it cancelled and superseded on other servers, too, and nobody else may.
        mechanisms: Ways of SASL that may be offered; left out, those that are safe where they are.
        banner: What the greeting says.
        limits: More about how much a client may send and ask.
        idle_timeout: Seconds without a command after which a connection is closed.
        login_timeout: Seconds for logging in, where nothing goes without.
        stall_timeout: Seconds without an octet while an article comes or an answer leaves.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:1119")
    store: Path = Path("news.db")
    cache: Annotated[int, Meta(ge=1_048_576)] = 33_554_432
    read_in_threads: bool = False
    groups: list[str] = default_list()
    name: Annotated[str, Meta(min_length=1)] | None = None
    mode: Literal["reader", "transit", "both", "switching"] = "both"
    read: str = "*"
    post: str = ""
    users: Annotated[str, refers("users")] | None = None
    user: dict[str, AccessTable] = {}
    peer: dict[str, PeerTable] = {}
    tls: Annotated[str, refers("tls")] | None = None
    login_in_clear: bool = False
    compress: bool = False
    new_news: bool = True
    motd: list[str] = default_list()
    subscriptions: list[str] = default_list()
    distribution: dict[str, str] = {}
    distrib_pats: list[str] = default_list()
    moderators: list[str] = default_list()
    expire: list[ExpireTable] = []
    expire_every: Annotated[float, Meta(gt=0, le=720)] = 6.0
    remember: Days = 11.0
    control: list[Kind] = []
    issuers: dict[str, str] = {}
    junk: str | None = None
    distributions: str = "*"
    max_age: Annotated[float, Meta(gt=0)] = 10.0
    max_groups: Count = 50
    offer_wait: Seconds = 30.0
    remember_refused: bool = True
    max_article: Count = 1_048_576
    max_crosspost: Count = 10
    max_followups: Count = 5
    complaints_to: str = ""
    trace: Literal["plain", "hash", "none"] = "none"
    trace_key: Secret | None = None
    lock_key: Secret | None = None
    mechanisms: list[str] | None = None
    banner: str = ""
    limits: LimitsTable = LimitsTable()
    idle_timeout: Seconds = 600.0
    login_timeout: Seconds = 60.0
    stall_timeout: Seconds = 60.0

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.user and self.users is None:
            raise ValueError("user: needs users, the table of who may log in")
        if self.trace == "hash" and self.trace_key is None:
            raise ValueError('trace: "hash" needs trace_key')
        if self.remember < self.max_age:
            raise ValueError("remember: is not less than max_age, or old articles come again")
        encrypted = any(each.url.startswith(("tls:", "tls+")) for each in self.listen)
        if self.users is not None and not (self.tls or encrypted or self.login_in_clear):
            raise ValueError(
                "tls: passwords are not to pass in clear; name a certificate, "
                "or say login_in_clear = true"
            )
