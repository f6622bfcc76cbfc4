"""DNS for Sennit: authority, resolver and client, and the engines of all three.

Everything is loaded when it is first used; importing this package loads nothing.
"""

from __future__ import annotations

from sennit.core.lazy import lazy_names
from sennit.names._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.names.authority import Authority
    from sennit.names.client.answers import Lookup
    from sennit.names.client.exchange import Upstream
    from sennit.names.client.reverse import reverse_name
    from sennit.names.client.stream import StreamClient, TLSProfile
    from sennit.names.client.stub import StubResolver
    from sennit.names.client.transfers import axfr, ixfr
    from sennit.names.client.udp import exchange_udp
    from sennit.names.codes import Opcode, Rcode, RRClass, RRType
    from sennit.names.dnssec.anchors import TrustAnchors
    from sennit.names.dnssec.keeper import AnchorKeeper
    from sennit.names.dnssec.keyfiles import KeyFolder
    from sennit.names.dnssec.keys import ZoneKey
    from sennit.names.dnssec.limits import ValidationLimits
    from sennit.names.dnssec.refreshing import AnchorRefresh
    from sennit.names.dnssec.rollover import Rollover, RolloverPolicy
    from sennit.names.dnssec.signing import KeySet, SigningPolicy, ZoneSigner
    from sennit.names.dnssec.upkeep import ZoneUpkeep
    from sennit.names.dnssec.validation import Validator
    from sennit.names.dnssec.verdict import Security, Verdict
    from sennit.names.doh import DoHHandler
    from sennit.names.edns import EDNS, Option
    from sennit.names.errors import (
        DNSError,
        DNSProtocolError,
        DNSUsageError,
        LookupFailedError,
        LookupTimeoutError,
        MessageFormatError,
        NoDataError,
        NoSuchNameError,
        PresentationError,
        ResponseError,
        SpoofedError,
        TransferError,
        TSIGError,
        UnreachableError,
        ValidationError,
        ZoneError,
    )
    from sennit.names.interfaces import IResponder
    from sennit.names.limits import ServerLimits
    from sennit.names.message import Message, Question, Record, RRset
    from sennit.names.name import Name
    from sennit.names.rdata import GenericRdata, Rdata
    from sennit.names.request import Request
    from sennit.names.resolver.forward import Forward
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.localzones import Blocklist, LocalZone, LocalZones
    from sennit.names.resolver.resolver import RecursiveResolver
    from sennit.names.server import DNSServer
    from sennit.names.serving.cookies import Cookies
    from sennit.names.serving.dispatch import Dispatcher
    from sennit.names.serving.listening import serve_dns
    from sennit.names.serving.watching import QueryLog
    from sennit.names.transfer.access import AccessList
    from sennit.names.transfer.notify import Notifier, Target
    from sennit.names.transfer.outgoing import TransferOut
    from sennit.names.transfer.primary import Primary
    from sennit.names.transfer.secondary import Secondaries, SecondaryZone
    from sennit.names.tsig import Key, Keyring
    from sennit.names.update.message import Update
    from sennit.names.update.policy import Policy
    from sennit.names.update.update import UpdatableZone, Updates
    from sennit.names.zone.callable import CallableZone
    from sennit.names.zone.check import check_file, check_zone
    from sennit.names.zone.files import ZoneFiles
    from sennit.names.zone.rules import ZoneLimits
    from sennit.names.zone.sqlite import SQLiteZones
    from sennit.names.zone.writer import write_zone
    from sennit.names.zone.zone import Changes, Zone
    from sennit.names.zone.zonefile import read_zone
    from sennit.names.zone.zoneset import ZoneSet

__all__ = [
    "EDNS",
    "AccessList",
    "AnchorKeeper",
    "AnchorRefresh",
    "Authority",
    "Blocklist",
    "CallableZone",
    "Changes",
    "Cookies",
    "DNSError",
    "DNSProtocolError",
    "DNSServer",
    "DNSUsageError",
    "Dispatcher",
    "DoHHandler",
    "Forward",
    "GenericRdata",
    "IResponder",
    "Key",
    "KeyFolder",
    "KeySet",
    "Keyring",
    "LocalZone",
    "LocalZones",
    "Lookup",
    "LookupFailedError",
    "LookupTimeoutError",
    "Message",
    "MessageFormatError",
    "Name",
    "NoDataError",
    "NoSuchNameError",
    "Notifier",
    "Opcode",
    "Option",
    "Policy",
    "PresentationError",
    "Primary",
    "QueryLog",
    "Question",
    "RRClass",
    "RRType",
    "RRset",
    "Rcode",
    "Rdata",
    "Record",
    "RecursiveResolver",
    "Request",
    "ResolverLimits",
    "ResponseError",
    "Rollover",
    "RolloverPolicy",
    "SQLiteZones",
    "Secondaries",
    "SecondaryZone",
    "Security",
    "ServerLimits",
    "SigningPolicy",
    "SpoofedError",
    "StreamClient",
    "StubResolver",
    "TLSProfile",
    "TSIGError",
    "Target",
    "TransferError",
    "TransferOut",
    "TrustAnchors",
    "UnreachableError",
    "UpdatableZone",
    "Update",
    "Updates",
    "Upstream",
    "ValidationError",
    "ValidationLimits",
    "Validator",
    "Verdict",
    "Zone",
    "ZoneError",
    "ZoneFiles",
    "ZoneKey",
    "ZoneLimits",
    "ZoneSet",
    "ZoneSigner",
    "ZoneUpkeep",
    "__version__",
    "axfr",
    "check_file",
    "check_zone",
    "exchange_udp",
    "ixfr",
    "read_zone",
    "reverse_name",
    "serve_dns",
    "write_zone",
]

_ROOMS = {
    "authority": ("Authority",),
    "client.answers": ("Lookup",),
    "client.exchange": ("Upstream",),
    "client.reverse": ("reverse_name",),
    "client.stream": (
        "StreamClient",
        "TLSProfile",
    ),
    "client.stub": ("StubResolver",),
    "client.transfers": (
        "axfr",
        "ixfr",
    ),
    "client.udp": ("exchange_udp",),
    "codes": ("Opcode", "RRClass", "RRType", "Rcode"),
    "doh": ("DoHHandler",),
    "dnssec.anchors": ("TrustAnchors",),
    "dnssec.keeper": ("AnchorKeeper",),
    "dnssec.keyfiles": ("KeyFolder",),
    "dnssec.keys": ("ZoneKey",),
    "dnssec.limits": ("ValidationLimits",),
    "dnssec.refreshing": ("AnchorRefresh",),
    "dnssec.rollover": ("Rollover", "RolloverPolicy"),
    "dnssec.signing": ("KeySet", "SigningPolicy", "ZoneSigner"),
    "dnssec.upkeep": ("ZoneUpkeep",),
    "dnssec.validation": ("Validator",),
    "dnssec.verdict": ("Security", "Verdict"),
    "edns": ("EDNS", "Option"),
    "errors": (
        "DNSError",
        "DNSProtocolError",
        "DNSUsageError",
        "LookupFailedError",
        "LookupTimeoutError",
        "MessageFormatError",
        "NoDataError",
        "NoSuchNameError",
        "PresentationError",
        "ResponseError",
        "SpoofedError",
        "TSIGError",
        "TransferError",
        "UnreachableError",
        "ValidationError",
        "ZoneError",
    ),
    "interfaces": ("IResponder",),
    "limits": ("ServerLimits",),
    "message": ("Message", "Question", "RRset", "Record"),
    "name": ("Name",),
    "rdata": ("GenericRdata", "Rdata"),
    "request": ("Request",),
    "resolver.forward": ("Forward",),
    "resolver.limits": ("ResolverLimits",),
    "resolver.localzones": ("Blocklist", "LocalZone", "LocalZones"),
    "resolver.resolver": ("RecursiveResolver",),
    "server": ("DNSServer",),
    "serving.cookies": ("Cookies",),
    "serving.dispatch": ("Dispatcher",),
    "serving.listening": ("serve_dns",),
    "serving.watching": ("QueryLog",),
    "transfer.access": ("AccessList",),
    "transfer.notify": ("Notifier", "Target"),
    "transfer.outgoing": ("TransferOut",),
    "transfer.primary": ("Primary",),
    "transfer.secondary": ("Secondaries", "SecondaryZone"),
    "tsig": ("Key", "Keyring"),
    "update.message": ("Update",),
    "update.policy": ("Policy",),
    "update.update": ("UpdatableZone", "Updates"),
    "zone.callable": ("CallableZone",),
    "zone.check": (
        "check_file",
        "check_zone",
    ),
    "zone.files": ("ZoneFiles",),
    "zone.rules": ("ZoneLimits",),
    "zone.sqlite": ("SQLiteZones",),
    "zone.writer": ("write_zone",),
    "zone.zone": (
        "Changes",
        "Zone",
    ),
    "zone.zonefile": ("read_zone",),
    "zone.zoneset": ("ZoneSet",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
