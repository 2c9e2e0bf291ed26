"""API keys in the console: issued and shown once, listed by their ends, rotated, revoked."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.core.access import SCOPE_PERMISSIONS, is_present, permitted
from apps.core.actor import Actor
from apps.core.admin import (
    Act,
    OperationAdmin,
    act_url,
    actor_of,
    add_url,
    page_url,
    presence_redirect,
    stand_in,
    values_filter,
)
from apps.core.forms import OperationForm, UtcDateTimeField
from apps.core.pages import (
    Button,
    Cell,
    Page,
    Panel,
    Row,
    Tone,
    badge,
    code,
    link,
    when,
)
from apps.services import operations
from apps.services.models import ApiKey, Kind, Service, Slot
from apps.services.operations.keys import OVERLAP_DEFAULT_SECONDS, OVERLAP_MAX_SECONDS
from apps.services.tabs import ServiceTab, TabContent, register_tab, tab_url


class ApiKeyForm(OperationForm):
    """A new key of a service; its text is shown once."""

    title = "Issue an API key"
    submit_label = "Issue the key"
    needs_presence = True

    slot = forms.ChoiceField(
        choices=Slot.choices, help_text="Two slots, so that a key can be replaced without downtime."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPE_PERMISSIONS],
        initial=["read"],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="read is always there.",
    )
    expires_at = UtcDateTimeField(required=False, help_text="UTC. Empty: it does not expire.")
    allowed_networks = forms.CharField(
        required=False,
        label="Allowed addresses",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Networks such as 192.0.2.0/24, one a line. Empty: from everywhere.",
    )

    def prepare(self) -> None:
        if isinstance(self.parent, Service) and self.parent.kind == Kind.FRONTEND:
            del self.fields["scopes"]

    def operate(self) -> tuple[ApiKey, str]:
        given = self.cleaned_data
        return operations.issue_api_key(
            actor=self.actor,
            service=self.parent,
            slot=given["slot"],
            scopes=given.get("scopes") or ("read",),
            expires_at=given["expires_at"],
            allowed_networks=given["allowed_networks"].split(),
        )


class RotateForm(OperationForm):
    """A new key in the place of this one; its text is shown once."""

    title = "Rotate"
    submit_label = "Rotate the key"
    needs_presence = True

    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=OVERLAP_MAX_SECONDS // 3600,
        initial=OVERLAP_DEFAULT_SECONDS // 3600,
        help_text="How long the old key works beside the new one. 0: it is revoked at once.",
    )
    row_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def prepare(self) -> None:
        self.initial.setdefault("row_version", self.instance.row_version)

    def operate(self) -> tuple[ApiKey, str]:
        given = self.cleaned_data
        return operations.rotate_api_key(
            actor=self.actor,
            key=self.instance,
            overlap_seconds=given["overlap_hours"] * 3600,
            expected_row_version=given["row_version"],
        )


def _revoke(actor: Actor, key: ApiKey) -> str:
    ended = operations.end_api_key(actor=actor, key=key)
    if key.is_outgoing:
        return f"The key {key} is revoked; the one that replaced it works on."
    return f"The {key.slot} slot of {key.service.slug} is empty ({len(ended)} revoked)."


def _explain_revoke(actor: Actor, key: ApiKey) -> list[str]:
    if key.is_outgoing:
        what = f"The key {key} is refused everywhere within 2 seconds; the one that replaced it works on."
    else:
        what = (
            f"The {key.slot} slot of {key.service} is emptied: the key {key} and one that it replaces "
            "are refused everywhere within 2 seconds, and their streams close."
        )
    return [what, "This cannot be undone."]


def _is_unrevoked(key: ApiKey) -> bool:
    return key.revoked_at is None


def _is_current(key: ApiKey) -> bool:
    return key.revoked_at is None and not key.is_outgoing


@admin.register(ApiKey)
class ApiKeyAdmin(OperationAdmin):
    read_permission = "api_key:issue"
    add_form = ApiKeyForm
    add_permission = "api_key:issue"
    parent_model = Service
    parent_permission = "service:read"
    change_form = RotateForm
    change_permission = "api_key:issue"
    acts = {
        "revoke": Act(
            "Revoke",
            "api_key:revoke",
            _revoke,
            _explain_revoke,
            tone="danger",
            offered=_is_unrevoked,
            returns=lambda key: tab_url(key.service, "keys"),
        )
    }

    list_display = ("__str__", "service", "slot", "state", "created_at", "last_used_at", "expires_at")
    list_select_related = ("service__project__tenant",)
    list_filter = (
        values_filter("service__project__slug", "project", "project"),
        values_filter("service__environment", "environment", "environment"),
        "slot",
    )
    search_fields = ("service__slug", "last4")
    ordering = ("service", "slot")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("service__project__tenant")

    @admin.display(description="state")
    def state(self, key: ApiKey) -> Cell:
        return key_state(key)

    def page(self, request: HttpRequest, key: ApiKey) -> Page:
        stand_in(request, key.service)
        return Page(
            title=str(key),
            crumbs=[(str(key.service), tab_url(key.service, "keys"))],
            badges=[badge(key.slot), key_state(key)],
            buttons=self.buttons(request, key),
            facts=[
                ("Id", code(key.pk)),
                ("Scopes", ", ".join(key.scopes)),
                ("Allowed addresses", ", ".join(key.allowed_networks) or "everywhere"),
                ("Created", when(key.created_at)),
                ("Last used", when(key.last_used_at)),
                ("Expires", when(key.expires_at)),
                ("Replaced, works until", when(key.ends_at, never="not replaced")),
                ("Revoked", when(key.revoked_at, never="no")),
            ],
        )

    def form_for(self, request: HttpRequest, obj: ApiKey) -> type[OperationForm] | None:
        return super().form_for(request, obj) if _is_current(obj) else None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        if request.method == "POST" and not is_present(actor_of(request)):
            key = self.visible(request, object_id)
            if self.form_for(request, key):
                return presence_redirect(page_url(key))
        return super().change_view(request, object_id, form_url, extra_context)

    def made(self, request: HttpRequest, form: OperationForm, made: Any) -> HttpResponseBase:
        """Show the text in this very answer: it is kept nowhere, so there is no page to go to."""
        key, text = made
        context = {
            **self.admin_site.each_context(request),
            "title": "The new key",
            "opts": self.opts,
            "text": text,
            "key": key,
            "back": tab_url(key.service, "keys"),
        }
        return TemplateResponse(request, "console/key_issued.html", context)


def key_state(key: ApiKey) -> SafeString:
    now = timezone.now()
    if key.revoked_at:
        return badge("revoked", Tone.PLAIN)
    if key.expires_at and key.expires_at <= now:
        return badge("expired", Tone.DANGER)
    if key.is_outgoing:
        ended = key.ends_at is not None and key.ends_at <= now
        return badge("ended", Tone.PLAIN) if ended else badge("outgoing", Tone.WARNING)
    return badge("in use", Tone.GOOD) if key.last_used_at else badge("never used", Tone.INFO)


def _key_buttons(key: ApiKey, held: frozenset[str]) -> list[Button]:
    found = []
    if _is_current(key) and "api_key:issue" in held:
        found.append(Button("Rotate", page_url(key), about=str(key)))
    if _is_unrevoked(key) and "api_key:revoke" in held:
        found.append(Button("Revoke", act_url(key, "revoke"), "danger", about=str(key)))
    return found


def _keys_tab(request: HttpRequest, service: Service) -> TabContent:
    actor = actor_of(request)
    keys = service.api_keys.order_by("revoked_at", "slot", "-created_at")
    shown = [*keys.filter(revoked_at=None), *keys.exclude(revoked_at=None).order_by("-revoked_at")[:20]]
    held = permitted(actor, {"api_key:issue", "api_key:revoke"}, service)
    taken = {key.slot for key in shown if key.revoked_at is None}
    rows = [
        Row(
            [
                link(page_url(key), key),
                key.slot,
                key_state(key),
                ", ".join(key.scopes),
                when(key.created_at),
                when(key.last_used_at),
                when(key.expires_at),
            ],
            _key_buttons(key, held),
        )
        for key in shown
    ]
    free = [slot for slot in Slot.values if slot not in taken]
    return TabContent(
        [
            Panel(
                "API keys",
                ("Key", "Slot", "State", "Scopes", "Created", "Last used", "Expires"),
                rows,
                "No key yet: issue one, and put it into the service's environment.",
                buttons=[Button("Issue a key", add_url(ApiKey, service, slot=free[0]), "primary")]
                if free
                else (),
                note="" if free else "Both slots are taken: rotate a key to replace it, or revoke one.",
            )
        ]
    )


register_tab(
    ServiceTab(
        "keys",
        "Keys",
        "api_key:issue",
        40,
        _keys_tab,
        count=lambda service: service.api_keys.filter(revoked_at=None).count(),
        fits=lambda service: not service.is_umbrella,
    )
)
