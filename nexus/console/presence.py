"""Proof that the person is there, in this very session (SPEC 5)."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

# Unix seconds of the last proof. A log-in forgets it, and then gives its own.
_SESSION_KEY = "nexus_present_at"


def remember_presence(request: HttpRequest) -> None:
    """The person behind this session has just proved to be there."""
    request.session[_SESSION_KEY] = timezone.now().timestamp()


def forget_presence(request: HttpRequest) -> None:
    """Whoever proved it before was the person of another log-in."""
    request.session.pop(_SESSION_KEY, None)


def present_at(request: HttpRequest) -> datetime | None:
    """When they last did, in this session."""
    stored = request.session.get(_SESSION_KEY)
    return datetime.fromtimestamp(stored, UTC) if isinstance(stored, int | float) else None


def presence_url(request: HttpRequest, next: str) -> str:
    """Where `request`'s person proves to be there, before they go on to the page `next`.

    `next` is fetched by GET: a POST that was refused is not sent again by itself. An address that
    is not of this host leads to the dashboard in its place.
    """
    return f"{reverse('admin:presence')}?{urlencode({'next': local(next)})}"


def local(url: str) -> str:
    """`url` if it is a path of this very host, else the dashboard's."""
    fits = url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None)
    return url if fits else reverse("admin:index")


def next_of(request: HttpRequest) -> str:
    """Where a form's `next` leads, as far as it may."""
    return local(request.POST.get("next") or request.GET.get("next") or "")
