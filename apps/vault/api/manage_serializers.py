"""The shape of bodies and answers of /manage; rules are the operations'."""

from typing import Any

from rest_framework import serializers

from apps.core.api.shapes import ROW_VERSION_MAX
from apps.flags.api.serializers import OffsetDateTimeField
from apps.services.api.entries import DeletionSerializer, ExactSerializer, ExactText, KeyText, items_of
from apps.vault.models import ConfigType, SecretType
from apps.vault.values import DESCRIPTION_MAX_LENGTH


def _choice(choices: Any) -> Any:
    # The framework's words repeat what came: a value put into the wrong member, for one.
    message = f"Choose one of {', '.join(choices.values)}."
    return serializers.ChoiceField(
        choices=choices.choices, required=False, error_messages={"invalid_choice": message}
    )


class _WriteSerializer(ExactSerializer):
    description = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=DESCRIPTION_MAX_LENGTH,
        help_text="Of this version: why it changed. Everybody who lists keys reads it.",
    )
    final = serializers.BooleanField(required=False, help_text="Of an umbrella: no child replaces it.")


class RemindersSerializer(ExactSerializer):
    """Left out, a time stays as it is."""

    expires_at = OffsetDateTimeField(required=False, allow_null=True, help_text="Owners are reminded of it.")
    rotate_by = OffsetDateTimeField(required=False, allow_null=True, help_text="Owners are reminded of it.")


class SecretPutSerializer(_WriteSerializer, RemindersSerializer):
    type = _choice(SecretType)
    value = ExactText(help_text="Text, or a file's bytes in base64.")
    file_name = serializers.CharField(required=False, allow_blank=True, max_length=255)


class SecretCreateSerializer(SecretPutSerializer):
    key = KeyText()


class SecretBulkItemSerializer(SecretCreateSerializer):
    row_version = serializers.IntegerField(required=False, min_value=1, max_value=ROW_VERSION_MAX)


class SecretBulkSerializer(serializers.Serializer[dict[str, Any]]):
    write = items_of(SecretBulkItemSerializer)
    delete = items_of(DeletionSerializer)


class RevealSerializer(serializers.Serializer[dict[str, Any]]):
    version = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)


class RevealedSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.CharField()
    type = serializers.ChoiceField(choices=SecretType.choices)
    version = serializers.IntegerField(min_value=1)
    file_name = serializers.CharField()
    value = serializers.CharField(help_text="Text, or a file's bytes in base64.")


class RenameSerializer(serializers.Serializer[dict[str, Any]]):
    new_key = ExactText()
    force = serializers.BooleanField(required=False, help_text="Although templates still refer to it.")


class VersionsSerializer(serializers.Serializer[dict[str, Any]]):
    """Two versions to compare."""

    left = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    right = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class SecretDifferenceSerializer(serializers.Serializer[dict[str, Any]]):
    same = serializers.BooleanField()
    left_bytes = serializers.IntegerField(min_value=0)
    right_bytes = serializers.IntegerField(min_value=0)


class ConfigDifferenceSerializer(serializers.Serializer[dict[str, Any]]):
    diff = serializers.CharField(help_text="In the unified form; empty where they are the same.")


class _VersionSerializer(serializers.Serializer[dict[str, Any]]):
    version = serializers.IntegerField(min_value=1)
    active = serializers.BooleanField()
    size_bytes = serializers.IntegerField(min_value=0)
    description = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    destroyed_at = serializers.DateTimeField(allow_null=True, help_text="Its value is gone since then.")


class SecretVersionSerializer(_VersionSerializer):
    type = serializers.ChoiceField(choices=SecretType.choices)
    file_name = serializers.CharField()


class ConfigVersionSerializer(_VersionSerializer):
    type = serializers.ChoiceField(choices=ConfigType.choices)
    value = serializers.JSONField(allow_null=True, help_text="Templates unresolved; null once destroyed.")


class _EntrySerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    version = serializers.IntegerField(min_value=1)
    final = serializers.BooleanField()
    size_bytes = serializers.IntegerField(min_value=0)
    description = serializers.CharField(help_text="Of the active version, as created_by.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(allow_null=True, help_text="Until then it can be restored.")


_WARNINGS = "What a service that inherits from this umbrella can no longer serve."


class ManagedSecretSerializer(_EntrySerializer):
    type = serializers.ChoiceField(choices=SecretType.choices)
    file_name = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    rotate_by = serializers.DateTimeField(allow_null=True)


class WrittenSecretSerializer(ManagedSecretSerializer):
    warnings = serializers.ListField(child=serializers.CharField(), help_text=_WARNINGS)


class ManagedConfigSerializer(_EntrySerializer):
    type = serializers.ChoiceField(choices=ConfigType.choices)
    value = serializers.JSONField(allow_null=True, help_text="As it was written, templates unresolved.")


class WrittenConfigSerializer(ManagedConfigSerializer):
    warnings = serializers.ListField(child=serializers.CharField(), help_text=_WARNINGS)


class ConfigPutSerializer(_WriteSerializer):
    type = _choice(ConfigType)
    value = serializers.JSONField(allow_null=True, help_text="A value of the type.")


class ConfigCreateSerializer(ConfigPutSerializer):
    key = KeyText()


class ConfigBulkItemSerializer(ConfigCreateSerializer):
    row_version = serializers.IntegerField(required=False, min_value=1, max_value=ROW_VERSION_MAX)


class ConfigBulkSerializer(serializers.Serializer[dict[str, Any]]):
    write = items_of(ConfigBulkItemSerializer)
    delete = items_of(DeletionSerializer)
