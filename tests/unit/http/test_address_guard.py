"""Addresses that calls of workflows may reach."""

from ipaddress import ip_address

import pytest

from flowledger.http.address_guard import AddressGuard, ForbiddenAddressError, is_public

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "203.0.113.9"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::a00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2",),
]
PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast and reserved ones, also carried by IPv6."""
    with pytest.raises(ForbiddenAddressError, match="not public"):
        AddressGuard().check("api.example.com", ["1.1.1.1", address])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    """What the open internet routes needs no entry."""
    assert is_public(ip_address(address))
    AddressGuard().check("api.example.com", [address])


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("10.1.0.0/16", "a.example", "10.1.2.3"),
        ("10.1.2.3", "a.example", "10.1.2.3"),
        ("10.1.2.3/16", "a.example", "10.1.9.9"),
        ("127.0.0.0/8", "a.example", "::ffff:127.0.0.1"),
        ("::1", "localhost", "::1"),
        ("[::1]", "localhost", "::1"),
        ("fd00::/8", "a.example", "fd00::5"),
        ("Intranet.Example.", "intranet.example", "10.0.0.1"),
        ("intranet.example", "INTRANET.example.", "127.0.0.1"),
    ],
)
def test_the_allow_list(entry: str, host: str, address: str) -> None:
    """Hosts by name and networks by address may be reached although they are private."""
    guard = AddressGuard.of([entry])
    guard.check(host, [address])
    with pytest.raises(ForbiddenAddressError):
        guard.check("sub.intranet.example", ["192.168.7.7"])


@pytest.mark.parametrize(
    "entry", ["", "https://a.example", "a.example:80", "*.example", "user@a.example", "a b"]
)
def test_what_is_no_entry_is_refused(entry: str) -> None:
    """An entry that would match nothing is an error."""
    with pytest.raises(ValueError, match="no host name, address or network"):
        AddressGuard.of([entry])
