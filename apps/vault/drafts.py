"""What somebody asks to write, checked as far as that needs no database."""

from dataclasses import dataclass, field
from typing import Any

from apps.core.errors import InvalidInput
from apps.core.names import require_entry_key, require_file_name
from apps.services import entries
from apps.services.entries import NO_PRECONDITION, Opened, Precondition
from apps.vault.dependants import Write
from apps.vault.models import Config, ConfigType, Secret, SecretType
from apps.vault.reminders import Reminders, require_reminders
from apps.vault.values import config_json, require_description, require_value_size, secret_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDraft:
    """A version of a secret to be. Its value stands in no repr."""

    key: str
    value: bytes = field(repr=False)
    type: str = SecretType.TEXT
    file_name: str = ""
    description: str = ""
    is_final: bool | None = None
    reminders: Reminders = field(default_factory=dict)
    precondition: Precondition = NO_PRECONDITION

    @classmethod
    def of_wire(cls, *, value: str, type: str = SecretType.TEXT, **members: Any) -> "SecretDraft":
        """From a body's members, the value as text or a file's base64. Raises InvalidInput."""
        return cls(value=secret_bytes(type, value), type=type, **members)

    def require_sound(self) -> None:
        """Raise InvalidInput for a key, type, value, file name or description that cannot be."""
        require_entry_key(self.key)
        if self.type not in SecretType.values:
            raise InvalidInput.of("type", f"Choose {' or '.join(SecretType.values)}.")
        require_value_size(len(self.value))
        if self.type == SecretType.TEXT:
            try:
                self.value.decode("utf-8")
            except UnicodeDecodeError:
                # From None: the cause quotes bytes of the value.
                raise InvalidInput.of("value", "The text is not UTF-8. Send bytes as type file.") from None
        if self.file_name:
            require_file_name(self.file_name)
            if self.type != SecretType.FILE:
                raise InvalidInput.of("file_name", "Only a secret of type file has a file name.")
        require_description(self.description)
        require_reminders(self.reminders)

    def planned(self, opened: "Opened[Secret]") -> Write:
        """What templates will find once it is written."""
        is_final = entries.final_after(opened, self.is_final)
        return Write.of_secret(self.key, self.type, len(self.value), is_final=is_final)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDraft:
    """A version of a config to be."""

    key: str
    value: Any
    type: str = ConfigType.STRING
    description: str = ""
    is_final: bool | None = None
    precondition: Precondition = NO_PRECONDITION

    def sound_json(self) -> str:
        """The JSON text to store. Raises InvalidInput for anything that cannot be."""
        require_entry_key(self.key)
        value_json = config_json(self.type, self.value)
        require_description(self.description)
        return value_json

    def planned(self, opened: "Opened[Config]", value_json: str) -> Write:
        """What templates will find once it is written."""
        is_final = entries.final_after(opened, self.is_final)
        return Write.of_config(self.key, self.type, value_json, is_final=is_final)
