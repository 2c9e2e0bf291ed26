"""What lists of events are filtered by."""

from typing import Any

from django_filters import CharFilter, ChoiceFilter, FilterSet, IsoDateTimeFilter

from apps.audit.events import Outcome
from apps.core.actor import ActorType


def _exact(column: str, max_length: int, says: str) -> Any:
    return CharFilter(field_name=column, max_length=max_length, help_text=says)


class AuditEventFilters(FilterSet):  # type: ignore[misc] # django-filter has no types
    """Each compares the whole field; several narrow further."""

    action = _exact("action", 40, "Such as secret.reveal.")
    actor_type = ChoiceFilter(choices=[(kind.value, kind.value) for kind in ActorType])
    actor = _exact("actor_id", 255, "The id of who acted.")
    object_type = _exact("object_type", 40, "Such as secret.")
    object = _exact("object_id", 64, "The id of what it was done to.")
    key = _exact("object_key", 255, "The key, slug or address of what it was done to.")
    outcome = ChoiceFilter(choices=[(outcome.value, outcome.value) for outcome in Outcome])
    address = _exact("address", 45, "Where it came from.")
    request_id = _exact("request_id", 64, "As X-Request-Id had it.")
    since = IsoDateTimeFilter(field_name="time", lookup_expr="gte", help_text="From this time on.")
    until = IsoDateTimeFilter(field_name="time", lookup_expr="lt", help_text="Before this time.")
