"""What a signed-in person has to do before anything else."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from apps.tenancy.models import User

PASSWORD = "admin:password_change"  # noqa: S105 - the name of a page
SECOND_FACTOR = "admin:two_factor_set_up"

# Whoever owes the page on the left reaches what stands beside it, and nothing else of the console:
# a page that is added later is shut without a thought.
OPEN_PAGES: Mapping[str, frozenset[str]] = {
    PASSWORD: frozenset({PASSWORD, "admin:logout"}),
    SECOND_FACTOR: frozenset({SECOND_FACTOR, "admin:presence", "admin:logout"}),
}


def owed(request: HttpRequest) -> str:
    """The name of the page that this person has to see to first; empty when nothing is in the way.

    First the password that others may have seen, then, where NEXUS_REQUIRE_MFA is on, the second
    factor. Read anew for each request, once.
    """
    if not hasattr(request, "owed_page"):
        request.owed_page = _owed(request)  # type: ignore[attr-defined]
    page: str = request.owed_page  # type: ignore[attr-defined]
    return page


def _owed(request: HttpRequest) -> str:
    from nexus.console.mfa import has_second_factor

    user = request.user
    if not isinstance(user, User):
        return ""
    if user.must_change_password:
        return PASSWORD
    if settings.NEXUS_REQUIRE_MFA and not has_second_factor(user):
        return SECOND_FACTOR
    return ""


def gated(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """`view` for those who owe nothing; the others are led to what they owe."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        page = owed(request)
        match = request.resolver_match
        if page and (match is None or match.view_name not in OPEN_PAGES[page]):
            return redirect(page)
        return view(request, *args, **kwargs)

    return guarded
