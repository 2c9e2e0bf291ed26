"""Secrets in the console. A value leaves by the reveal alone."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from apps.core.access import allows, permitted
from apps.core.actor import Actor
from apps.core.admin import (
    Act,
    actor_of,
    page_url,
    presence_redirect,
)
from apps.core.errors import InvalidInput, NotFound, ReauthenticationRequired
from apps.core.forms import UtcDateTimeField
from apps.core.pages import (
    Button,
    Cell,
    Page,
    Panel,
    Row,
    Tone,
    badge,
    masked,
    when,
)
from apps.services.models import Kind, Service
from apps.services.tabs import EntryTab, TabContent, tab_url
from apps.vault import operations
from apps.vault.admin.entries import (
    KEY_HELP,
    VALUE_ATTRS,
    VERSIONS_SHOWN,
    EntryAdmin,
    EntryForm,
    what_deleting_does,
    written_by,
)
from apps.vault.admin.history import EntryPageForm, RenameForm, asked_versions
from apps.vault.differences import diff_secrets
from apps.vault.history import SECRETS
from apps.vault.models import Entry, Secret, SecretType, SecretVersion
from apps.vault.reminders import NAMES as REMINDERS
from apps.vault.reminders import set_reminders
from apps.vault.values import VALUE_MAX_BYTES


class SecretVersionForm(EntryForm):
    """A new version of a secret."""

    title = "Write a new version"
    submit_label = "Save as a new version"
    value = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs=VALUE_ATTRS),
        help_text=f"Taken as it is, up to {VALUE_MAX_BYTES // 1024} KiB.",
    )
    file = forms.FileField(required=False, help_text="Instead of text: a file, byte for byte.")
    field_order = ["key", "value", "file", "description", "is_final"]

    def operate(self) -> Entry:
        given = self.cleaned_data
        upload = given.get("file")
        if upload is not None and given["value"]:
            raise InvalidInput.of("file", "Give either a text or a file, not both.")
        if upload is not None and upload.size > VALUE_MAX_BYTES:
            raise InvalidInput.of("file", f"The file has {upload.size} bytes; at most {VALUE_MAX_BYTES} fit.")
        # A browser sends line breaks as CR LF (HTML, "constructing the entry list"); nobody typed a CR.
        value = upload.read() if upload is not None else given["value"].replace("\r\n", "\n").encode()
        return operations.set_secret(
            actor=self.actor,
            service=self.service,
            key=given["key"] if self.instance is None else self.instance.key,
            value=value,
            type=SecretType.TEXT if upload is None else SecretType.FILE,
            file_name=upload.name if upload is not None else "",
            description=given["description"],
            is_final=given.get("is_final"),
            **self.precondition(),
        ).entry


class SecretForm(SecretVersionForm):
    """A new secret."""

    title = "New secret"
    submit_label = "Save"
    key = forms.CharField(max_length=255, help_text=KEY_HELP)


class RenameSecretForm(RenameForm):
    of = SECRETS


class RemindersForm(EntryPageForm):
    """When owners are reminded. Empty, they are not."""

    title = "Reminders"
    label = "Reminders"
    done = "has its reminders set."
    expires_at = UtcDateTimeField(required=False, help_text="UTC. Nexus goes on serving it after that.")
    rotate_by = UtcDateTimeField(required=False, help_text="UTC. Owners get mail from 14 days before on.")

    def prepare(self) -> None:
        super().prepare()
        for name in REMINDERS:
            self.initial.setdefault(name, getattr(self.instance, name))

    def operate(self) -> Entry:
        return set_reminders(
            actor=self.actor,
            service=self.instance.service,
            key=self.instance.key,
            reminders={name: self.cleaned_data[name] for name in REMINDERS},
            expected_row_version=self.cleaned_data["row_version"],
        )


def _delete_secret(actor: Actor, secret: Secret) -> str:
    operations.delete_secret(actor=actor, service=secret.service, key=secret.key)
    return f"{secret.key} is deleted. It can be restored for 30 days."


@admin.register(Secret)
class SecretAdmin(EntryAdmin):
    """Keys and metadata. Versions, where the ciphertext stands, are not registered at all."""

    read_permission = "secret:list"
    add_form = SecretForm
    add_permission = "secret:write"
    change_form = SecretVersionForm
    change_permission = "secret:write"
    tab = "secrets"
    of = SECRETS
    compare_permission = "secret:reveal"
    form_pages = {"rename": RenameSecretForm, "reminders": RemindersForm}
    acts = {
        "delete": Act(
            "Delete",
            "secret:write",
            _delete_secret,
            what_deleting_does,
            tone="danger",
            returns=lambda secret: tab_url(secret.service, "secrets"),
        )
    }

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
        answer: HttpResponseBase = super().changelist_view(request, extra_context)
        shown = getattr(answer, "context_data", None) or {}
        seen: dict[UUID, Service] = {}
        for secret in shown["cl"].result_list if "cl" in shown else ():
            seen.setdefault(secret.service.project_id, secret.service)
        for service in seen.values():
            operations.note_secret_list(actor=actor_of(request), service=service)
        return answer

    def get_urls(self) -> list[URLPattern]:
        reveal = path(
            "<uuid:object_id>/reveal/",
            self.admin_site.admin_view(require_POST(self.reveal_view)),
            name="vault_secret_reveal",
        )
        return [reveal, *super().get_urls()]

    def reveal_view(self, request: HttpRequest, object_id: UUID) -> HttpResponseBase:
        """Show the value of one version, once its event is committed. Never cached, never in an address."""
        secret = self.visible(request, str(object_id))
        number = request.POST.get("version", "")
        if number and not (number.isascii() and number.isdigit() and len(number) < 10):
            raise Http404
        try:
            revealed = operations.reveal_secret(
                actor=actor_of(request), secret=secret, version=int(number) if number else None
            )
        except ReauthenticationRequired:
            return presence_redirect(page_url(secret))
        if request.POST.get("download"):
            return _download(revealed)
        context = {
            **self.admin_site.each_context(request),
            "title": secret.key,
            "opts": self.opts,
            "secret": secret,
            "version": revealed.version,
            "is_file": revealed.type == SecretType.FILE,
            "file_name": revealed.file_name,
            "value": base64.b64encode(revealed.value).decode()
            if revealed.type == SecretType.FILE
            else revealed.value.decode(),
            "back": page_url(secret),
            "service_url": tab_url(secret.service, "secrets"),
        }
        return _not_kept(TemplateResponse(request, "console/revealed.html", context))

    def compare(self, request: HttpRequest, entry: Secret) -> HttpResponseBase:
        """Asked by POST alone: that two values are the same is told to the audit log."""
        sent = request.POST if request.method == "POST" else request.GET
        left, right = asked_versions(sent, entry)
        if request.method != "POST":
            return self.compared(request, entry, left, right, method="post")
        try:
            found = diff_secrets(actor=actor_of(request), secret=entry, left=left, right=right)
        except ReauthenticationRequired:
            return presence_redirect(page_url(entry))
        except NotFound:
            raise Http404 from None
        are = "are the same" if found.is_same else "differ"
        sentence = f"Versions {left} and {right} {are}: {found.left_bytes:,} and {found.right_bytes:,} bytes."
        return _not_kept(
            self.compared(request, entry, left, right, method="post", is_answered=True, sentence=sentence)
        )

    def page(self, request: HttpRequest, entry: Secret) -> Page:
        facts = [
            (label, when(moment))
            for label, moment in (("Expires", entry.expires_at), ("Rotate by", entry.rotate_by))
            if moment is not None
        ]
        return replace(super().page(request, entry), facts=facts)

    def buttons(self, request: HttpRequest, obj: Secret) -> list[Button]:
        buttons = super().buttons(request, obj)
        if allows(actor_of(request), "secret:reveal", obj):
            buttons.insert(0, Button("Reveal", f"{_reveal_url(obj)}", "primary", posts=True))
        return buttons

    def version_buttons(self, entry: Secret, version: Any, held: Collection[str]) -> list[Button]:
        buttons = super().version_buttons(entry, version, held)
        if "secret:reveal" in held and not version.destroyed_at:
            fields = [("version", str(version.version))]
            about = f"version {version.version}"
            buttons.insert(0, Button("Reveal", _reveal_url(entry), posts=True, fields=fields, about=about))
        return buttons

    def versions(self, request: HttpRequest, entry: Secret) -> Panel:
        asked = {self.compare_permission, self.of.write, self.of.destroy}
        held = permitted(actor_of(request), asked, entry)
        rows = [
            Row(
                [
                    f"{version.version}",
                    badge("active", Tone.GOOD)
                    if version.version == entry.active_version
                    else badge("destroyed")
                    if version.destroyed_at
                    else badge("older"),
                    version.type,
                    "–" if version.destroyed_at else f"{version.size_bytes:,} bytes",
                    version.description or "–",
                    written_by(version),
                    when(version.created_at),
                ],
                self.version_buttons(entry, version, held),
            )
            for version in entry.versions.defer("sealed").order_by("-version")[:VERSIONS_SHOWN]
        ]
        columns = ("Version", "State", "Type", "Size", "Description", "By", "Written")
        return Panel("Versions", columns, rows)


def _reveal_url(secret: Secret) -> str:
    return page_url(secret).removesuffix("change/") + "reveal/"


def _not_kept(answer: HttpResponse) -> HttpResponse:
    """What shows a value is kept by no cache (RFC 9111 section 5.2.2.5)."""
    answer["Cache-Control"] = "no-store"
    return answer


def _download(revealed: operations.Revealed) -> HttpResponseBase:
    answer = HttpResponse(revealed.value, content_type="application/octet-stream")
    # The name's form was checked at the write: no quote and no path stands in it.
    answer["Content-Disposition"] = f'attachment; filename="{revealed.file_name or "secret.bin"}"'
    return _not_kept(answer)


def _describe_secrets(ids: list[UUID]) -> dict[UUID, Sequence[Cell]]:
    rows = SecretVersion.objects.filter(secret__in=ids, version=F("secret__active_version")).defer("sealed")
    return {
        row.secret_id: (masked(), row.type, f"{row.version}", row.description or "–", when(row.created_at))
        for row in rows
    }


def _reveal_button(entry: Secret) -> Sequence[Button]:
    return [Button("Reveal", _reveal_url(entry), posts=True, about=entry.key)]


class SecretTab(EntryTab):
    """Asks once for the right to reveal, and tells that the keys were listed."""

    def content(self, request: HttpRequest, service: Service) -> TabContent:
        operations.note_secret_list(actor=actor_of(request), service=service)
        return super().content(request, service)


SecretTab(
    model=Secret,
    name="secrets",
    title="Secrets",
    columns=("Value", "Type", "Version", "Description", "Written"),
    read_permission="secret:list",
    write_permission="secret:write",
    describe=_describe_secrets,
    buttons=_reveal_button,
    buttons_permission="secret:reveal",
).register(order=10, fits=lambda service: service.kind == Kind.BACKEND)
