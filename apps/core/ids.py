"""Identifiers of rows in URLs and JSON: UUID version 7 (RFC 9562 section 5.7)."""

import secrets
import time
from uuid import UUID


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of Unix milliseconds, 74 random bits.

    Ids of one millisecond come in no order; what needs an order has a sequence of its own.
    """
    milliseconds = time.time_ns() // 1_000_000
    random_a = secrets.randbits(12)
    random_b = secrets.randbits(62)
    return UUID(int=(milliseconds & (2**48 - 1)) << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b)


def parse_uuid(text: str) -> UUID | None:
    """The UUID in canonical form, or None: other spellings of an id name nothing."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None
