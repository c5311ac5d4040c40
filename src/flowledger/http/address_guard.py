"""Which addresses the calls of workflows may reach: the public ones, and those that the settings allow.

Whoever defines a workflow names the hosts, and must not reach through us what stands behind the firewall or
answers this machine alone.  A name is judged by the addresses it resolves to when the connection is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC: tuple[Network, ...] = (
    IPv4Network("168.63.129.16/32"),  # Azure's host answers its machines there
    IPv4Network("192.0.0.0/24"),  # Oracle's does there; Python below 3.11.9 takes it for public
    IPv6Network("64:ff9b:1::/48"),  # translation to private networks
)
"""Public by their numbers alone."""
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """A host is, or resolves to, an address that calls may not reach."""


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Hosts and networks that calls may reach although they are private."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Sequence[str]) -> Self:
        """Return the guard for an allow-list of host names, addresses and networks in CIDR notation.

        :raises ValueError: naming the entry that is none of these.
        """
        hosts, networks = set(), []
        for entry in map(str.strip, entries):
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                if not entry or any(character in entry for character in "/:@ *"):
                    raise ValueError(f"{entry!r} is no host name, address or network") from None
                hosts.add(plain_host(entry))
        return cls(frozenset(hosts), tuple(networks))

    def check(self, host: str, addresses: Sequence[str]) -> None:
        """Check every address that a host has.

        :raises ForbiddenAddressError: naming the first that may not be reached.
        """
        if plain_host(host) in self.hosts:
            return
        for text in addresses:
            address = ip_address(text)
            if not is_public(address) and not self._is_allowed(address):
                raise ForbiddenAddressError(
                    f"{host} is at {address}, which is not public: "
                    "WORKFLOWS_ALLOWED_HOSTS names private hosts that calls may reach"
                )

    def _is_allowed(self, address: Address) -> bool:
        candidates = (address, embedded(address))
        return any(
            each.version == net.version and each in net for each in candidates for net in self.networks
        )


def plain_host(host: str) -> str:
    """Return a host's name as it is compared: in lower case, without the dot that ends a whole name."""
    return host.lower().rstrip(".")


def is_public(address: Address) -> bool:
    """Return whether an address is one of the open internet, also inside the IPv6 one that carries it."""
    inner = embedded(address)
    return (
        inner.is_global
        and not inner.is_multicast
        and not inner.is_reserved
        and not inner.is_unspecified
        and not any(inner in network for network in _NOT_PUBLIC)
        and not (isinstance(inner, IPv6Address) and (inner.is_site_local or inner.teredo is not None))
    )


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, compatible, 6to4, NAT64), else itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    is_compatible = number >> 32 == 0 and number > 1
    if address in _NAT64 or is_compatible:
        return IPv4Address(number & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
