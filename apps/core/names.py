"""The forms of names that the product contract fixes (SPEC 1)."""

import re

from apps.core.errors import InvalidInput

KEY_MAX_LENGTH = 255
NAME_MAX_LENGTH = 150
SLUG_MAX_LENGTH = 63
# As the OpenAPI document tells them: without \Z, which ECMA-262 does not know.
KEY_PATTERN = r"^[a-zA-Z](?:[a-zA-Z0-9_.:-]*[a-zA-Z0-9])?$"
SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
_KEY = re.compile(KEY_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_SLUG = re.compile(SLUG_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z", re.ASCII)

KEY_RULE = (
    "Use ASCII letters, digits and _ . : - only, begin with a letter, end with a letter or digit, "
    f"at most {KEY_MAX_LENGTH} characters."
)
SLUG_RULE = "Use lower-case ASCII letters, digits and - only, not at either end, at most 63 characters."


def is_entry_key(text: str) -> bool:
    return len(text) <= KEY_MAX_LENGTH and _KEY.match(text) is not None


def is_slug(text: str) -> bool:
    return _SLUG.match(text) is not None


def require_name(text: str, *, field: str = "name") -> str:
    """Return `text` without outer spaces if it can name a thing for people, else raise InvalidInput."""
    text = text.strip()
    if not text or len(text) > NAME_MAX_LENGTH or not text.isprintable():
        raise InvalidInput.of(field, f"Give 1 to {NAME_MAX_LENGTH} printable characters.")
    return text


def require_entry_key(text: str, *, field: str = "key") -> str:
    """Return `text` if it is the key of an entry, else raise InvalidInput for `field`."""
    if not is_entry_key(text):
        raise InvalidInput.of(field, KEY_RULE)
    return text


def require_slug(text: str, *, field: str = "slug") -> str:
    """Return `text` if it is a slug, else raise InvalidInput for `field`."""
    if not is_slug(text):
        raise InvalidInput.of(field, SLUG_RULE)
    return text


def require_file_name(text: str) -> str:
    """Return `text` if it may name a secret file. It labels the bytes and is never used as a path."""
    if len(text) > KEY_MAX_LENGTH or not _FILE_NAME.match(text):
        raise InvalidInput.of(
            "file_name", "Use ASCII letters, digits and _ . - only, and begin with a letter, digit or _."
        )
    return text
