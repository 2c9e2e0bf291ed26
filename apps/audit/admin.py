"""The audit log in the console: read, never written."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.audit.events import Action, Outcome
from apps.audit.models import AuditEvent
from apps.core.admin import OperationAdmin, actor_of, page_url
from apps.core.pages import Cell, Page, Panel, Row, Tone, badge, code, link, mono_block, when

_TONES = {Outcome.SUCCESS: Tone.GOOD, Outcome.DENIED: Tone.DANGER, Outcome.FAILED: Tone.WARNING}


def outcome_badge(event: AuditEvent) -> SafeString:
    return badge(event.outcome, _TONES.get(Outcome(event.outcome), Tone.PLAIN))


def activity_panel(events: list[AuditEvent], title: str = "Latest activity") -> Panel:
    """Events as a table; each links to its own page."""
    return Panel(
        title,
        ("Time (UTC)", "Who", "What", "On", "Outcome"),
        [
            Row(
                [
                    when(event.time),
                    event.actor_name or "nobody known",
                    link(page_url(event), event.action),
                    f"{event.object_type} {event.object_key}".strip(),
                    outcome_badge(event),
                ]
            )
            for event in events
        ],
        "Nothing happened yet, or nothing that you may read.",
    )


class ActionFilter(admin.SimpleListFilter):
    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(action), str(action)) for action in sorted(Action)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class PeriodFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "last 24 hours"), ("7", "last 7 days"), ("30", "last 30 days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if self.value() not in ("1", "7", "30"):
            return queryset
        return queryset.filter(time__gte=timezone.now() - timedelta(days=int(self.value() or 0)))


class ObjectFilter(admin.SimpleListFilter):
    """The events of one thing: where the histories of all other pages lead."""

    title = "object"
    parameter_name = "object"

    def has_output(self) -> bool:
        return bool(self.value())

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = request.GET.get(self.parameter_name, "")
        return [(asked, "the one chosen")] if asked else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if not self.value():
            return queryset
        try:
            asked = str(UUID(self.value()))
        except ValueError:
            return queryset.none()
        return queryset.filter(object_id=asked)


@admin.register(AuditEvent)
class AuditEventAdmin(OperationAdmin):
    list_display = ("shown_time", "actor_name", "shown_action", "object_type", "object_key", "shown_outcome")
    list_display_links = ("shown_action",)
    list_filter = (PeriodFilter, ActionFilter, "outcome", "object_type", "actor_type", ObjectFilter)
    search_fields = ("actor_name", "object_key", "request_id", "address")
    search_help_text = "Who, on what, request id, or address"
    ordering = ("-time",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.readable_by(actor_of(request))

    @admin.display(description="time (UTC)", ordering="time")
    def shown_time(self, event: AuditEvent) -> Cell:
        return when(event.time)

    @admin.display(description="action", ordering="action")
    def shown_action(self, event: AuditEvent) -> Cell:
        return f"{event.action} × {event.count}" if event.count > 1 else event.action

    @admin.display(description="outcome", ordering="outcome")
    def shown_outcome(self, event: AuditEvent) -> Cell:
        return outcome_badge(event)

    def page(self, request: HttpRequest, event: AuditEvent) -> Page:
        rows = [_change_row(name, change) for name, change in event.changed.items()]
        return Page(
            title=event.action,
            kicker="Audit event",
            badges=[outcome_badge(event)],
            facts=[
                ("Time (UTC)", event.time.strftime("%Y-%m-%d %H:%M:%S.%f")),
                ("Who", event.actor_name or "nobody known"),
                ("As", event.actor_type.replace("_", " ")),
                ("On", f"{event.object_type} {event.object_key}".strip()),
                ("Object id", code(event.object_id) if event.object_id else "–"),
                ("Times", str(event.count)),
                ("Address", event.address),
                ("User agent", event.user_agent),
                ("Request", code(event.request_id) if event.request_id else "–"),
                ("Number in its chain", f"{event.sequence:,}"),
                ("Digest", code(bytes(event.digest).hex())),
            ],
            panels=[Panel("What changed", ("Field", "Before", "After"), rows, "Nothing was changed.")],
        )


def _change_row(name: str, change: Any) -> Row:
    before, after = change if isinstance(change, list) and len(change) == 2 else (None, change)
    return Row([name, _told(before), _told(after)])


def _told(value: Any) -> Cell:
    if value is None:
        return "–"
    return mono_block(value) if isinstance(value, str) and len(value) > 60 else code(value)
