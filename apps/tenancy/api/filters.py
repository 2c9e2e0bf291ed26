"""What the lists of tenants' things may be narrowed to."""

import django_filters

from apps.core.access import TenantRole
from apps.tenancy.models import AccessToken, TenantMember, User


class TenantMemberFilter(django_filters.FilterSet):  # type: ignore[misc] # without types of its own
    role = django_filters.ChoiceFilter(choices=[(role.value, role.value) for role in TenantRole])
    is_service_account = django_filters.BooleanFilter(field_name="user__is_service_account")

    class Meta:
        model = TenantMember
        fields: tuple[str, ...] = ()


class AccessTokenFilter(django_filters.FilterSet):  # type: ignore[misc] # without types of its own
    service_account = django_filters.UUIDFilter(
        field_name="user__service_account", help_text="Only tokens of this account."
    )
    is_revoked = django_filters.BooleanFilter(field_name="revoked_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = AccessToken
        fields: tuple[str, ...] = ()


class OperatorFilter(django_filters.FilterSet):  # type: ignore[misc] # without types of its own
    is_active = django_filters.BooleanFilter()
    is_superuser = django_filters.BooleanFilter()

    class Meta:
        model = User
        fields: tuple[str, ...] = ()
