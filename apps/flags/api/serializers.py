"""The shape of bodies and answers; rules are the operations'."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from apps.core.api.shapes import ROW_VERSION_MAX
from apps.flags.definition import TYPES
from apps.services.api.entries import DeletionSerializer, ExactSerializer, KeyText, items_of


class FlagSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    type = serializers.ChoiceField(choices=[(name, name) for name in TYPES])
    enabled = serializers.BooleanField()
    starts_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True)
    final = serializers.BooleanField()
    definition = serializers.DictField(help_text="The wire form of the flag.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(allow_null=True, help_text="Until then it can be restored.")


class FlagPutSerializer(ExactSerializer):
    definition = serializers.DictField(help_text="The wire form of the flag.")
    final = serializers.BooleanField(required=False, help_text="Of an umbrella: no child replaces it.")


class FlagCreateSerializer(FlagPutSerializer):
    key = KeyText()


class FlagBulkItemSerializer(FlagCreateSerializer):
    row_version = serializers.IntegerField(required=False, min_value=1, max_value=ROW_VERSION_MAX)


class FlagBulkSerializer(serializers.Serializer[dict[str, Any]]):
    write = items_of(FlagBulkItemSerializer)
    delete = items_of(DeletionSerializer)


class OffsetDateTimeField(serializers.DateTimeField):
    """A time with its offset: one without would be a guess."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("invalid", format="2026-01-01T00:00:00Z")
        return value


class FlagStateSerializer(serializers.Serializer[dict[str, Any]]):
    enabled = serializers.BooleanField(required=False)
    starts_at = OffsetDateTimeField(required=False, allow_null=True, help_text="null: no bound.")
    ends_at = OffsetDateTimeField(required=False, allow_null=True, help_text="null: no bound.")
