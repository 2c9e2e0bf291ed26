"""What production refuses to start with, each by the name of its setting."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

# Django derives cookie signatures from it; 50 is the length that its own deployment check asks for.
SECRET_KEY_MIN_LENGTH = 50


def refusals(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each setting that production must not start with (SPEC 5)."""
    if settings["DEBUG"]:
        yield "DEBUG is on: error pages would show settings and variables. Unset it."
    if len(settings["SECRET_KEY"]) < SECRET_KEY_MIN_LENGTH:
        yield f"SECRET_KEY is missing or shorter than {SECRET_KEY_MIN_LENGTH} characters. Set a random one."
    if any("*" in host or host.startswith(".") for host in settings["ALLOWED_HOSTS"]):
        yield "ALLOWED_HOSTS has a wildcard. Name the hosts that Nexus answers for."
    public_url = urlsplit(settings["NEXUS_PUBLIC_URL"])
    if public_url.scheme != "https" or not public_url.hostname:
        yield "NEXUS_PUBLIC_URL is missing or not https. Set the address that clients use."
    if not settings["NEXUS_ROOT_KEY"] and not settings["NEXUS_ROOT_KEY_FILE"]:
        yield "NEXUS_ROOT_KEY is missing (base64url of 32 bytes), and so is NEXUS_ROOT_KEY_FILE. Set one."
    if not settings["DATABASE_URL"]:
        yield "DATABASE_URL is missing. Set postgresql://…"
    if not settings["REDIS_URL"]:
        yield "REDIS_URL is missing. Set redis://:password@host:port/0."
    elif not urlsplit(settings["REDIS_URL"]).password:
        yield "REDIS_URL has no password: whoever reaches Redis could forge jobs. Set one in Redis and here."


def refuse(settings: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured that lists every refusal at once."""
    found = list(refusals(settings))
    if found:
        raise ImproperlyConfigured("Nexus does not start in production:\n  " + "\n  ".join(found))
