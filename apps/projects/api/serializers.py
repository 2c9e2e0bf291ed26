"""The shape of bodies; rules are the operations'."""

from typing import Any

from rest_framework import serializers

from apps.core.access import ProjectRole, TenantRole
from apps.core.api.shapes import NameField, SlugField
from apps.projects.tiers import QUOTAS, TIERS

TIER_CHOICES = [(name, name) for name in TIERS]
ROLE_CHOICES = [(role.value, role.value) for role in ProjectRole]
TENANT_ROLE_CHOICES = [(role.value, role.value) for role in TenantRole]
# More than anybody has; a longer list is a mistake.
ENVIRONMENTS_MAX = 100


def _environments(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=SlugField(),
        max_length=ENVIRONMENTS_MAX,
        help_text="Narrows what the tier allows; empty means all of it.",
        **options,
    )


class ProjectSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    tenant = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    tier = serializers.ChoiceField(choices=TIER_CHOICES)
    environments = serializers.ListField(child=serializers.CharField())
    add_ons = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)
    purge_after = serializers.DateTimeField(allow_null=True, help_text="Until then it can be restored.")
    row_version = serializers.IntegerField(min_value=1)


class ProjectWriteSerializer(serializers.Serializer[dict[str, Any]]):
    tenant = serializers.UUIDField()
    slug = SlugField()
    name = NameField(required=False)
    tier = serializers.ChoiceField(choices=TIER_CHOICES, required=False)
    environments = _environments(required=False)
    add_ons = serializers.ListField(
        child=serializers.CharField(max_length=20), required=False, max_length=ENVIRONMENTS_MAX
    )


class ProjectChangeSerializer(serializers.Serializer[dict[str, Any]]):
    name = NameField(required=False)
    environments = _environments(required=False)
    tier = serializers.ChoiceField(choices=TIER_CHOICES, required=False)


class ProjectMemberSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLE_CHOICES)
    is_service_account = serializers.BooleanField()
    ends_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class ProjectMemberWriteSerializer(serializers.Serializer[dict[str, Any]]):
    email = serializers.CharField(max_length=254)
    role = serializers.ChoiceField(choices=ROLE_CHOICES)


class ProjectMemberChangeSerializer(serializers.Serializer[dict[str, Any]]):
    role = serializers.ChoiceField(choices=ROLE_CHOICES)


class AddOnSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class AddOnWriteSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=20)


class QuotaSerializer(serializers.Serializer[dict[str, Any]]):
    quota = serializers.ChoiceField(choices=[(quota, quota) for quota in QUOTAS])
    used = serializers.IntegerField(min_value=0)
    cap = serializers.IntegerField(min_value=0, allow_null=True, help_text="null: unlimited.")


class ProjectUsageSerializer(serializers.Serializer[dict[str, Any]]):
    project = serializers.UUIDField()
    slug = serializers.CharField()
    tier = serializers.ChoiceField(choices=TIER_CHOICES)
    quotas = QuotaSerializer(many=True)


class InvitationSerializer(serializers.Serializer[dict[str, Any]]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=TENANT_ROLE_CHOICES)
    project = serializers.UUIDField(allow_null=True)
    project_role = serializers.ChoiceField(choices=ROLE_CHOICES, allow_null=True)
    invited_by = serializers.EmailField()
    state = serializers.ChoiceField(choices=["pending", "accepted", "revoked", "expired"])
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    row_version = serializers.IntegerField(min_value=1)


class InvitationWriteSerializer(serializers.Serializer[dict[str, Any]]):
    email = serializers.CharField(max_length=254)
    role = serializers.ChoiceField(
        choices=TENANT_ROLE_CHOICES, required=False, help_text="By default member."
    )
    project = serializers.UUIDField(required=False)
    project_role = serializers.ChoiceField(choices=ROLE_CHOICES, required=False)


class InvitationTokenSerializer(serializers.Serializer[dict[str, Any]]):
    token = serializers.CharField(max_length=200)


class InvitationAcceptedSerializer(serializers.Serializer[dict[str, Any]]):
    tenant = serializers.UUIDField()
    role = serializers.ChoiceField(choices=TENANT_ROLE_CHOICES)
    project = serializers.UUIDField(allow_null=True)
    project_role = serializers.ChoiceField(choices=ROLE_CHOICES, allow_null=True)
