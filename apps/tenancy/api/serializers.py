"""The shape of bodies; rules are the operations'."""

from typing import Any

from rest_framework import serializers

from apps.core.access import TOKEN_PERMISSIONS, TenantRole
from apps.core.api.shapes import NameField, SlugField
from apps.core.names import NAME_MAX_LENGTH, SLUG_RULE
from apps.tenancy.automation import DESCRIPTION_MAX_LENGTH, TOKEN_NAME_MAX_LENGTH
from apps.tenancy.break_glass import REASON_MAX_LENGTH
from apps.tenancy.operations import EMAIL_MAX_LENGTH

_ROLES = [(role.value, role.value) for role in TenantRole]


class TenantSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    suspended = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(
        allow_null=True, help_text="Until then a deleted tenant may be restored."
    )
    row_version = serializers.IntegerField(min_value=1)


class TenantCreateSerializer(serializers.Serializer[dict[str, Any]]):
    slug = SlugField(help_text=SLUG_RULE)
    name = NameField(required=False, help_text="For people; by default the slug.")
    owner = serializers.EmailField(max_length=EMAIL_MAX_LENGTH, help_text="Of an operator: the first owner.")


class TenantChangeSerializer(serializers.Serializer[dict[str, Any]]):
    name = NameField()


class TenantMemberSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=_ROLES)
    is_service_account = serializers.BooleanField()
    ends_at = serializers.DateTimeField(
        allow_null=True, help_text="When it ends by itself: a superuser's own does."
    )
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class TenantMemberAddSerializer(serializers.Serializer[dict[str, Any]]):
    email = serializers.EmailField(max_length=EMAIL_MAX_LENGTH, help_text="Of an operator.")
    role = serializers.ChoiceField(choices=_ROLES)


class TenantMemberChangeSerializer(serializers.Serializer[dict[str, Any]]):
    role = serializers.ChoiceField(choices=_ROLES)


class BreakGlassSerializer(serializers.Serializer[dict[str, Any]]):
    role = serializers.ChoiceField(choices=_ROLES)
    reason = serializers.CharField(
        max_length=REASON_MAX_LENGTH, help_text="Told to the tenant's owners, and kept in its audit log."
    )


class OperatorSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    is_active = serializers.BooleanField()
    is_superuser = serializers.BooleanField()
    last_login = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class OperatorCreateSerializer(serializers.Serializer[dict[str, Any]]):
    email = serializers.EmailField(max_length=EMAIL_MAX_LENGTH)
    name = serializers.CharField(max_length=NAME_MAX_LENGTH, required=False, allow_blank=True)
    is_superuser = serializers.BooleanField(
        required=False, help_text="Manages accounts and tenants; sees nothing of a tenant's content."
    )


class OperatorCreatedSerializer(OperatorSerializer):
    password = serializers.CharField(
        required=False, help_text="Shown this once; the first log-in asks for another."
    )
    already_shown = serializers.BooleanField(
        required=False, help_text="true: a repeat of the same Idempotency-Key, without it."
    )


class OperatorDeactivatedSerializer(OperatorSerializer):
    left_without_owner = serializers.ListField(
        child=serializers.CharField(), help_text="Slugs of their tenants that no active owner is left in."
    )


class ServiceAccountSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    email = serializers.EmailField()
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class ServiceAccountWriteSerializer(serializers.Serializer[dict[str, Any]]):
    name = SlugField()
    description = serializers.CharField(max_length=DESCRIPTION_MAX_LENGTH, required=False, allow_blank=True)


class ServiceAccountChangeSerializer(serializers.Serializer[dict[str, Any]]):
    description = serializers.CharField(max_length=DESCRIPTION_MAX_LENGTH, allow_blank=True)


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
    token = serializers.CharField(required=False, help_text="Shown this once.")
    already_shown = serializers.BooleanField(
        required=False, help_text="true: a repeat of the same Idempotency-Key, without it."
    )


class AccessTokenWriteSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=TOKEN_NAME_MAX_LENGTH)
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
