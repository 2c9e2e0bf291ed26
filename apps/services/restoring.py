"""Bringing back deleted entries in the console: a panel on the service's tab, and a page that asks."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import models
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.core.actor import Actor
from apps.core.admin import OperationAdmin, actor_of, page_url
from apps.core.errors import Conflict, InvalidInput, VersionConflict
from apps.core.pages import Button, Panel, Row, code, when
from apps.services import entries
from apps.services.models import Service

# What is deleted is looked for soon after, or by the API.
_DELETED_SHOWN = 50


def beside(obj: models.Model, page: str) -> str:
    """Another page of the row, beside its own."""
    return page_url(obj).removesuffix("change/") + page


def deleted_panel(rows: Any, service: Service) -> list[Panel]:
    """What of `rows` was deleted from the service and can be brought back; nothing where nothing was."""
    found = entries.restorable(rows.filter(service=service)).order_by("-deleted_at")
    shown = [
        Row(
            [code(entry.key), when(entry.deleted_at), when(entry.purge_after)],
            [Button("Restore", beside(entry, "restore/"), about=entry.key)],
        )
        for entry in found.only("id", "key", "deleted_at", "purge_after")[:_DELETED_SHOWN]
    ]
    return [Panel("Deleted", ("Key", "Deleted", "Kept until"), shown)] if shown else []


class RestoringAdmin(OperationAdmin):
    """The pages of entries that can be brought back. A subclass says by which operation."""

    def bring_back(self, actor: Actor, entry: Any, row_version: int | None) -> str:
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        restore = path(
            "<uuid:object_id>/restore/",
            self.admin_site.admin_view(self.restore_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_restore",
        )
        return [restore, *super().get_urls()]

    def restore_view(self, request: HttpRequest, object_id: UUID) -> HttpResponseBase:
        """A deleted entry exists for those alone who may bring it back."""
        actor, rows = actor_of(request), self.model._default_manager.all()
        seen = entries.restorable(rows.visible_to(actor, self.change_permission, deleted=True))
        entry = seen.select_related("service__project__tenant").filter(pk=object_id).first()
        if entry is None:
            raise Http404
        return self.confirmed(
            request,
            entry,
            label="Restore",
            tone="primary",
            sentences=[f"{entry.key} comes back as it was, at once in what {entry.service} reads."],
            run=lambda row_version: self.bring_back(actor, entry, row_version),
            back=page_url(entry.service),
        )

    def confirmed(
        self,
        request: HttpRequest,
        entry: Any,
        *,
        label: str,
        tone: str,
        sentences: Sequence[str],
        run: Callable[[int | None], str],
        back: str = "",
    ) -> HttpResponseBase:
        """A page that explains, and a POST that does. `run` takes the row version that the page showed."""
        refusal = ""
        if request.method == "POST":
            try:
                messages.success(request, run(_row_version(request)))
            except InvalidInput as error:
                refusal = " ".join(each for several in error.errors.values() for each in several)
            except (Conflict, VersionConflict) as error:
                refusal = error.detail
            else:
                return redirect(page_url(entry))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{label}: {entry}",
            "opts": self.opts,
            "act": {"label": label, "tone": tone},
            "row": entry,
            "row_version": entry.row_version,
            "sentences": sentences,
            "refusal": refusal,
            "back": back or page_url(entry),
        }
        return TemplateResponse(request, "console/act.html", context, status=409 if refusal else 200)


def _row_version(request: HttpRequest) -> int | None:
    text = request.POST.get("row_version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
