"""Configs in the console."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import F
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from apps.core.access import permitted
from apps.core.actor import Actor
from apps.core.admin import (
    Act,
    actor_of,
)
from apps.core.errors import NotFound
from apps.core.pages import (
    Cell,
    Page,
    Panel,
    Row,
    Tone,
    badge,
    clipped,
    mono_block,
    when,
)
from apps.services.tabs import EntryTab, tab_url
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
from apps.vault.admin.history import RenameForm, asked_versions
from apps.vault.differences import diff_configs
from apps.vault.history import CONFIGS
from apps.vault.models import Config, ConfigType, ConfigVersion, Entry
from apps.vault.values import parse_config_text


class ConfigVersionForm(EntryForm):
    """A new version of a config."""

    title = "Change the value"
    type = forms.ChoiceField(choices=ConfigType.choices)
    value = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs=VALUE_ATTRS),
        help_text="A string as it is; a number, boolean or JSON value in JSON.",
    )
    field_order = ["key", "type", "value", "description", "is_final"]

    def prepare(self) -> None:
        super().prepare()
        if self.instance is not None:
            version = self.instance.versions.filter(version=self.instance.active_version).first()
            if version is not None:
                self.initial.setdefault("type", version.type)
                self.initial.setdefault("value", version.text)

    def operate(self) -> Entry:
        given = self.cleaned_data
        return operations.set_config(
            actor=self.actor,
            service=self.service,
            key=given["key"] if self.instance is None else self.instance.key,
            value=parse_config_text(given["type"], given["value"].replace("\r\n", "\n")),
            type=given["type"],
            description=given["description"],
            is_final=given.get("is_final"),
            **self.precondition(),
        ).entry


class ConfigForm(ConfigVersionForm):
    """A new config."""

    title = "New config"
    key = forms.CharField(max_length=255, help_text=KEY_HELP)


class RenameConfigForm(RenameForm):
    of = CONFIGS


def _delete_config(actor: Actor, config: Config) -> str:
    operations.delete_config(actor=actor, service=config.service, key=config.key)
    return f"{config.key} is deleted. It can be restored for 30 days."


@admin.register(Config)
class ConfigAdmin(EntryAdmin):
    read_permission = "config:read"
    add_form = ConfigForm
    add_permission = "config:write"
    change_form = ConfigVersionForm
    change_permission = "config:write"
    tab = "configs"
    of = CONFIGS
    compare_permission = "config:read"
    form_pages = {"rename": RenameConfigForm}
    acts = {
        "delete": Act(
            "Delete",
            "config:write",
            _delete_config,
            what_deleting_does,
            tone="danger",
            returns=lambda config: tab_url(config.service, "configs"),
        )
    }

    def page(self, request: HttpRequest, entry: Config) -> Page:
        page = super().page(request, entry)
        version = entry.versions.filter(version=entry.active_version).first()
        facts = [("Value", mono_block(version.text)), ("Type", version.type)] if version else []
        return Page(
            title=page.title,
            crumbs=page.crumbs,
            badges=page.badges,
            buttons=page.buttons,
            facts=facts,
            panels=page.panels,
        )

    def compare(self, request: HttpRequest, entry: Config) -> HttpResponseBase:
        left, right = asked_versions(request.GET, entry)
        shown: dict[str, Any] = {"method": "get", "is_answered": bool(request.GET)}
        if request.GET:
            try:
                shown["text"] = diff_configs(actor=actor_of(request), config=entry, left=left, right=right)
            except NotFound:
                raise Http404 from None
            shown["sentence"] = "The two are the same."
        return self.compared(request, entry, left, right, **shown)

    def versions(self, request: HttpRequest, entry: Config) -> Panel:
        held = permitted(actor_of(request), {self.compare_permission, self.of.write, self.of.destroy}, entry)
        rows = [
            Row(
                [
                    f"{version.version}",
                    badge("active", Tone.GOOD) if version.version == entry.active_version else badge("older"),
                    version.type,
                    badge("destroyed") if version.destroyed_at else clipped(version.text),
                    version.description or "–",
                    written_by(version),
                    when(version.created_at),
                ],
                self.version_buttons(entry, version, held),
            )
            for version in entry.versions.order_by("-version")[:VERSIONS_SHOWN]
        ]
        return Panel("Versions", ("Version", "State", "Type", "Value", "Description", "By", "Written"), rows)


def _describe_configs(ids: list[UUID]) -> dict[UUID, Sequence[Cell]]:
    rows = ConfigVersion.objects.filter(config__in=ids, version=F("config__active_version"))
    return {
        row.config_id: (
            clipped(row.text),
            row.type,
            f"{row.version}",
            row.description or "–",
            when(row.created_at),
        )
        for row in rows
    }


EntryTab(
    model=Config,
    name="configs",
    title="Configs",
    columns=("Value", "Type", "Version", "Description", "Written"),
    read_permission="config:read",
    write_permission="config:write",
    describe=_describe_configs,
).register(order=20)
