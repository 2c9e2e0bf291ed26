"""Versions in the console: restoring, destroying and comparing them, and the entry's other key."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.core.access import allows
from apps.core.actor import Actor
from apps.core.admin import actor_of, page_url
from apps.core.errors import NotPermitted
from apps.core.forms import OperationForm
from apps.core.pages import Button, Page
from apps.services.restoring import RestoringAdmin, beside
from apps.services.tabs import tab_url
from apps.vault import history
from apps.vault.history import Kind
from apps.vault.models import Entry


class EntryPageForm(OperationForm):
    """A form with a page of its own, for something of an entry that is no new version."""

    label = ""
    done = ""
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self) -> None:
        self.initial.setdefault("row_version", self.instance.row_version)


class RenameForm(EntryPageForm):
    title = "Rename"
    label = "Rename"
    done = "is its new key."
    submit_label = "Rename"
    of: ClassVar[Kind]
    new_key = forms.CharField(
        max_length=255, help_text="Who reads the old key finds nothing from then on; versions stay."
    )
    force = forms.BooleanField(
        required=False, label="Although templates refer to it", help_text="They will no longer be served."
    )

    def prepare(self) -> None:
        super().prepare()
        self.initial.setdefault("new_key", self.instance.key)

    def operate(self) -> Entry:
        given = self.cleaned_data
        return history.rename_entry(
            actor=self.actor,
            of=self.of,
            service=self.instance.service,
            key=self.instance.key,
            new_key=given["new_key"],
            force=given["force"],
            expected_row_version=given["row_version"],
        ).entry


class HistoryAdmin(RestoringAdmin):
    """What the pages of secrets and configs offer for what was written before."""

    of: ClassVar[Kind]
    compare_permission = ""
    # By the last part of their address.
    form_pages: ClassVar[Mapping[str, type[EntryPageForm]]] = {}
    tab = ""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"

        def wrap(view: Any) -> Any:
            return self.admin_site.admin_view(view)

        return [
            path(
                "<uuid:object_id>/versions/<int:version>/<slug:verb>/",
                wrap(self.version_view),
                name=f"{name}_version",
            ),
            path("<uuid:object_id>/compare/", wrap(self.compare_view), name=f"{name}_compare"),
            *(
                path(f"<uuid:object_id>/{page}/", wrap(self._page_view(page)), name=f"{name}_{page}")
                for page in self.form_pages
            ),
            *super().get_urls(),
        ]

    def _page_view(self, page: str) -> Any:
        def view(request: HttpRequest, object_id: UUID) -> HttpResponseBase:
            return self.form_page(request, object_id, self.form_pages[page])

        return view

    def buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        buttons = super().buttons(request, obj)
        if allows(actor_of(request), self.change_permission, obj):
            # Before what deletes.
            buttons[:0] = [
                Button(form.label, beside(obj, f"{page}/")) for page, form in self.form_pages.items()
            ]
        return buttons

    def version_buttons(self, entry: Any, version: Any, held: Collection[str]) -> list[Button]:
        """What a version offers that is neither active nor destroyed, to who has the rights in `held`."""
        if version.destroyed_at or version.version == entry.active_version:
            return []
        number, about = version.version, f"version {version.version}"
        offered = [
            (
                "Compare",
                self.compare_permission,
                f"compare/?left={number}&right={entry.active_version}",
                "default",
            ),
            ("Restore", self.of.write, f"versions/{number}/restore/", "default"),
            ("Destroy", self.of.destroy, f"versions/{number}/destroy/", "danger"),
        ]
        return [
            Button(label, beside(entry, where), tone, about=about)
            for label, permission, where, tone in offered
            if permission in held
        ]

    def version_view(
        self, request: HttpRequest, object_id: UUID, version: int, verb: str
    ) -> HttpResponseBase:
        """Restore or destroy one older version, once that was asked."""
        entry = self.visible(request, str(object_id))
        permission = {"restore": self.of.write, "destroy": self.of.destroy}.get(verb)
        if permission is None:
            raise Http404
        actor = actor_of(request)
        if not allows(actor, permission, entry):
            raise NotPermitted(permission=permission, target=entry)
        found = history.versions_of(entry).filter(version=version, destroyed_at=None).exists()
        if not found or version == entry.active_version:
            raise Http404
        options = {"actor": actor, "of": self.of, "service": entry.service, "key": entry.key}

        def restore(row_version: int | None) -> str:
            written = history.restore_version(**options, version=version, expected_row_version=row_version)
            return f"{entry.key} is at version {written.version}, with the value of version {version}."

        def destroy(row_version: int | None) -> str:
            history.destroy_version(**options, version=version, expected_row_version=row_version)
            return f"Version {version} of {entry.key} is destroyed."

        if verb == "restore":
            return self.confirmed(
                request,
                entry,
                label=f"Restore version {version}",
                tone="primary",
                sentences=[
                    f"A new version with the value of version {version} becomes the active one.",
                    "Nothing is lost: the version that is active now stays in the history.",
                ],
                run=restore,
            )
        return self.confirmed(
            request,
            entry,
            label=f"Destroy version {version}",
            tone="danger",
            sentences=[
                f"The value of version {version} is overwritten. Nobody can bring it back, not even from "
                "here; backups that were made before still hold it.",
                "The version stays in the history without its value.",
            ],
            run=destroy,
        )

    def form_page(self, request: HttpRequest, object_id: UUID, kind: type[EntryPageForm]) -> HttpResponseBase:
        entry = self.visible(request, str(object_id))
        if not allows(actor_of(request), self.change_permission, entry):
            raise NotPermitted(permission=self.change_permission, target=entry)
        form = self._form(kind, request, instance=entry)
        answer = self._submitted(request, form)
        if answer is not None:
            return answer
        page = Page(title=f"{kind.label} {entry.key}", crumbs=self.crumbs(entry))
        return self.render(request, page, form=form, status=422 if form.is_bound else 200)

    def crumbs(self, entry: Any) -> Sequence[tuple[str, str]]:
        service = entry.service
        return [
            (f"{service.environment}/{service.slug}", tab_url(service, self.tab)),
            (entry.key, page_url(entry)),
        ]

    def made(self, request: HttpRequest, form: OperationForm, made: Any) -> HttpResponseBase:
        if isinstance(form, EntryPageForm):
            messages.success(request, f"{made.key} {form.done}")
            return redirect(page_url(made))
        return super().made(request, form, made)

    def bring_back(self, actor: Actor, entry: Any, row_version: int | None) -> str:
        history.restore_entry(
            actor=actor,
            of=self.of,
            service=entry.service,
            key=entry.key,
            expected_row_version=row_version,
        )
        return f"{entry.key} is back."

    def compare_view(self, request: HttpRequest, object_id: UUID) -> HttpResponseBase:
        """Two versions beside each other: asked by a form, answered on the same page."""
        entry = self.visible(request, str(object_id))
        if not allows(actor_of(request), self.compare_permission, entry):
            raise NotPermitted(permission=self.compare_permission, target=entry)
        return self.compare(request, entry)

    def compare(self, request: HttpRequest, entry: Any) -> HttpResponseBase:
        raise NotImplementedError

    def compared(
        self, request: HttpRequest, entry: Any, left: int, right: int, **more: Any
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Compare versions: {entry}",
            "opts": self.opts,
            "entry": entry,
            "crumbs": self.crumbs(entry),
            "left": left,
            "right": right,
            **more,
        }
        return TemplateResponse(request, "console/compared.html", context)


def asked_versions(values: Mapping[str, Any], entry: Entry) -> tuple[int, int]:
    """Which two versions are asked for; by default the newest two. Raises Http404 for no numbers."""
    found = []
    for name, default in (("left", max(1, entry.active_version - 1)), ("right", entry.active_version)):
        text = str(values.get(name, default))
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise Http404
        found.append(int(text))
    return found[0], found[1]
