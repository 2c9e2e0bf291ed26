"""One's own access tokens in the console: made with presence, shown once, revoked."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from apps.core.access import TOKEN_PERMISSIONS, held_somewhere
from apps.core.admin import actor_of
from apps.core.errors import InvalidInput, NexusError
from apps.core.forms import OperationForm
from apps.core.pages import Button, Page, Panel, Row, Tone, badge, code, when
from apps.tenancy.automation import TOKEN_MAX_AGE, issue_access_token, revoke_access_token
from apps.tenancy.models import AccessToken, User
from nexus.console.account import console_page, present

TOKENS_SHOWN = 200
_DAYS = (7, 30, 90, 180, TOKEN_MAX_AGE.days)


def urls(site: Any) -> list[URLPattern]:
    return [
        path("access-tokens/", site.admin_view(tokens), name="access_tokens"),
        path("access-tokens/new/", site.admin_view(new_token), name="new_access_token"),
        path("access-tokens/<uuid:token_id>/revoke/", site.admin_view(revoke), name="revoke_access_token"),
    ]


class TokenForm(OperationForm):
    """A new access token."""

    submit_label = "Make the token"
    name = forms.CharField(max_length=100, help_text="What it is for; for example the job that uses it.")
    days = forms.TypedChoiceField(
        label="Good for",
        coerce=int,
        choices=[(days, f"{days} days") for days in _DAYS],
        initial=30,
    )
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        help_text="What it may do, wherever you may do it too at that moment.",
    )

    def prepare(self) -> None:
        held = sorted(held_somewhere(self.actor, TOKEN_PERMISSIONS))
        self.fields["scopes"].choices = [(scope, scope) for scope in held]  # type: ignore[attr-defined]

    def operate(self) -> tuple[AccessToken, str]:
        given = self.cleaned_data
        return issue_access_token(
            actor=self.actor,
            bearer=User.objects.get(pk=str(self.actor.user_id)),
            name=given["name"],
            scopes=given["scopes"],
            expires_at=timezone.now() + timedelta(days=given["days"]),
        )


@require_http_methods(["GET"])
def tokens(request: HttpRequest) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    mine = AccessToken.objects.filter(user=actor.user_id).order_by("-created_at")[:TOKENS_SHOWN]
    rows = [
        Row(
            [
                token.name,
                code(f"nxp_…{token.last4}"),
                _state(token, now),
                ", ".join(token.scopes),
                when(token.expires_at),
                when(token.last_used_at),
            ],
            []
            if token.revoked_at
            else [
                Button(
                    "Revoke",
                    reverse("admin:revoke_access_token", args=(token.pk,)),
                    "danger",
                    posts=True,
                    about=token.name,
                )
            ],
        )
        for token in mine
    ]
    new = Button("New token", reverse("admin:new_access_token"), "primary")
    panel = Panel(
        "Access tokens",
        ("Name", "Token", "State", "Scopes", "Expires", "Last used"),
        rows,
        "None yet. A token lets a program use the management API in your stead.",
        buttons=[new],
    )
    page = Page(title="Your access tokens", kicker="Your account", panels=[panel])
    return console_page(request, "console/page.html", page.title, page=page)


def _state(token: AccessToken, now: Any) -> Any:
    if token.revoked_at:
        return badge("revoked")
    return badge("expired", Tone.WARNING) if token.expires_at <= now else badge("good", Tone.GOOD)


@require_http_methods(["GET", "POST"])
@present
def new_token(request: HttpRequest) -> HttpResponse:
    """Ask what it is for, and show its text in the answer to the POST alone."""
    form = TokenForm(request.POST if request.method == "POST" else None, actor=actor_of(request))
    if form.is_valid():
        try:
            token, text = form.operate()
        except InvalidInput as refusal:
            form.add_refusal(refusal)
        except NexusError as refusal:
            form.add_error(None, refusal.detail)
        else:
            context = {"token": token, "text": text, "back": reverse("admin:access_tokens")}
            answer = console_page(request, "console/token_issued.html", token.name, **context)
            answer["Cache-Control"] = "no-store"
            return answer
    page = Page(title="New access token", crumbs=[("Your access tokens", reverse("admin:access_tokens"))])
    answer = console_page(request, "console/page.html", page.title, page=page, form=form, media=form.media)
    answer.status_code = 422 if form.is_bound else 200
    return answer


@require_POST
def revoke(request: HttpRequest, token_id: UUID) -> HttpResponse:
    actor = actor_of(request)
    token = AccessToken.objects.select_related("user").filter(pk=token_id, user=actor.user_id).first()
    if token is None:
        raise Http404
    revoke_access_token(actor=actor, token=token)
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("admin:access_tokens")
