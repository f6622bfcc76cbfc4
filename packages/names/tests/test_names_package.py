"""What the package offers, and what importing it does not do."""

from __future__ import annotations

import subprocess
import sys

import sennit.names

NAMES = [
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


def test_the_public_names_are_these() -> None:
    """A change to this list is a change to the API."""
    assert sennit.names.__all__ == NAMES
    assert dir(sennit.names) == sorted(NAMES)
    for name in NAMES:
        assert getattr(sennit.names, name) is not None


def test_importing_the_package_loads_nothing() -> None:
    program = (
        "import sys, sennit.names; "
        "print(sorted(n for n in sys.modules if n.startswith('sennit.names.')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "['sennit.names._version']"


def test_reading_messages_takes_no_socket_and_no_clock() -> None:
    program = (
        "import sys, sennit.names.message, sennit.names.rdata; "
        "print([n for n in ('socket', 'ssl', 'asyncio', 'selectors') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
