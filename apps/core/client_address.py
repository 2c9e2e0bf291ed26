"""The address of the client: one answer for audit, limits, allow lists and log-in (SPEC 12)."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """The address in `text`, IPv4-mapped IPv6 as IPv4; None for anything else."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR form; a bare address is one host. Raises ValueError for anything else."""
    return tuple(ip_network(text.strip(), strict=True) for text in texts)


def is_inside(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The socket's peer, or the nearest hop in X-Forwarded-For that no trusted proxy vouches past.

    `forwarded_for` holds the header's values in the order of arrival. The list is walked from the
    right, and only while the hop to the right of an entry is trusted: whatever a client wrote
    into the header itself stands further left and is never reached.
    """
    current = parse_address(peer)
    if current is None:
        # A Unix socket has no address; what a proxy behind it says is then all there is to know.
        return ""
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    for hop in reversed(hops):
        if not is_inside(current, trusted):
            break
        following = parse_address(hop)
        if following is None:
            break
        current = following
    return str(current)
