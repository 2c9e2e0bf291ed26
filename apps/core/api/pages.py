"""Lists in pages: `{"results": […], "next": cursor or null}` (SPEC 10)."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from rest_framework.request import Request

from apps.core.errors import InvalidInput

LIMIT_DEFAULT, LIMIT_MAX = 50, 200
M = TypeVar("M", bound=models.Model)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIMIT_MAX):
        raise InvalidInput.of("limit", f"Give a number from 1 to {LIMIT_MAX}.")
    return int(text)


def _order(request: Request, allowed: Sequence[str]) -> str:
    order = request.query_params.get("ordering", allowed[0])
    if order.removeprefix("-") not in [name.removeprefix("-") for name in allowed]:
        names = ", ".join(name.removeprefix("-") for name in allowed)
        raise InvalidInput.of("ordering", f"Order by one of {names}; - before it turns it round.")
    return order


def _cursor(order: str, row: models.Model) -> str:
    value = getattr(row, order.removeprefix("-"))
    text = value.isoformat() if isinstance(value, datetime) else value
    data = json.dumps([order, text, str(row.pk)], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _after(model: type[models.Model], cursor: str, order: str) -> Q:
    """What comes after the row that `cursor` names. Raises InvalidInput for a cursor of other make."""
    refusal = InvalidInput.of("cursor", "Send `next` of the page before, with the same ordering.")
    try:
        made_for, text, pk = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        name = order.removeprefix("-")
        value = cast(Any, model._meta.get_field(name)).to_python(text)
        pk = model._meta.pk.to_python(pk)
    except (ValueError, TypeError, ValidationError):
        # Base64 and UTF-8 refuse by kinds of ValueError, a column by Django's ValidationError.
        raise refusal from None
    if made_for != order:
        raise refusal
    beyond = "lt" if order.startswith("-") else "gt"
    return Q(**{f"{name}__{beyond}": value}) | Q(**{name: value, f"pk__{beyond}": pk})


def paged(
    request: Request,
    rows: "models.QuerySet[M]",
    show: Callable[[M], Mapping[str, Any]],
    *,
    orderings: Sequence[str],
    search: Sequence[str] = (),
) -> dict[str, Any]:
    """One page of `rows`, each drawn by `show`.

    `orderings` are the columns that may be asked for, the first by default; rows that are equal in
    it follow their ids, so that a page neither repeats nor skips one. One query.
    """
    limit, order = _limit(request), _order(request, orderings)
    text = request.query_params.get("search", "").strip()
    if text and search:
        found = Q()
        for column in search:
            found |= Q(**{f"{column}__icontains": text})
        rows = rows.filter(found)
    cursor = request.query_params.get("cursor")
    if cursor:
        rows = rows.filter(_after(rows.model, cursor, order))
    pk = "-pk" if order.startswith("-") else "pk"
    page = list(rows.order_by(order, pk)[: limit + 1])
    more = len(page) > limit
    return {
        "results": [show(row) for row in page[:limit]],
        "next": _cursor(order, page[limit - 1]) if more else None,
    }
