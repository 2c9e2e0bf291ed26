"""One's own account in the console: presence, password, second factor."""

import base64
from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import update_session_auth_hash
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.audit.events import Action, Outcome
from apps.audit.operations import record, record_coalesced
from apps.core.access import is_present
from apps.core.actor import Actor
from apps.core.admin import actor_of
from apps.core.errors import InvalidInput
from apps.tenancy.models import User
from apps.tenancy.operations import change_own_password
from nexus.console import mfa
from nexus.console.gate import owed
from nexus.console.limits import attempt
from nexus.console.login import CodeForm, styled
from nexus.console.presence import next_of, presence_url, remember_presence

Page = Callable[[HttpRequest], HttpResponse]

_ALONE = "unfold/layouts/unauthenticated.html"
_IN_CONSOLE = "admin/base_site.html"


def urls(site: Any) -> list[URLPattern]:
    """Their addresses below that of the console, each behind its log-in."""
    return [
        path("presence/", site.admin_view(presence), name="presence"),
        path("two-factor/", site.admin_view(two_factor), name="two_factor"),
        path("two-factor/set-up/", site.admin_view(set_up), name="two_factor_set_up"),
        path("two-factor/turn-off/", site.admin_view(turn_off), name="two_factor_turn_off"),
        path("two-factor/recovery-codes/", site.admin_view(recovery_codes), name="recovery_codes"),
    ]


def _who(request: HttpRequest) -> tuple[User, Actor]:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - admin_view let nobody else through
    return user, actor_of(request)


def console_page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    """A page in the console; for somebody who owes something first, without its menus."""
    owes = owed(request)
    layout = _ALONE if owes else _IN_CONSOLE
    page = {**admin.site.each_context(request), "title": title, "layout": layout, "owes": owes}
    return TemplateResponse(request, template, {**page, **context})


def _tell_failure(user: User, actor: Actor) -> None:
    record_coalesced(
        actor=actor,
        action=Action.PRESENCE_FAILED,
        target=user.audit_target(),
        outcome=Outcome.FAILED,
    )


# ---- presence


class PasswordProofForm(forms.Form):
    password = forms.CharField(strip=False, widget=forms.PasswordInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        styled(self.fields["password"], autocomplete="current-password", autofocus=True)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password", "code")
def presence(request: HttpRequest) -> HttpResponse:
    """Prove to be there: by a code where there is a second factor, else by the password.

    The password alone would let whoever has it and an open session take the second factor away.
    """
    user, actor = _who(request)
    by_code = mfa.has_second_factor(user)
    form_class: type[forms.Form] = CodeForm if by_code else PasswordProofForm
    form = form_class(request.POST if request.method == "POST" else None)
    if form.is_valid():
        guess = attempt(request, account=f"presence:{user.pk}")
        if by_code:
            proved = mfa.spend_code(user, form.cleaned_data["code"]) is not None
        else:
            proved = user.check_password(form.cleaned_data["password"])
        if proved:
            guess.rollback()
            with transaction.atomic():
                record(actor=actor, action=Action.PRESENCE_PROVED, target=user.audit_target())
            # After the event: without one there is no proof. The session is saved with the answer.
            remember_presence(request)
            return redirect(next_of(request))
        _tell_failure(user, actor)
        said = "This code is not right, or it was used already." if by_code else "This is not your password."
        form.add_error("code" if by_code else "password", said)
    context = {"form": form, "by_code": by_code, "next": next_of(request), "layout": _ALONE}
    return console_page(request, "account/presence.html", "Is it you?", **context)


def present(view: Page) -> Page:
    """`view` for somebody who proved to be there; others are asked first, and come back by GET."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not is_present(actor_of(request)):
            return redirect(presence_url(request, request.path))
        return view(request)

    return guarded


# ---- password


class PasswordForm(forms.Form):
    current_password = forms.CharField(label="Present password", strip=False, widget=forms.PasswordInput)
    new_password = forms.CharField(
        label="New password",
        strip=False,
        widget=forms.PasswordInput,
        help_text="At least 12 characters. A few words that do not belong together are easy to keep.",
    )
    again = forms.CharField(label="New password again", strip=False, widget=forms.PasswordInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        styled(self.fields["current_password"], autocomplete="current-password", autofocus=True)
        styled(self.fields["new_password"], autocomplete="new-password")
        styled(self.fields["again"], autocomplete="new-password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if {"new_password", "again"} <= cleaned.keys() and cleaned["new_password"] != cleaned["again"]:
            self.add_error("again", "The two are not the same.")
        return cleaned


@never_cache
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("current_password", "new_password", "again")
def change_password(request: HttpRequest) -> HttpResponse:
    """Change one's own password. Other sessions end, this one goes on under a new id."""
    user, actor = _who(request)
    form = PasswordForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        guess = attempt(request, account=f"presence:{user.pk}")
        try:
            user = change_own_password(
                actor=actor,
                user=user,
                new_password=form.cleaned_data["new_password"],
                current_password=form.cleaned_data["current_password"],
            )
        except InvalidInput as refusal:
            if "current_password" in refusal.errors:
                _tell_failure(user, actor)
            else:
                guess.rollback()
            for name, sentences in refusal.errors.items():
                form.add_error(name, list(sentences))
        else:
            guess.rollback()
            update_session_auth_hash(request, user)
            messages.success(request, "Your password is changed. Your other sessions have ended.")
            return redirect("admin:index")
    return console_page(request, "account/password.html", "Change your password", form=form)


# ---- second factor


def two_factor(request: HttpRequest) -> HttpResponse:
    user, _ = _who(request)
    context = {"is_on": mfa.has_second_factor(user), "codes_left": mfa.recovery_codes_left(user)}
    return console_page(request, "mfa/index.html", "Two-factor log-in", **context)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("code", "sealed")
@present
def set_up(request: HttpRequest) -> HttpResponse:
    """Show a secret for an authenticator, and turn it on with a code of it."""
    user, actor = _who(request)
    if mfa.has_second_factor(user):
        return redirect("admin:two_factor")
    form = CodeForm(request.POST if request.method == "POST" else None)
    sealed = request.POST.get("sealed", "")
    secret = mfa.secret_of(user, sealed) if sealed else None
    if secret is None:
        if form.is_bound:
            messages.error(request, "This page was open for too long. Scan the new picture.")
        form = CodeForm()
        secret, sealed = mfa.new_secret(user)
    elif form.is_valid():
        code = form.cleaned_data["code"]
        try:
            codes = mfa.enable_second_factor(actor=actor, user=user, secret=secret, code=code)
        except InvalidInput as refusal:
            for sentences in refusal.errors.values():
                form.add_error("code", list(sentences))
        else:
            return _show_codes(request, codes)
    context = {"form": form, "sealed": sealed, "secret": secret, "picture": mfa.qr_code(user, secret)}
    return console_page(request, "mfa/set_up.html", "Set up two-factor log-in", **context)


@require_http_methods(["GET", "POST"])
@present
def turn_off(request: HttpRequest) -> HttpResponse:
    user, actor = _who(request)
    if request.method == "POST":
        mfa.disable_second_factor(actor=actor, user=user)
        messages.success(request, "Two-factor log-in is off.")
        return redirect("admin:two_factor")
    return console_page(request, "mfa/turn_off.html", "Turn off two-factor log-in")


@require_http_methods(["GET", "POST"])
@present
def recovery_codes(request: HttpRequest) -> HttpResponse:
    user, actor = _who(request)
    if request.method == "POST":
        return _show_codes(request, mfa.renew_recovery_codes(actor=actor, user=user))
    return console_page(
        request, "mfa/renew.html", "New recovery codes", codes_left=mfa.recovery_codes_left(user)
    )


def _show_codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    """In the answer to the POST that made them: there is no address at which they could be seen again."""
    grouped = [" ".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]
    text = "Recovery codes of Nexus, each good for one log-in:\n\n" + "\n".join(grouped) + "\n"
    # A data address, because a file on the server would have to be kept and asked for again.
    file = "data:text/plain;charset=utf-8;base64," + base64.b64encode(text.encode()).decode("ascii")
    context = {"text": "\n".join(grouped), "file": file, "back": reverse("admin:index")}
    return console_page(request, "mfa/codes.html", "Your recovery codes", **context)
