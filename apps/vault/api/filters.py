"""What lists of secrets and configs can be narrowed by."""

from django_filters import BooleanFilter, ChoiceFilter, FilterSet

from apps.vault.models import ConfigType, SecretType


class SecretFilter(FilterSet):  # type: ignore[misc] # without types of its own
    type = ChoiceFilter(choices=SecretType.choices)
    final = BooleanFilter(field_name="is_final")


class ConfigFilter(FilterSet):  # type: ignore[misc] # without types of its own
    type = ChoiceFilter(choices=ConfigType.choices)
    final = BooleanFilter(field_name="is_final")
