"""Log-in: e-mail and password, then a code where there is a second factor; and their events.

allauth carries the steps. What it offers beside them (sign-up, reset by mail, change of address) is
not mounted: people are made by superusers and commands (SPEC 3 and 11).
"""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.internal.decorators import login_stage_required
from allauth.account.internal.flows.login import (
    clear_authentication_records,
    get_authentication_records,
    record_authentication,
)
from allauth.account.stages import LoginStage
from allauth.account.views import LoginView as AllauthLoginView
from allauth.core.exceptions import ImmediateHttpResponse
from django import forms
from django.contrib import admin
from django.contrib.auth import authenticate
from django.contrib.auth import logout as end_session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic.edit import FormView
from unfold.widgets import BASE_INPUT_CLASSES

from apps.audit.events import Action, Outcome
from apps.audit.operations import record, record_coalesced
from apps.audit.targets import Target
from apps.core.actor import Actor, Origin
from apps.core.errors import Unreadable
from apps.projects.memberships import operator_actor
from apps.tenancy.models import User
from nexus.console import mfa
from nexus.console.limits import attempt
from nexus.console.presence import forget_presence, local, remember_presence

CODE_MAX_LENGTH = 40


def origin_of(request: HttpRequest) -> Origin:
    origin: Origin = getattr(request, "origin", Origin())
    return origin


def _tell_failure(request: HttpRequest, target: Target) -> None:
    record_coalesced(
        actor=Actor.anonymous(origin_of(request)),
        action=Action.LOGIN_FAILED,
        target=target,
        outcome=Outcome.FAILED,
    )


class LoginAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth has no types
    """allauth's log-in by our rules: our addresses, our limits, our events."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "The address or the password is not right.",
    }

    def get_client_ip(self, request: HttpRequest) -> str:
        """The one answer of `core.client_address`; X-Forwarded-For is not read here."""
        return origin_of(request).address

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        return bool(url) and local(url) == url

    def is_ajax(self, request: HttpRequest) -> bool:
        # Answers are pages, whatever the headers ask for.
        return False

    def add_message(self, *args: Any, **options: Any) -> None:
        """allauth's remarks ("Successfully signed in as …") say what the page shows."""

    def get_login_stages(self) -> list[str]:
        return ["nexus.console.login.CodeStage"]

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Who these are. Unknown, wrong and deactivated cost one hash, one guess and one event alike."""
        guess = attempt(request)
        user = authenticate(request, username=credentials["email"], password=credentials["password"])
        if not isinstance(user, User):
            # The address may be a password typed into the wrong field: it is not written down.
            _tell_failure(request, Target("operator"))
            return None
        guess.rollback()
        return user

    def login(self, request: HttpRequest, user: User) -> None:
        """Begin the session, now that every step is done: its row and its event are one transaction.

        The session gets a new id. Presence is what the steps of this very log-in prove: a password
        does, an identity provider does not by itself.
        """
        if not user.is_active:
            # Deactivated between password and code.
            raise ImmediateHttpResponse(redirect("account_login"))
        steps = get_authentication_records(request, user)
        clear_authentication_records(request)
        with transaction.atomic():
            super().login(request, user)
            record(
                actor=operator_actor(user, origin=origin_of(request)),
                action=Action.LOGIN_SUCCEEDED,
                target=user.audit_target(),
                changes={"by": list(dict.fromkeys(step.get("type", step["method"]) for step in steps))},
            )
        forget_presence(request)
        if any(step["method"] == "password" for step in steps):
            remember_presence(request)

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return redirect("account_login")


def sign_out(request: HttpRequest) -> None:
    """End the session; its row goes in the transaction of its event."""
    with transaction.atomic():
        if isinstance(request.user, User):
            record(
                actor=operator_actor(request.user, origin=origin_of(request)),
                action=Action.LOGOUT,
                target=request.user.audit_target(),
            )
        end_session(request)


def styled(field: forms.Field, **attributes: str | bool) -> None:
    """Give a field of somebody else's form unfold's look."""
    field.widget.attrs.update({"class": " ".join(BASE_INPUT_CLASSES), **attributes})
    field.widget.attrs.pop("placeholder", None)


class LoginForm(AllauthLoginForm):  # type: ignore[misc] # allauth has no types
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["login"].label = "E-mail"
        self.fields["password"].help_text = ""
        styled(self.fields["login"], autocomplete="username", autofocus=True)
        styled(self.fields["password"])


class LoginView(AllauthLoginView):  # type: ignore[misc] # allauth has no types
    def get_context_data(self, **context: Any) -> dict[str, Any]:
        page = {**admin.site.each_context(self.request), "title": "Log in"}
        return {**page, **super().get_context_data(**context)}


class CodeStage(LoginStage):  # type: ignore[misc] # allauth has no types
    """The second step: the person is who the password says, and not signed in yet."""

    key = "code"
    urlname = "account_code"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        user = self.login.user
        if user is None or not mfa.has_second_factor(user):
            return None, True
        self.state["password"] = user.get_session_auth_hash()
        return redirect(self.urlname), True

    def password_holds(self) -> bool:
        """Whether the password of the first step is still the person's."""
        return constant_time_compare(self.state.get("password", ""), self.login.user.get_session_auth_hash())

    def is_resumable(self, request: HttpRequest) -> bool:
        # Back at the log-in one begins anew, perhaps as somebody else.
        return False


class CodeForm(forms.Form):
    code = forms.CharField(label="Code", max_length=CODE_MAX_LENGTH)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        styled(self.fields["code"], autocomplete="one-time-code", autofocus=True, spellcheck="false")


@method_decorator(sensitive_post_parameters("code"), name="dispatch")
@method_decorator(login_stage_required(CodeStage.key, redirect_urlname="account_login"), name="dispatch")
class CodeView(FormView):  # type: ignore[type-arg] # Django has no generic one at run time
    form_class = CodeForm
    template_name = "mfa/code.html"

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        page = {**admin.site.each_context(self.request), "title": "Second step"}
        return {**page, **super().get_context_data(**context)}

    def form_valid(self, form: CodeForm) -> HttpResponse:
        stage: CodeStage = self.request._login_stage  # type: ignore[attr-defined]
        user: User = stage.login.user
        if not stage.password_holds():
            ended: HttpResponse = stage.abort()
            return ended
        guess = attempt(self.request, account=f"log-in:{user.pk}")
        try:
            factor = mfa.spend_code(user, form.cleaned_data["code"])
        except Unreadable as refusal:
            form.add_error("code", refusal.detail)
            return self.render_to_response(self.get_context_data(form=form), status=refusal.status)
        if factor is None:
            # Named, because whoever stands here knows the password.
            _tell_failure(self.request, user.audit_target())
            form.add_error("code", ValidationError("This code is not right, or it was used already."))
            return self.form_invalid(form)
        guess.rollback()
        record_authentication(self.request, user, "mfa", type=factor.type)
        answer: HttpResponse = stage.exit()
        return answer


log_in = LoginView.as_view()
give_code = CodeView.as_view()
