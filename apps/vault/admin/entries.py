"""What secrets and configs have in common in the console."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from apps.core.actor import Actor
from apps.core.admin import (
    page_url,
    stand_in,
    values_filter,
)
from apps.core.forms import OperationForm
from apps.core.pages import (
    Cell,
    Page,
    Panel,
    Tone,
    badge,
    environment_badge,
)
from apps.services.models import Service
from apps.services.tabs import tab_url
from apps.vault.admin.history import HistoryAdmin
from apps.vault.models import Entry
from apps.vault.values import DESCRIPTION_MAX_LENGTH

VERSIONS_SHOWN = 100
KEY_HELP = "Letters, digits and _ . : - ; for example stripe.key. It never changes its case."
VALUE_ATTRS = {"rows": 5, "autocomplete": "off", "spellcheck": "false", "class": "nx-code-field"}


def _is_umbrella(form: OperationForm) -> bool:
    service = form.parent or form.instance.service
    return bool(service.is_umbrella)


class EntryForm(OperationForm):
    """What new and changed entries have in common."""

    description = forms.CharField(
        max_length=DESCRIPTION_MAX_LENGTH,
        required=False,
        help_text="Of this version: why it changed. Everybody who lists keys reads it.",
    )
    is_final = forms.BooleanField(
        required=False, label="Final", help_text="Services that inherit this key cannot replace it."
    )
    # The version that the page showed: a write after somebody else's is refused.
    expected_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self) -> None:
        if not _is_umbrella(self):
            del self.fields["is_final"]
        if self.instance is None:
            del self.fields["expected_version"]
        else:
            self.initial.setdefault("expected_version", self.instance.active_version)
            self.initial.setdefault("is_final", self.instance.is_final)

    @property
    def service(self) -> Service:
        found: Service = self.parent or self.instance.service
        return found

    def precondition(self) -> dict[str, Any]:
        """Only create, or only over the version that was seen."""
        if self.instance is None:
            return {"only_create": True}
        return {"expected_version": self.cleaned_data.get("expected_version")}


class EntryAdmin(HistoryAdmin):
    """What lists and pages of secrets and configs have in common."""

    parent_model = Service
    parent_permission = "service:read"
    tab = ""

    list_display = ("key", "service", "environment", "active_version", "is_final", "updated_at")
    list_select_related = ("service__project__tenant",)
    list_filter = (
        values_filter("service__project__slug", "project", "project"),
        values_filter("service__environment", "environment", "environment"),
    )
    search_fields = ("key",)
    ordering = ("service", "key")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("service__project__tenant")

    @admin.display(description="environment", ordering="service__environment")
    def environment(self, entry: Entry) -> Cell:
        return environment_badge(entry.service.environment)

    def page(self, request: HttpRequest, entry: Any) -> Page:
        service = entry.service
        stand_in(request, service)
        badges = [environment_badge(service.environment)]
        if entry.is_final:
            badges.append(badge("final", Tone.INFO))
        return Page(
            title=entry.key,
            crumbs=[
                (service.project.slug, page_url(service.project)),
                (f"{service.environment}/{service.slug}", tab_url(service, self.tab)),
            ],
            badges=badges,
            buttons=self.buttons(request, entry),
            panels=[self.versions(request, entry)],
        )

    def versions(self, request: HttpRequest, entry: Any) -> Panel:
        raise NotImplementedError

    def made(self, request: HttpRequest, form: OperationForm, made: Entry) -> HttpResponseBase:
        messages.success(request, f"{made.key} is at version {made.active_version}.")
        return redirect(tab_url(made.service, self.tab) if form.instance is None else page_url(made))


def written_by(version: Any) -> str:
    return version.created_by or "–"


def what_deleting_does(actor: Actor, entry: Entry) -> Sequence[str]:
    return [
        f"{entry.key} leaves the snapshots of {entry.service} and of what inherits from it at once.",
        "Its versions are kept for 30 days; until then it can be restored from the page of the service.",
    ]
