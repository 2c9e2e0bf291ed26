"""Flags in the console: state, schedule, variants."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.core import strict_json
from apps.core.actor import Actor
from apps.core.admin import Act, page_url, stand_in, values_filter
from apps.core.errors import InvalidInput, MalformedRequest
from apps.core.forms import OperationForm, UtcDateTimeField
from apps.core.pages import (
    Cell,
    Page,
    Panel,
    Row,
    Tone,
    badge,
    clipped,
    code,
    environment_badge,
    when,
)
from apps.flags import operations
from apps.flags.models import Flag
from apps.services.models import Service
from apps.services.restoring import RestoringAdmin
from apps.services.tabs import EntryTab, tab_url

_TYPES = [(name, name) for name in ("boolean", "string", "number", "json")]


class FlagStateForm(OperationForm):
    """A flag's state, schedule and what it serves."""

    title = "State and schedule"
    enabled = forms.BooleanField(required=False, help_text="Off, the flag serves its off variant to all.")
    starts_at = UtcDateTimeField(required=False, help_text="UTC. Before it the flag is off.")
    ends_at = UtcDateTimeField(required=False, help_text="UTC. From it on the flag is off.")
    default = forms.ChoiceField(required=False, label="Serves", help_text="The variant while it is on.")
    off = forms.ChoiceField(required=False, label="Serves while off")
    variants = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "nx-code-field"}),
        help_text='A JSON list, for example [{"key": "blue", "value": "#00f"}].',
    )
    is_final = forms.BooleanField(
        required=False, label="Final", help_text="Services that inherit this key cannot replace it."
    )
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self) -> None:
        service = self.parent or self.instance.service
        if not service.is_umbrella:
            del self.fields["is_final"]
        if self.instance is None:
            for name in ("default", "off", "row_version"):
                del self.fields[name]
            return
        wire = self.instance.wire
        names = [(variant["key"], variant["key"]) for variant in wire["variants"]]
        for name in ("default", "off"):
            self.fields[name] = forms.ChoiceField(
                choices=[("", "nothing (the caller's own default)"), *names],
                required=False,
                label=self.fields[name].label,
                help_text=self.fields[name].help_text,
            )
            self.initial.setdefault(name, wire[name] or "")
        if self.instance.type == "boolean":
            del self.fields["variants"]
        else:
            self.initial.setdefault("variants", strict_json.dumps(wire["variants"]))
        for name in ("enabled", "starts_at", "ends_at", "is_final", "row_version"):
            if name in self.fields:
                self.initial.setdefault(name, getattr(self.instance, name))

    def definition(self) -> dict[str, Any]:
        """The wire form (SPEC 7) that the fields give, over what stands there."""
        given = self.cleaned_data
        wire: dict[str, Any] = self.instance.wire if self.instance else {"type": given["type"]}
        wire["enabled"] = given["enabled"]
        for name in ("starts_at", "ends_at"):
            wire[name] = given[name].strftime("%Y-%m-%dT%H:%M:%SZ") if given[name] else None
        if given.get("variants"):
            try:
                wire["variants"] = strict_json.loads(given["variants"])
            except MalformedRequest as error:
                raise InvalidInput.of("variants", error.detail) from None
        if self.instance is not None:
            wire["default"], wire["off"] = given["default"] or None, given["off"] or None
        return wire

    def operate(self) -> Flag:
        return operations.set_flag(
            actor=self.actor,
            service=self.instance.service,
            key=self.instance.key,
            definition=self.definition(),
            is_final=self.cleaned_data.get("is_final"),
            expected_row_version=self.cleaned_data["row_version"],
        )


class FlagForm(FlagStateForm):
    """A new flag."""

    title = "New flag"
    key = forms.CharField(max_length=255, help_text="Letters, digits and _ . : - ; for example new.checkout.")
    type = forms.ChoiceField(choices=_TYPES, help_text="A boolean flag has the variants on and off.")
    field_order = ["key", "type", "enabled", "starts_at", "ends_at", "variants", "is_final"]

    def operate(self) -> Flag:
        return operations.set_flag(
            actor=self.actor,
            service=self.parent,
            key=self.cleaned_data["key"],
            definition=self.definition(),
            is_final=self.cleaned_data.get("is_final"),
            only_create=True,
        )


def _delete(actor: Actor, flag: Flag) -> str:
    operations.delete_flag(actor=actor, service=flag.service, key=flag.key)
    return f"{flag.key} is deleted. It can be restored for 30 days."


def _switch(actor: Actor, flag: Flag) -> str:
    changed = operations.set_flag_state(
        actor=actor, service=flag.service, key=flag.key, enabled=not flag.enabled
    )
    return f"{flag.key} is {'on' if changed.enabled else 'off'}."


def state_badge(flag: Flag) -> SafeString:
    """What the flag is at this moment, its schedule included."""
    now = timezone.now()
    if not flag.enabled:
        return badge("off")
    if flag.starts_at and now < flag.starts_at:
        return badge("scheduled", Tone.INFO)
    if flag.ends_at and now >= flag.ends_at:
        return badge("ended", Tone.WARNING)
    return badge("on", Tone.GOOD)


@admin.register(Flag)
class FlagAdmin(RestoringAdmin):
    read_permission = "flag:read"
    add_form = FlagForm
    add_permission = "flag:write"
    parent_model = Service
    parent_permission = "service:read"
    change_form = FlagStateForm
    change_permission = "flag:write"
    acts = {
        "switch-on": Act(
            "Switch on",
            "flag:write",
            _switch,
            lambda actor, flag: [],
            tone="primary",
            offered=lambda flag: not flag.enabled,
            at_once=True,
        ),
        "switch-off": Act(
            "Switch off",
            "flag:write",
            _switch,
            lambda actor, flag: [],
            offered=lambda flag: bool(flag.enabled),
            at_once=True,
        ),
        "delete": Act(
            "Delete",
            "flag:write",
            _delete,
            lambda actor, flag: [
                f"{flag.key} leaves the snapshots of {flag.service} and of what inherits from it at once.",
                "It is kept for 30 days; until then it can be restored from the page of the service.",
            ],
            tone="danger",
            returns=lambda flag: tab_url(flag.service, "flags"),
        ),
    }

    list_display = ("key", "service", "environment", "type", "state", "starts_at", "ends_at", "is_final")
    list_select_related = ("service__project__tenant",)
    list_filter = (
        values_filter("service__project__slug", "project", "project"),
        values_filter("service__environment", "environment", "environment"),
        "enabled",
        "type",
    )
    search_fields = ("key",)
    ordering = ("service", "key")

    def bring_back(self, actor: Actor, entry: Flag, row_version: int | None) -> str:
        operations.restore_flag(
            actor=actor, service=entry.service, key=entry.key, expected_row_version=row_version
        )
        return f"{entry.key} is back."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flag]:
        return super().get_queryset(request).select_related("service__project__tenant")

    @admin.display(description="environment", ordering="service__environment")
    def environment(self, flag: Flag) -> Cell:
        return environment_badge(flag.service.environment)

    @admin.display(description="state", ordering="enabled")
    def state(self, flag: Flag) -> Cell:
        return state_badge(flag)

    def page(self, request: HttpRequest, flag: Flag) -> Page:
        service, wire = flag.service, flag.wire
        stand_in(request, service)
        marks = [environment_badge(service.environment), state_badge(flag)]
        if flag.is_final:
            marks.append(badge("final", Tone.INFO))
        rows = [
            Row(
                [
                    code(variant["key"]),
                    clipped(strict_json.dumps(variant["value"])),
                    _roles(variant["key"], wire),
                ]
            )
            for variant in wire["variants"]
        ]
        return Page(
            title=flag.key,
            crumbs=[
                (service.project.slug, page_url(service.project)),
                (f"{service.environment}/{service.slug}", tab_url(service, "flags")),
            ],
            badges=marks,
            buttons=self.buttons(request, flag),
            facts=[
                ("Type", flag.type),
                ("Starts", when(flag.starts_at, never="–")),
                ("Ends", when(flag.ends_at, never="–")),
                ("Created", when(flag.created_at)),
                ("Changed", when(flag.updated_at)),
            ],
            panels=[Panel("Variants", ("Variant", "Value", "Served"), rows)],
        )

    def made(self, request: HttpRequest, form: OperationForm, made: Flag) -> HttpResponseBase:
        messages.success(request, f"The flag {made.key} is saved.")
        return redirect(tab_url(made.service, "flags") if form.instance is None else page_url(made))


def _roles(key: str, wire: dict[str, Any]) -> str:
    served = [label for label, name in (("while on", "default"), ("while off", "off")) if wire[name] == key]
    return ", ".join(served) or "–"


def _describe(ids: list[UUID]) -> dict[UUID, Sequence[Cell]]:
    return {
        flag.pk: (
            state_badge(flag),
            flag.type,
            when(flag.starts_at, never="–"),
            when(flag.ends_at, never="–"),
            when(flag.updated_at),
        )
        for flag in Flag.objects.filter(pk__in=ids).defer("definition")
    }


EntryTab(
    model=Flag,
    name="flags",
    title="Flags",
    columns=("State", "Type", "Starts", "Ends", "Changed"),
    read_permission="flag:read",
    write_permission="flag:write",
    describe=_describe,
).register(order=30)
