"""The values that secrets and configs may have, and their form on the wire."""

import base64
import binascii
from typing import Any

from apps.core import strict_json
from apps.core.errors import InvalidInput
from apps.vault import templates
from apps.vault.models import ConfigType, SecretType

VALUE_MAX_BYTES = 64 * 1024
DESCRIPTION_MAX_LENGTH = 500

_TYPES: dict[str, tuple[type, ...]] = {
    ConfigType.STRING: (str,),
    ConfigType.NUMBER: (int, float),
    ConfigType.BOOLEAN: (bool,),
}


def require_value_size(size: int) -> None:
    if size > VALUE_MAX_BYTES:
        raise InvalidInput.of("value", f"The value has {size} bytes; at most {VALUE_MAX_BYTES} fit.")


def require_description(text: str) -> str:
    if len(text) > DESCRIPTION_MAX_LENGTH:
        raise InvalidInput.of("description", f"At most {DESCRIPTION_MAX_LENGTH} characters fit.")
    if "\x00" in text:
        raise InvalidInput.of("description", "A description cannot hold a NUL character.")
    strict_json.require_sane(text, path="description")
    return text


def secret_bytes(secret_type: str, wire_value: Any) -> bytes:
    """The bytes of a secret as it came over the wire: text in UTF-8, or a file in base64."""
    if secret_type not in SecretType.values:
        raise InvalidInput.of("type", f"Choose {' or '.join(SecretType.values)}.")
    if not isinstance(wire_value, str):
        raise InvalidInput.of("value", "Send a string; a file's bytes as base64.")
    if secret_type == SecretType.TEXT:
        return wire_value.encode("utf-8")
    try:
        return base64.b64decode(wire_value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput.of(
            "value", "A file's bytes travel as base64 (RFC 4648 section 4), padded."
        ) from None


def secret_wire_value(secret_type: str, value: bytes) -> str:
    """A secret's value as it goes over the wire."""
    return (
        base64.b64encode(value).decode("ascii") if secret_type == SecretType.FILE else value.decode("utf-8")
    )


def config_json(config_type: str, value: Any) -> str:
    """The JSON text of a config's value, checked against its type.

    Raises InvalidInput for another type, for more than VALUE_MAX_BYTES, and for
    what is no template.
    """
    if config_type not in ConfigType.values:
        raise InvalidInput.of("type", f"Choose one of {', '.join(ConfigType.values)}.")
    expected = _TYPES.get(config_type)
    # bool is an int to Python, and not to anybody else.
    is_boolean = isinstance(value, bool)
    if expected and (not isinstance(value, expected) or (is_boolean and config_type != ConfigType.BOOLEAN)):
        raise InvalidInput.of("value", f"The value is no {config_type}. Send one, or another type.")
    strict_json.require_sane(value, path="value")
    _require_templates(value)
    encoded = strict_json.dumps(value)
    require_value_size(len((value if isinstance(value, str) else encoded).encode("utf-8")))
    return encoded


def parse_config_text(config_type: str, text: str) -> Any:
    """A config's value from a command line: a string as it is, everything else as JSON."""
    return text if config_type == ConfigType.STRING else strict_json.loads(text)


def _require_templates(value: Any) -> None:
    """Raise InvalidInput, naming the string and the character, for `{{` that begins no reference."""
    for path, text in templates.strings(value):
        if templates.OPENING not in text:
            continue
        try:
            templates.parse(text)
        except templates.TemplateError as refusal:
            field = f"value.{path}" if path else "value"
            raise InvalidInput.of(field, f"At character {refusal.position}: {refusal.reason}") from None


def stored_value(value_json: str) -> Any:
    """A config's value as it was written, templates unresolved."""
    return strict_json.loads(value_json)
