"""What the REST doors read out of a request."""

import re

from rest_framework.request import Request

from apps.core.errors import InvalidInput

_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,9})"\Z')


def require_parameters(request: Request, *known: str) -> None:
    """Raise InvalidInput for a query parameter that is not one of `known`, or stands twice."""
    for name, values in request.query_params.lists():
        if name not in known:
            raise InvalidInput.of("", f"There is no such parameter. Known are: {', '.join(known)}.")
        if len(values) > 1:
            raise InvalidInput.of(name, "Send this parameter once.")


def expected_version(request: Request) -> int | None:
    """The version that If-Match names, as `"<version>"`; None where the header is missing or `*`.

    Raises InvalidInput for anything else: a precondition that cannot be read must not be skipped
    (RFC 9110 section 13.1.1).
    """
    value = request.headers.get("If-Match", "*").strip()
    if value == "*":
        return None
    match = _VERSION_TAG.match(value)
    if match is None:
        raise InvalidInput.of("If-Match", 'Send the version in quotes, as in If-Match: "3".')
    return int(match[1])


def must_exist(request: Request) -> bool:
    """Whether `If-Match: *` asks that there be something to change."""
    return request.headers.get("If-Match", "").strip() == "*"


def only_create(request: Request) -> bool:
    """Whether `If-None-Match: *` asks that nothing be overwritten (RFC 9110 section 13.1.2)."""
    value = request.headers.get("If-None-Match")
    if value is not None and value.strip() != "*":
        raise InvalidInput.of(
            "If-None-Match", "A write takes only If-None-Match: *, which creates and never overwrites."
        )
    return value is not None
