"""Whose address a request has: the nearest hop that no trusted proxy vouches past."""

import pytest

from apps.core.client_address import client_address, is_inside, parse_address, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        # A client that writes the header itself is no proxy.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        # What the client made up stands further left and is never reached.
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", ["2001:DB9::2"], "2001:db9::2"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_header_counts_only_as_far_as_trusted_proxies_reach(
    peer: str, forwarded_for: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == expected


def test_without_trusted_proxies_the_socket_alone_counts() -> None:
    assert client_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example.org", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_networks([text])


def test_nothing_is_inside_for_an_address_that_is_none() -> None:
    assert parse_address("10.0.0.1:80") is None
    assert not is_inside(None, parse_networks(["0.0.0.0/0"]))
