from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.audit.models import AuditEvent
from apps.core.admin import OperationAdmin, actor_of


@admin.register(AuditEvent)
class AuditEventAdmin(OperationAdmin):
    list_display = (
        "time",
        "actor_name",
        "action",
        "object_type",
        "object_key",
        "outcome",
        "count",
        "address",
    )
    list_filter = ("action", "outcome", "object_type")
    search_fields = ("actor_name", "object_key", "request_id")
    ordering = ("-time",)
    exclude = ("previous_digest", "digest", "mac")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.readable_by(actor_of(request))
