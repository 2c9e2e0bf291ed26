"""Entries as files: what exports write and imports read. Pure: no database.

Every text goes through unchanged, or is refused with its key named.
"""

from typing import Final

from apps.core.errors import InvalidInput
from apps.vault.formats.documents import CONTENT_MAX_BYTES, ENTRIES_MAX, Document, read
from apps.vault.formats.writers import Item, write

EXPORT_FORMATS: Final = ("sh", "dotenv", "json", "yaml")
IMPORT_FORMATS: Final = ("dotenv", "json", "yaml")
MEDIA_TYPES: Final = {
    "sh": "text/plain; charset=utf-8",
    "dotenv": "text/plain; charset=utf-8",
    "json": "application/json",
    # RFC 9512 section 2.1
    "yaml": "application/yaml",
}

__all__ = [
    "CONTENT_MAX_BYTES",
    "ENTRIES_MAX",
    "EXPORT_FORMATS",
    "IMPORT_FORMATS",
    "MEDIA_TYPES",
    "Document",
    "Item",
    "read",
    "require_export_format",
    "write",
]


def require_export_format(name: str | None) -> str:
    if name not in EXPORT_FORMATS:
        raise InvalidInput.of("format", f"Choose one of {', '.join(EXPORT_FORMATS)}.")
    return name
