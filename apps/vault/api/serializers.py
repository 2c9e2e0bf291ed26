"""The shape of bodies; rules are the operations'."""

from rest_framework import serializers

from apps.services.api.entries import ExactText
from apps.vault.models import SecretType


class SecretWriteSerializer(serializers.Serializer[dict[str, str]]):
    """`value` is text, or a file's bytes in base64. Alone it suffices."""

    type = serializers.ChoiceField(
        choices=SecretType.choices,
        required=False,
        # The framework's words repeat what came: a value put into the wrong member, for one.
        error_messages={"invalid_choice": f"Choose {' or '.join(SecretType.values)}."},
    )
    value = ExactText()
    description = serializers.CharField(required=False, allow_blank=True, max_length=500)
    file_name = serializers.CharField(required=False, allow_blank=True, max_length=255)


class SecretWrittenSerializer(serializers.Serializer[dict[str, object]]):
    key = serializers.CharField()
    type = serializers.ChoiceField(choices=SecretType.choices)
    version = serializers.IntegerField(min_value=1)


class SecretVersionItemSerializer(serializers.Serializer[dict[str, object]]):
    version = serializers.IntegerField(min_value=1)
    type = serializers.ChoiceField(choices=SecretType.choices)
    size_bytes = serializers.IntegerField(min_value=0)
    description = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    destroyed_at = serializers.DateTimeField(allow_null=True)


class SecretVersionsSerializer(serializers.Serializer[dict[str, object]]):
    versions = SecretVersionItemSerializer(many=True)


class SecretItemSerializer(SecretWrittenSerializer):
    source = serializers.ChoiceField(choices=["service", "umbrella"])  # type: ignore[assignment]


class SecretValueSerializer(SecretItemSerializer):
    value = serializers.CharField()
    file_name = serializers.CharField(required=False)


class SecretListSerializer(serializers.Serializer[dict[str, object]]):
    secrets = SecretItemSerializer(many=True)


class SecretMapSerializer(serializers.Serializer[dict[str, object]]):
    secrets = serializers.DictField(child=serializers.CharField(), help_text="Key → value.")
