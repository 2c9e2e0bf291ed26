"""What the lists of this app are filtered by."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import BooleanFilter, ChoiceFilter, FilterSet, UUIDFilter

from apps.core.access import ProjectRole
from apps.projects.tiers import TIERS

_STATES = ("pending", "accepted", "revoked", "expired")


class ProjectFilters(FilterSet):  # type: ignore[misc] # django-filter has no types
    tenant = UUIDFilter(field_name="tenant_id", help_text="The id of their tenant.")
    tier = ChoiceFilter(choices=[(name, name) for name in TIERS])
    deleted = BooleanFilter(
        method="by_deletion",
        help_text="true: those deleted softly that one may restore, in place of the live.",
    )

    def by_deletion(self, rows: "QuerySet[Any]", name: str, value: bool) -> "QuerySet[Any]":
        # The view chose the rows by it: which are seen is a question of rights.
        return rows


class ProjectMemberFilters(FilterSet):  # type: ignore[misc] # django-filter has no types
    role = ChoiceFilter(choices=[(role.value, role.value) for role in ProjectRole])
    service_account = BooleanFilter(field_name="user__is_service_account")


class InvitationFilters(FilterSet):  # type: ignore[misc] # django-filter has no types
    project = UUIDFilter(field_name="project_id")
    state = ChoiceFilter(choices=[(state, state) for state in _STATES], method="by_state")

    def by_state(self, rows: "QuerySet[Any]", name: str, value: str) -> "QuerySet[Any]":
        match value:
            case "accepted":
                return rows.filter(accepted_at__isnull=False)
            case "revoked":
                return rows.filter(revoked_at__isnull=False)
        open_ones = rows.filter(accepted_at=None, revoked_at=None)
        now = timezone.now()
        return (
            open_ones.filter(expires_at__gt=now)
            if value == "pending"
            else open_ones.filter(expires_at__lte=now)
        )
