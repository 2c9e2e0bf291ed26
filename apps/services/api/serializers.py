"""The shape of bodies; rules are the operations'."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from apps.core.access import SCOPE_PERMISSIONS
from apps.core.api.shapes import NameField, SlugField
from apps.services.models import Kind, Provider, Slot
from apps.services.operations.keys import NETWORKS_MAX, OVERLAP_DEFAULT_SECONDS, OVERLAP_MAX_SECONDS

# An IPv6 network written out is 43 characters; whatever is longer is none.
_NETWORK_MAX_LENGTH = 64


def _choice(choices: Sequence[tuple[str, Any]], **options: Any) -> serializers.ChoiceField:
    """One of `choices`; the refusal does not repeat what came, as the framework's own would."""
    names = ", ".join(value for value, _ in choices)
    return serializers.ChoiceField(
        choices=list(choices), error_messages={"invalid_choice": f"Choose one of {names}."}, **options
    )


class ServiceSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    project = serializers.UUIDField()
    environment = serializers.CharField()
    slug = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    name = serializers.CharField()
    is_umbrella = serializers.BooleanField()
    umbrella = serializers.UUIDField(allow_null=True, help_text="What it inherits from, if one sees that.")
    disabled = serializers.BooleanField()
    revision = serializers.IntegerField(min_value=1, help_text="Rises with whatever the service reads.")
    created_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(allow_null=True, help_text="Until then it can be restored.")
    row_version = serializers.IntegerField(min_value=1)


class ServiceRestoredSerializer(ServiceSerializer):
    was_unlinked = serializers.BooleanField(help_text="Its umbrella is deleted; it inherits nothing now.")


class ServiceWriteSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.UUIDField()
    environment = SlugField()
    slug = SlugField()
    kind = _choice(Kind.choices)
    name = NameField(required=False)
    is_umbrella = serializers.BooleanField(required=False)
    umbrella = serializers.UUIDField(required=False, allow_null=True)


class ServiceChangeSerializer(serializers.Serializer[dict[str, Any]]):
    name = NameField()


class LinkSerializer(serializers.Serializer[dict[str, Any]]):
    umbrella = serializers.UUIDField()
    dry_run = serializers.BooleanField(required=False)


class UnlinkSerializer(serializers.Serializer[dict[str, Any]]):
    dry_run = serializers.BooleanField(required=False)


class EffectCountsSerializer(serializers.Serializer[dict[str, Any]]):
    gains = serializers.IntegerField(min_value=0)
    loses = serializers.IntegerField(min_value=0)
    changes = serializers.IntegerField(min_value=0)


class KeyChangeSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.CharField()
    effect = serializers.ChoiceField(
        choices=["overridden", "overrides", "released", "replaced"],
        help_text="overridden: its own gives way to the umbrella's final one. overrides: its own stands "
        "before the umbrella's. released: its own no longer gives way. replaced: inherited from "
        "another umbrella than before.",
    )


class EffectSerializer(serializers.Serializer[dict[str, Any]]):
    """The lists are null for who may not list these keys on both sides; the counts are there for all."""

    gains = serializers.ListField(child=serializers.CharField(), allow_null=True)
    loses = serializers.ListField(child=serializers.CharField(), allow_null=True)
    changes = KeyChangeSerializer(many=True, allow_null=True)
    counts = EffectCountsSerializer()


class LinkedSerializer(serializers.Serializer[dict[str, Any]]):
    umbrella = serializers.UUIDField(allow_null=True)
    applied = serializers.BooleanField(help_text="False: a dry run, nothing changed.")
    row_version = serializers.IntegerField(min_value=1)
    secrets = EffectSerializer()
    configs = EffectSerializer()
    flags = EffectSerializer()


class ApiKeySerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    slot = serializers.ChoiceField(choices=Slot.choices)
    prefix = serializers.CharField()
    last4 = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    allowed_networks = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField(allow_null=True)
    is_outgoing = serializers.BooleanField(help_text="Another key replaced it; it works until ends_at.")
    ends_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    row_version = serializers.IntegerField(min_value=1)


class ApiKeyIssuedSerializer(ApiKeySerializer):
    key = serializers.CharField(required=False, help_text="Shown this once.")
    already_shown = serializers.BooleanField(
        required=False, help_text="true: a repeat of the same Idempotency-Key, without it."
    )


def _networks() -> serializers.ListField:
    return serializers.ListField(
        child=serializers.CharField(max_length=_NETWORK_MAX_LENGTH),
        required=False,
        max_length=NETWORKS_MAX,
        help_text="Networks in CIDR form; empty: from everywhere.",
    )


class ApiKeyChangeSerializer(serializers.Serializer[dict[str, Any]]):
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="null: never.")
    allowed_networks = _networks()


class ApiKeyTermsSerializer(ApiKeyChangeSerializer):
    scopes = serializers.ListField(
        child=_choice([(scope, scope) for scope in SCOPE_PERMISSIONS]),
        required=False,
        max_length=len(SCOPE_PERMISSIONS),
        help_text="read is always there.",
    )


class ApiKeyWriteSerializer(ApiKeyTermsSerializer):
    slot = _choice(Slot.choices, required=False)


class ApiKeyRotateSerializer(ApiKeyTermsSerializer):
    """What is not given is as the old key has it."""

    overlap_seconds = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=OVERLAP_MAX_SECONDS,
        help_text=f"How long the old key works on; by default {OVERLAP_DEFAULT_SECONDS}, 0: not at all.",
    )


class WorkloadIdentitySerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    provider = serializers.ChoiceField(choices=Provider.choices)
    issuer = serializers.CharField()
    audience = serializers.CharField()
    subject = serializers.CharField()
    claims = serializers.DictField()
    pins_key_set = serializers.BooleanField()
    pins_ca = serializers.BooleanField()
    is_single_use = serializers.BooleanField()
    disabled = serializers.BooleanField()
    use_count = serializers.IntegerField(min_value=0)
    last_used_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)
