"""What lists of flags can be narrowed by."""

from django_filters import BooleanFilter, ChoiceFilter, FilterSet

from apps.flags.definition import TYPES


class FlagFilter(FilterSet):  # type: ignore[misc] # without types of its own
    type = ChoiceFilter(choices=[(name, name) for name in TYPES])
    enabled = BooleanFilter()
    final = BooleanFilter(field_name="is_final")
