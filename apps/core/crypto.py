"""All cryptography of Nexus: seal values, wrap keys, sign, authenticate. Nothing else imports a cipher.

Values and keys are encrypted with AES-256-GCM (NIST SP 800-38D) under 96-bit nonces from the
operating system. Additional data names the row that a ciphertext belongs to, so that a ciphertext
moved to another row, project or version fails to open.
"""

import hashlib
import hmac
import os
import secrets
import struct
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


# Making the cipher of a key costs more than sealing 200 bytes under it. One cipher serves all threads.
_cipher = lru_cache(maxsize=1024)(AESGCM)


class DoesNotOpen(Exception):
    """The ciphertext, its key, or the row it claims to belong to is not what was sealed."""


def forget_ciphers() -> None:
    """Drop the ciphers that are kept, and the keys in them."""
    _cipher.cache_clear()


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def length_prefixed(*parts: str | bytes) -> bytes:
    """An injective encoding of a tuple: each part behind its length as four bytes, big-endian."""
    encoded = bytearray()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        encoded += struct.pack(">I", len(data)) + data
    return bytes(encoded)


def seal(key: bytes, plaintext: bytes, *, bound_to: bytes) -> bytes:
    """Encrypt `plaintext` under `key` for the row that `bound_to` names: nonce, ciphertext, tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plaintext, bound_to)


def unseal(key: bytes, sealed: bytes, *, bound_to: bytes) -> bytes:
    """Return what was sealed. Raises DoesNotOpen when key, bytes or row differ."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise DoesNotOpen
    try:
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except InvalidTag:
        # From None: the cause could carry arguments into a traceback.
        raise DoesNotOpen from None


# A key is encrypted like a value; the names keep apart what protects what.
wrap = seal
unwrap = unseal


def mac(key: bytes, *parts: str | bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) over the length-prefixed `parts`; the first names the use."""
    return hmac.digest(key, length_prefixed(*parts), "sha256")


def keyed_digest(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 of one message: how a credential is stored, and looked up on each request."""
    return hmac.digest(key, message, "sha256")


def same(a: bytes, b: bytes) -> bool:
    """Compare in a time that does not depend on where the two differ."""
    return hmac.compare_digest(a, b)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sign(key: bytes, message: bytes) -> bytes:
    """Ed25519 (RFC 8032) under the private key whose 32-byte seed is `key`."""
    return Ed25519PrivateKey.from_private_bytes(key).sign(message)


def public_key(key: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
