"""The page behind the link of an invitation's mail. Looking at it accepts nothing."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.core.actor import Actor
from apps.core.errors import AlreadyExists, Conflict, InvalidInput, NexusError, NotFound
from apps.projects.invitations import accept_invitation, is_pending, join_by_invitation
from apps.projects.memberships import operator_actor
from apps.projects.models import Project
from apps.tenancy.invitations import invitation_of
from apps.tenancy.models import Invitation, User
from nexus.console.gate import owed
from nexus.console.limits import attempt
from nexus.console.login import origin_of, styled


class JoinForm(forms.Form):
    """What an invited person without an account tells of themselves."""

    name = forms.CharField(max_length=150)
    password = forms.CharField(
        label="New password",
        strip=False,
        widget=forms.PasswordInput,
        help_text="At least 12 characters. A few words that do not belong together are easy to keep.",
    )
    again = forms.CharField(label="New password again", strip=False, widget=forms.PasswordInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        styled(self.fields["name"], autocomplete="name", autofocus=True)
        styled(self.fields["password"], autocomplete="new-password")
        styled(self.fields["again"], autocomplete="new-password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if {"password", "again"} <= cleaned.keys() and cleaned["password"] != cleaned["again"]:
            self.add_error("again", "The two are not the same.")
        return cleaned


def _asked(request: HttpRequest, token: str) -> Invitation:
    """The invitation of this token, if whoever is signed in may see it. A wrong token counts as a guess.

    Raises NotFound alike for a wrong token and for somebody else's address.
    """
    guess = attempt(request)
    invitation = invitation_of(token)
    guess.rollback()
    if isinstance(request.user, User) and request.user.email != invitation.email:
        raise NotFound
    return invitation


@never_cache
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("token", "password", "again")
def invitation(request: HttpRequest) -> HttpResponse:
    """Show the invitation and take its acceptance, of who is signed in or of who has no account yet."""
    token = (request.POST if request.method == "POST" else request.GET).get("token", "")
    try:
        asked = _asked(request, token)
        if not is_pending(asked):
            raise NotFound
        if isinstance(request.user, User):
            return _of_a_person(request, request.user, asked, token)
        if User.objects.filter(email=asked.email).exists():
            return _page(request, asked, token, log_in=_log_in(token))
        return _of_a_stranger(request, asked, token)
    except NotFound as refusal:
        # One page for all: it tells neither what there is nor whose it is.
        return _refused(request, refusal, "")


def _of_a_person(request: HttpRequest, user: User, asked: Invitation, token: str) -> HttpResponse:
    page = owed(request)
    if page:
        return redirect(page)
    if request.method == "POST":
        try:
            accept_invitation(actor=operator_actor(user, origin=origin_of(request)), token=token)
        except Conflict as refusal:
            return _refused(request, refusal, refusal.detail)
        messages.success(request, f"You are in {asked.tenant.name} now.")
        return redirect("admin:index")
    return _page(request, asked, token)


def _of_a_stranger(request: HttpRequest, asked: Invitation, token: str) -> HttpResponse:
    form = JoinForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            join_by_invitation(
                actor=Actor.anonymous(origin_of(request)),
                token=token,
                name=form.cleaned_data["name"],
                password=form.cleaned_data["password"],
            )
        except InvalidInput as refusal:
            for name, sentences in refusal.errors.items():
                form.add_error(name, [ValidationError(sentence) for sentence in sentences])
        except AlreadyExists:
            return _page(request, asked, token, log_in=_log_in(token))
        except Conflict as refusal:
            return _refused(request, refusal, refusal.detail)
        else:
            messages.success(request, "Your account is made. Log in with your new password.")
            return redirect("account_login")
    return _page(request, asked, token, form=form)


def _log_in(token: str) -> str:
    back = f"{reverse('account_invitation')}?{urlencode({'token': token})}"
    return f"{reverse('account_login')}?{urlencode({'next': back})}"


def _page(request: HttpRequest, asked: Invitation, token: str, **context: Any) -> HttpResponse:
    project = None
    if asked.project_id is not None:
        project = Project.objects.live().filter(pk=asked.project_id).first()
    page = {
        **admin.site.each_context(request),
        "title": "Invitation",
        "invitation": asked,
        "project": project,
        "token": token,
    }
    return TemplateResponse(request, "account/invitation.html", {**page, **context})


def _refused(request: HttpRequest, refusal: NexusError, detail: str) -> HttpResponse:
    page = {**admin.site.each_context(request), "title": "Invitation", "refusal": detail}
    answer = TemplateResponse(request, "account/invitation_refused.html", page)
    answer.status_code = refusal.status
    return answer
