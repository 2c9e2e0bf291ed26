"""The shape of bodies; rules are the operations'."""

from typing import Any

from rest_framework import serializers

from apps.core.access import TOKEN_PERMISSIONS, TenantRole


class TenantSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    suspended = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class TenantChangeSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=150)


class TenantMemberSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=[(role, role) for role in TenantRole])
    is_service_account = serializers.BooleanField()
    ends_at = serializers.DateTimeField(allow_null=True)
    row_version = serializers.IntegerField(min_value=1)


class ServiceAccountSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    email = serializers.EmailField()
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class ServiceAccountWriteSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=63)
    description = serializers.CharField(max_length=255, required=False, allow_blank=True)


class AccessTokenSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    last4 = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    service_account = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    row_version = serializers.IntegerField(min_value=1)


class AccessTokenIssuedSerializer(AccessTokenSerializer):
    token = serializers.CharField(help_text="Shown this once.")


class AccessTokenWriteSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=150)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=40),
        min_length=1,
        max_length=len(TOKEN_PERMISSIONS),
        help_text="Permissions, as secret:write.",
    )
    expires_at = serializers.DateTimeField(help_text="At most 365 days ahead.")
    service_account = serializers.UUIDField(
        required=False, help_text="Whose token it is; without it one's own."
    )
