"""By what lists of services and their keys are narrowed."""

from typing import Any

import django_filters
from django import forms

from apps.services.models import ApiKey, Kind, Service, Slot


class TrueOrFalse(forms.Field):
    """`true` or `false`. Django's own field takes anything else for "not asked", and would show all."""

    def to_python(self, value: Any) -> bool | None:
        if value is None:
            return None
        if value not in ("true", "false"):
            raise forms.ValidationError("Give true or false.")
        return bool(value == "true")


class BooleanFilter(django_filters.BooleanFilter):  # type: ignore[misc] # django-filter has no types
    field_class = TrueOrFalse

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "widget": forms.TextInput})


class ServiceFilter(django_filters.FilterSet):  # type: ignore[misc] # django-filter has no types
    project = django_filters.UUIDFilter(field_name="project_id")
    tenant = django_filters.UUIDFilter(field_name="project__tenant_id")
    environment = django_filters.CharFilter()
    kind = django_filters.ChoiceFilter(choices=Kind.choices)
    is_umbrella = BooleanFilter()
    umbrella = django_filters.UUIDFilter(method="of_umbrella", help_text="The children of this one.")

    class Meta:
        model = Service
        fields: list[str] = []

    def of_umbrella(self, rows: Any, name: str, value: Any) -> Any:
        # The view annotates `sees_umbrella`: whom the umbrella does not exist for, it has no children.
        return rows.filter(umbrella_id=value, sees_umbrella=True)


class ApiKeyFilter(django_filters.FilterSet):  # type: ignore[misc] # django-filter has no types
    slot = django_filters.ChoiceFilter(choices=Slot.choices)
    is_revoked = BooleanFilter(field_name="revoked_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = ApiKey
        fields: list[str] = []
