"""What an import reads: dotenv, JSON and YAML, as secrets and configs (SPEC 10)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.core import strict_json
from apps.core.errors import InvalidInput, MalformedRequest
from apps.core.names import KEY_RULE, is_entry_key
from apps.vault.formats.dotenv import parse_dotenv, wrong
from apps.vault.formats.yaml import parse_yaml
from apps.vault.models import ConfigType

CONTENT_MAX_BYTES = 1024 * 1024
ENTRIES_MAX = 2_000
_BOTH = ("secrets", "configs")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file names: secrets as texts, configs with their types."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    configs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def config_type_of(value: Any) -> str:
    """The type of a config that holds `value`."""
    match value:
        case str():
            return ConfigType.STRING
        case bool():
            return ConfigType.BOOLEAN
        case int() | float():
            return ConfigType.NUMBER
        case _:
            return ConfigType.JSON


def read(form: str, content: str, *, secrets: bool = False) -> Document:
    """The entries that `content` names in the format `form`.

    A flat file makes configs, or with `secrets` secrets; `{"secrets": {…}, "configs": {…}}` in JSON
    and YAML names both. At most CONTENT_MAX_BYTES and ENTRIES_MAX. Raises InvalidInput for all that
    is wrong, with lines or keys and never with a value.
    """
    size = len(content.encode("utf-8", "surrogatepass"))
    if size > CONTENT_MAX_BYTES:
        raise InvalidInput.of("content", f"The file has {size} bytes; at most {CONTENT_MAX_BYTES} fit.")
    content = content.removeprefix("\ufeff")
    if form == "dotenv":
        return _shaped(parse_dotenv(content), secrets=secrets, may_name_both=False)
    if form == "json":
        return _shaped(_json(content), secrets=secrets, may_name_both=True)
    if form == "yaml":
        parsed = parse_yaml(content)
        return _shaped({} if parsed is None else parsed, secrets=secrets, may_name_both=True)
    raise InvalidInput.of("format", "Choose one of dotenv, json, yaml.")


def _json(content: str) -> Any:
    try:
        return strict_json.loads(content)
    except MalformedRequest:
        raise wrong(_json_line(content), "This is no JSON, or it nests too deep.") from None
    except InvalidInput as refusal:
        # A path is repeated where it can be one of keys; what else stands there may be a value.
        ((path, messages),) = refusal.errors.items()
        where = f"{path}: " if is_entry_key(path) else ""
        raise InvalidInput.of("content", f"{where}{' '.join(messages)}") from None


def _json_line(content: str) -> int:
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        pass
    return 1


def _shaped(parsed: Any, *, secrets: bool, may_name_both: bool) -> Document:
    if not isinstance(parsed, dict):
        raise InvalidInput.of("content", "The file is no mapping of keys to values.")
    if may_name_both and any(isinstance(parsed.get(name), dict) for name in _BOTH):
        found = _named(parsed, secrets=secrets)
    else:
        found = (parsed, {}) if secrets else ({}, parsed)
    count = len(found[0]) + len(found[1])
    if count > ENTRIES_MAX:
        raise InvalidInput.of("content", f"The file has {count} entries; at most {ENTRIES_MAX} fit.")
    errors: dict[str, list[str]] = {}
    for kind, entries in zip(_BOTH, found, strict=True):
        for number, (key, value) in enumerate(entries.items(), start=1):
            if not is_entry_key(key):
                # By number: what is no key may be a value in a wrong place.
                errors[f"{kind}.{number}"] = [f"The name of entry {number} is no key. {KEY_RULE}"]
            elif kind == "secrets" and not isinstance(value, str):
                errors[f"secrets.{key}"] = ["A secret is a text. Put it in quotes."]
    if errors:
        raise InvalidInput(errors)
    return Document(*found)


def _named(parsed: dict[str, Any], *, secrets: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    if parsed.keys() - set(_BOTH) or not all(isinstance(each, dict) for each in parsed.values()):
        raise InvalidInput.of(
            "content",
            "The members secrets and configs, each a mapping of keys to values, stand alone in a file. In a "
            "flat file neither is a mapping.",
        )
    if secrets:
        raise InvalidInput.of("secrets", "The file says itself what is a secret. Leave this out.")
    return parsed.get("secrets", {}), parsed.get("configs", {})
