"""How often somebody may guess a password or a code."""

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal.ratelimit import RateLimitUsage, consume
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

_RATES_OF = "allauth.account"


def attempt(request: HttpRequest, *, account: str = "") -> RateLimitUsage:
    """Count a guess as a failure before it is checked; the caller rolls it back if it was right.

    So guesses side by side cannot pass the limit together. `account` names whose code, or whose
    session, it is: only what nobody reaches without that person's password may be counted so, or
    anybody could lock them out. Raises ImmediateHttpResponse (429) where the limit is reached.
    """
    # Looking is a guess as well: an invitation's token is read out of an address.
    usage = consume(request, app=_RATES_OF, action="login_failed", limit_get=True)
    if usage is not None and account:
        further = consume(request, app=_RATES_OF, action="code_failed", key=account)
        if further is None:
            usage = None
        else:
            usage.usage.extend(further.usage)
    if usage is None:
        raise ImmediateHttpResponse(too_many_attempts(request))
    return usage


def too_many_attempts(request: HttpRequest) -> HttpResponse:
    """429, alike for everybody: it tells of the address, not of an account."""
    context = {**admin.site.each_context(request), "title": "Too many attempts"}
    answer = render(request, "account/too_many_attempts.html", context, status=429)
    answer["Retry-After"] = "60"
    answer["Cache-Control"] = "no-store"
    return answer
