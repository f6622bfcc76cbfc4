"""Record data for the codec's tests: examples of every type, and strategies that make more."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from hypothesis import strategies as st

from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import Rdata, fields, known_types, rdata_class
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.bitmap import Types
from sennit.names.rdata.certificate import CAA, HIP
from sennit.names.rdata.dnssec import DLV, DS
from sennit.names.rdata.gateway import AMTRELAY, IPSECKEY
from sennit.names.rdata.location import LOC
from sennit.names.rdata.old import APL
from sennit.names.rdata.svcb import HTTPS, SVCB

_KEY: Final = (
    "AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e19WzK00+CI6zBCQTdtWsuxKbWIy87UOoJTwkUs7lBu+Up"
    "r1gsNrut79ryra+bSRGQb1slImA8YVJyuIDsj7kwzG7jnERNqnWxZ48AWkskmdHaVDP4BcelrTI3rMXdXF5D"
)
_SHA256: Final = "D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971"
_SHA384: Final = (
    "C68090D90A7AED716BC459F9340E3D7C1370D4D24B7E2FC3"
    "A1DDC0B9A87153B9A9713B3C9AE5CC27777F98B8E730044C"
)

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "A": ("192.0.2.1",),
    "AAAA": ("2001:db8::1", "::ffff:192.0.2.1", "::"),
    "AFSDB": ("1 afs.example.",),
    "AMTRELAY": (
        "0 0 0 .",
        "10 0 1 203.0.113.15",
        "10 0 2 2001:db8::15",
        "128 1 3 amtrelays.example.",
    ),
    "APL": ("1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8", "1:0.0.0.0/0"),
    "AVC": ('"app-name:WOLFGANG|app-class:OAM"',),
    "CAA": ('0 issue "ca.example; account=230123"', '128 tbs "Unknown"', '0 iodef ""'),
    "CDNSKEY": (f"257 3 8 {_KEY}", "0 3 0 AA=="),
    "CDS": (f"4711 8 2 {_SHA256}", "0 0 0 00"),
    "CERT": ("PKIX 1 RSASHA256 AQID", "65534 1 0 AQID"),
    "CNAME": ("host.example.",),
    "CSYNC": ("66 3 A NS AAAA",),
    "DHCID": ("AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",),
    "DLV": (f"4711 8 2 {_SHA256}",),
    "DNAME": ("elsewhere.example.",),
    "DNSKEY": (f"256 3 8 {_KEY}",),
    "DS": (f"4711 8 2 {_SHA256}", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    "DSYNC": ("CDS NOTIFY 5359 rr.example.",),
    "EUI48": ("00-00-5e-00-53-2a",),
    "EUI64": ("00-00-5e-ef-10-00-00-2a",),
    "GPOS": ('"-32.6882" "116.8652" "10.0"',),
    "HINFO": ('"PC 1" "UNIX"', '"RFC8482" ""'),
    "HIP": (
        f"2 200100107B1A74DF365639CC39F1D578 {_KEY}",
        f"2 200100107B1A74DF365639CC39F1D578 {_KEY} rvs1.example. rvs2.example.",
    ),
    "HTTPS": ('1 . alpn="h2,h3" ech=AQID ipv6hint=2001:db8::1', "0 www.example."),
    "IPSECKEY": (
        "10 0 2 . AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
        "10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
        "10 2 2 2001:db8::1 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
        "10 3 2 gateway.example. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    ),
    "ISDN": ('"150862028003217"', '"150862028003217" "004"'),
    "KEY": (f"256 3 8 {_KEY}", "49152 3 0"),
    "KX": ("10 kx.example.",),
    "L32": ("10 10.1.2.0",),
    "L64": ("10 2001:0db8:1140:1000",),
    "LOC": (
        "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
        "42 21 54.500 S 71 6 18.000 W -24.10m 0.05m 20000000m 30m",
    ),
    "LP": ("10 l64.example.",),
    "MB": ("mb.example.",),
    "MD": ("md.example.",),
    "MF": ("mf.example.",),
    "MG": ("mg.example.",),
    "MINFO": ("requests.example. errors.example.",),
    "MR": ("mr.example.",),
    "MX": ("10 mail.example.", "0 ."),
    "NAPTR": (
        '100 50 "s" "z3950+I2L+I2C" "" _z3950._tcp.example.',
        r'100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!i" .',
    ),
    "NID": ("10 0014:4fff:ff20:ee64",),
    "NINFO": ('"state"',),
    "NS": ("ns.example.",),
    "NSAP": ("0x47000580005a0000000001e133ffffff00016100",),
    "NSEC": ("host.example. A MX RRSIG NSEC TYPE1234", "example. NS"),
    "NSEC3": (
        "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR NS SOA MX RRSIG DNSKEY NSEC3PARAM",
        "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR",
    ),
    "NSEC3PARAM": ("1 0 12 AABBCCDD", "1 0 0 -"),
    "OPENPGPKEY": ("AQIDBAU=",),
    "PTR": ("host.example.",),
    "PX": ("10 map822.example. mapx400.example.",),
    "RESINFO": ('"qnamemin" "exterr=15-17"',),
    "RP": ("mbox.example. txt.example.",),
    "RRSIG": ("A 5 3 86400 20300322173103 20300220173103 2642 example. oJB1W6WNGv+ldvQ3WDG0MQkg",),
    "RT": ("10 relay.example.",),
    "SIG": ("TYPE0 13 0 0 20300322173103 20300220173103 2642 key.example. oJB1W6WNGv+ldvQ3WDG0",),
    "SMIMEA": (f"3 1 1 {_SHA256}",),
    "SOA": ("ns.example. hostmaster.example. 2024010101 7200 900 1209600 300",),
    "SPF": ('"v=spf1 -all"',),
    "SRV": ("0 5 5060 sip.example.",),
    "SSHFP": ("2 1 123456789ABCDEF67890123456789ABCDEF67890", f"4 2 {_SHA256}"),
    "SVCB": (
        "0 foo.example.",
        "1 .",
        '16 foo.example. mandatory=alpn,ipv4hint alpn="h2,h3-19" ipv4hint=192.0.2.1',
        r'16 foo.example. alpn="f\\\\oo\\,bar,h2" no-default-alpn port=53',
        r'1 foo.example. key667="hello\210qoo"',
        '1 foo.example. dohpath="/dns-query{?dns}" ohttp tls-supported-groups=29,23 docpath="a,b"',
    ),
    "TLSA": (f"3 1 1 {_SHA256}",),
    "TXT": ('"one" "two \\"quoted\\" \\\\ \\000\\255"', '""'),
    "URI": (r'10 1 "ftp://ftp1.example.com/pub\"lic"',),
    "WALLET": ('"x" "y"',),
    "WKS": ("192.0.2.3 6 25 53 80",),
    "X25": ('"311061700956"',),
    "ZONEMD": (f"2018031500 1 1 {_SHA384}",),
}
"""Data of each type as we write it, which is as BIND writes it."""


def parsed(mnemonic: str, text: str) -> Rdata:
    """Data of a type, read from text."""
    from sennit.names.codes import type_from_text
    from sennit.names.rdata import parse_rdata

    return parse_rdata(type_from_text(mnemonic), tokens_of(text))


# ── strategies ────────────────────────────────────────────────────────────────


def _name(labels: list[bytes]) -> Name:
    kept: list[bytes] = []
    for label in labels:
        if sum(map(len, kept)) + len(kept) + len(label) + 2 > 255:
            break
        kept.append(label)
    return Name.from_labels(kept)


NAMES: Final = st.one_of(
    st.lists(st.binary(min_size=1, max_size=8), max_size=5),
    st.lists(st.sampled_from([b"www", b"Example", b"org", b"*", b"a.b", b"_tcp"]), max_size=5),
    st.lists(st.binary(min_size=1, max_size=63), max_size=9),
).map(_name)
"""Names, few of them long."""

_STRINGS = st.binary(max_size=20) | st.binary(min_size=255, max_size=255)
_OCTETS = st.binary(min_size=1, max_size=40)
_TYPES = st.frozensets(st.integers(1, 300) | st.integers(1, 65535), max_size=12).map(
    lambda types: tuple(sorted(types))
)
_TAGS = st.text("abcdefXYZ019", min_size=1, max_size=15).map(str.encode)
_IPV4 = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
_IPV6 = st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))


def _codec(alias: Any) -> type[object]:
    found: type[object] = alias.__metadata__[0].__class__
    return found


_VALUES: Final[dict[type, st.SearchStrategy[Any]]] = {
    _codec(fields.PlainName): NAMES,
    _codec(fields.Text): _STRINGS,
    _codec(fields.MaybeText): st.none() | _STRINGS,
    _codec(fields.Texts): st.lists(_STRINGS, min_size=1, max_size=4).map(tuple),
    _codec(fields.Hex): _OCTETS,
    _codec(fields.CountedHex): _OCTETS,
    _codec(fields.Tag): _TAGS,
    _codec(fields.RestText): _OCTETS,
    _codec(fields.IPv4): _IPV4,
    _codec(fields.Octets6): st.none(),
    _codec(Types): _TYPES,
}


def _value(codec: Any) -> st.SearchStrategy[Any]:
    if hasattr(codec, "most"):
        return st.integers(0, codec.most) | st.sampled_from([0, 1, codec.most])
    if hasattr(codec, "group"):
        return st.binary(min_size=codec.size, max_size=codec.size)
    kind: type[object] = codec.__class__
    return _VALUES.get(kind, _OCTETS)


def _digested(kind: type[DS]) -> st.SearchStrategy[Rdata]:
    sizes = {1: 20, 2: 32, 4: 48, 9: 7}
    return st.tuples(
        st.integers(0, 65535),
        st.integers(0, 255),
        st.sampled_from(sorted(sizes)),
        st.binary(min_size=48, max_size=48),
    ).map(lambda each: kind(each[0], each[1], each[2], each[3][: sizes[each[2]]]))


_SVC_VALUES: Final[dict[int, st.SearchStrategy[bytes]]] = {
    1: st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=3).map(
        lambda items: b"".join([bytes((len(item),)) + item for item in items])
    ),
    3: st.binary(min_size=2, max_size=2),
    4: st.binary(min_size=8, max_size=8),
    5: _OCTETS,
    6: st.binary(min_size=16, max_size=16),
    7: st.text(min_size=1, max_size=9).map(str.encode),
    8: st.just(b""),
    9: st.frozensets(st.integers(0, 65535), min_size=1, max_size=4).map(
        lambda groups: b"".join([each.to_bytes(2, "big") for each in sorted(groups)])
    ),
    10: st.just(b"\1a\2bc"),
    667: st.binary(max_size=9),
    65280: st.binary(max_size=9),
}
_BOUND: Final = st.tuples(
    st.integers(0, 65535), NAMES, st.fixed_dictionaries({}, optional=_SVC_VALUES)
)
_PREFIXES = st.tuples(
    st.sampled_from(["", "!"]), st.integers(0, 2**32 - 1), st.integers(0, 32)
).map(lambda each: f"{each[0]}1:{IPv4Address(each[1])}/{each[2]}") | st.tuples(
    st.integers(0, 2**128 - 1), st.integers(0, 128)
).map(lambda each: f"2:{IPv6Address(each[0])}/{each[1]}")
_SIZES = st.just(0) | st.tuples(st.integers(1, 9), st.integers(0, 9)).map(
    lambda both: both[0] << 4 | both[1]
)

_MADE: Final[dict[str, st.SearchStrategy[Rdata]]] = {
    "AMTRELAY": st.tuples(
        st.integers(0, 255), st.none() | _IPV4 | _IPV6 | NAMES, st.booleans()
    ).map(lambda each: AMTRELAY(each[0], each[1], discovery_optional=each[2])),
    "A": _IPV4.map(lambda text: A(text)),
    "AAAA": _IPV6.map(lambda text: AAAA(text)),
    "APL": st.lists(_PREFIXES, max_size=4).map(lambda prefixes: APL(tuple(prefixes))),
    "CAA": st.tuples(st.integers(0, 255), _TAGS, st.binary(max_size=300)).map(
        lambda each: CAA(*each)
    ),
    "HIP": st.tuples(
        st.integers(0, 255), _OCTETS, _OCTETS, st.lists(NAMES, max_size=2).map(tuple)
    ).map(lambda each: HIP(*each)),
    "IPSECKEY": st.tuples(
        st.integers(0, 255), st.integers(0, 255), st.none() | _IPV4 | _IPV6 | NAMES, _OCTETS
    ).map(lambda each: IPSECKEY(*each)),
    "LOC": st.tuples(
        _SIZES,
        _SIZES,
        _SIZES,
        st.integers(2**31 - 324_000_000, 2**31 + 324_000_000),
        st.integers(2**31 - 648_000_000, 2**31 + 648_000_000),
        st.integers(0, 2**32 - 1),
    ).map(lambda each: LOC(0, *each)),
    "SSHFP": st.tuples(st.integers(0, 255), st.binary(min_size=20, max_size=20)).map(
        lambda each: _class("SSHFP")(each[0], 1, each[1])
    ),
    "WKS": st.tuples(_IPV4, st.integers(0, 255), st.binary(max_size=9)).map(
        lambda each: _class("WKS")(*each)
    ),
    "ZONEMD": st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=48, max_size=48)).map(
        lambda each: _class("ZONEMD")(each[0], 1, 1, each[1])
    ),
    **{each.__name__: _digested(each) for each in (DS, DLV)},
    "CDS": st.binary(min_size=32, max_size=32).map(lambda octets: _class("CDS")(1, 8, 2, octets)),
    "SVCB": _BOUND.map(lambda each: SVCB(*each)),
    "HTTPS": _BOUND.map(lambda each: HTTPS(*each)),
}


def _class(mnemonic: str) -> Any:
    from sennit.names.codes import type_from_text

    found = rdata_class(type_from_text(mnemonic))
    assert found is not None
    return found


def made(mnemonic: str) -> st.SearchStrategy[Rdata]:
    """Data of a type."""
    if mnemonic in _MADE:
        return _MADE[mnemonic]
    kind = _class(mnemonic)
    return st.tuples(*[_value(codec) for _, codec in kind.fields]).map(lambda each: kind(*each))


MNEMONICS: Final = sorted(set(known_types()) - {"TSIG", "TKEY"})
EVERY: Final = st.sampled_from(MNEMONICS).flatmap(made)
"""Data of any type."""
