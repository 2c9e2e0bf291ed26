"""The shape of bodies; rules are the operations'."""

from typing import Any

from rest_framework import serializers

from apps.vault.models import SecretType


class ExactText(serializers.CharField):
    """A string as it came: nothing is trimmed, and a number is not a string."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **options)
        # A secret may hold any character, U+0000 included: it is stored as bytes.
        self.validators = []

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(data)


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


class SecretItemSerializer(SecretWrittenSerializer):
    source = serializers.ChoiceField(choices=["service", "umbrella"])  # type: ignore[assignment]


class SecretValueSerializer(SecretItemSerializer):
    value = serializers.CharField()
    file_name = serializers.CharField(required=False)


class SecretListSerializer(serializers.Serializer[dict[str, object]]):
    secrets = SecretItemSerializer(many=True)
