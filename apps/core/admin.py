"""The console's base: a door like any other. It writes nothing that no operation writes."""

from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from apps.core.access import ScopedQuerySet
from apps.core.actor import Actor


def actor_of(request: HttpRequest) -> Actor:
    """Who `request` acts as; the console's site put it there."""
    actor = getattr(request, "actor", None)
    if not isinstance(actor, Actor):
        raise PermissionDenied
    return actor


class OperationAdmin(ModelAdmin):  # type: ignore[misc] # unfold has no types
    """Shows what `visible_to` gives, and stays shut for writing until an operation is wired in.

    Every hook by which Django would write on its own refuses. `read_permission` names the right
    that lets a row be seen.
    """

    read_permission = ""
    actions = None
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        if not isinstance(queryset, ScopedQuerySet) or not self.read_permission:
            return cast(QuerySet[Any], queryset.none())
        return queryset.visible_to(actor_of(request), self.read_permission)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(getattr(request.user, "is_active", False))

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        if obj is None:
            return self.has_module_permission(request)
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: models.Model, form: Any, change: bool) -> None:
        raise PermissionDenied

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        raise PermissionDenied

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        raise PermissionDenied

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        raise PermissionDenied

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        # Django's own history is written by nobody here; the audit log tells what happened.
        raise PermissionDenied

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the list offers as filters: a lookup could probe a column bit by bit."""
        offered = [each for each in self.get_list_filter(request) if isinstance(each, str)]
        return any(lookup == name or lookup.startswith(f"{name}__") for name in offered)
