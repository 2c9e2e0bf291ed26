"""Proof that the person is there, in this very session (SPEC 5)."""

from datetime import UTC, datetime

from django.http import HttpRequest
from django.utils import timezone

# Unix seconds of the last proof. Django makes a new session at log-in, so that no proof is inherited.
_SESSION_KEY = "nexus_present_at"


def remember_presence(request: HttpRequest) -> None:
    """The person behind this session has just proved to be there."""
    request.session[_SESSION_KEY] = timezone.now().timestamp()


def present_at(request: HttpRequest) -> datetime | None:
    """When they last did, in this session."""
    stored = request.session.get(_SESSION_KEY)
    return datetime.fromtimestamp(stored, UTC) if isinstance(stored, int | float) else None
