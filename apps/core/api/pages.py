"""Lists in pages: `{"results": […], "next": cursor or null}` (SPEC 10)."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django_filters import FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from apps.core import prepared
from apps.core.errors import InvalidInput

LIMIT_DEFAULT, LIMIT_MAX = 50, 200
M = TypeVar("M")

_LIST_PARAMETERS = ("limit", "cursor", "search", "ordering")


def list_parameters(
    *, orderings: Sequence[str], filters: type[FilterSet] | None = None, search: bool = True
) -> list[OpenApiParameter]:
    """How the OpenAPI schema tells of a list's parameters."""
    columns = [name.removeprefix("-") for name in orderings]
    found = [
        OpenApiParameter(
            "limit", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        ),
        OpenApiParameter("cursor", OpenApiTypes.STR, description="`next` of the page before."),
        OpenApiParameter(
            "ordering",
            OpenApiTypes.STR,
            enum=[each for name in columns for each in (name, f"-{name}")],
            description=f"A column; - before it turns it round. By default {orderings[0]}.",
        ),
    ]
    if search:
        found.append(
            OpenApiParameter("search", OpenApiTypes.STR, description="A part of a name, in any case.")
        )
    for name, each in filters.base_filters.items() if filters else ():
        found.append(
            OpenApiParameter(name, _filter_schema(each), description=str(each.extra.get("help_text", "")))
        )
    return found


def _filter_schema(each: Any) -> dict[str, Any]:
    match type(each).__name__:
        case "BooleanFilter":
            return {"type": "boolean"}
        case "UUIDFilter":
            return {"type": "string", "format": "uuid"}
        case "IsoDateTimeFilter":
            return {"type": "string", "format": "date-time"}
        case "ChoiceFilter":
            return {"type": "string", "enum": [value for value, _ in each.extra["choices"]]}
        case _:
            return {"type": "string", "minLength": 1}


def _filtered(request: Request, rows: Any, filters: type[FilterSet]) -> Any:
    if not any(name in request.query_params for name in filters.base_filters):
        return rows
    asked = filters(request.query_params, queryset=rows)
    wrong = set() if asked.is_valid() else set(asked.form.errors)
    for name, each in filters.base_filters.items():
        # Django reads any other word, or none, as no answer, and would pass the filter over in silence.
        given = request.query_params.get(name, "true")
        is_other_word = type(each).__name__ == "BooleanFilter" and given not in ("true", "false")
        if not given or is_other_word:
            wrong.add(name)
    if wrong:
        # Not the form's words: they repeat what came.
        raise InvalidInput({name: ["This filter takes no such value."] for name in sorted(wrong)})
    return asked.qs


def _require_known(request: Request, filters: type[FilterSet] | None, others: Sequence[str]) -> None:
    known = [*_LIST_PARAMETERS, *others, *(filters.base_filters if filters else ())]
    for name in request.query_params:
        if name not in known:
            raise InvalidInput.of("", f"The list has no such parameter. Known are: {', '.join(known)}.")
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidInput.of(name, "Send this parameter once.")


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


def _cursor(order: str, row: Any, key: str) -> str:
    value = getattr(row, order.removeprefix("-"))
    text = value.isoformat() if isinstance(value, datetime) else value
    data = json.dumps([order, text, str(getattr(row, key))], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _after(model: type[models.Model], cursor: str, order: str, key: str) -> Q:
    """What comes after the row that `cursor` names. Raises InvalidInput for a cursor of other make."""
    refusal = InvalidInput.of("cursor", "Send `next` of the page before, with the same ordering.")
    try:
        made_for, text, pk = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        # No column holds U+0000 or half a surrogate pair, and PostgreSQL takes neither.
        if "\0" in str(text).encode().decode():
            raise refusal
        name = order.removeprefix("-")
        value = cast(Any, model._meta.get_field(name)).to_python(text)
        pk = cast(Any, model._meta.pk if key == "id" else model._meta.get_field(key)).to_python(pk)
    except (ValueError, TypeError, ValidationError):
        # Base64 and UTF-8 refuse by kinds of ValueError, a column by Django's ValidationError.
        raise refusal from None
    if made_for != order:
        raise refusal
    beyond = "lt" if order.startswith("-") else "gt"
    return Q(**{f"{name}__{beyond}": value}) | Q(**{name: value, f"{key}__{beyond}": pk})


def paged(
    request: Request,
    rows: "models.QuerySet[Any, M] | prepared.Source",
    show: Callable[[M], Mapping[str, Any]],
    *,
    orderings: Sequence[str],
    search: Sequence[str] = (),
    filters: type[FilterSet] | None = None,
    parameters: Sequence[str] = (),
    key: str = "id",
) -> dict[str, Any]:
    """One page of `rows`, each drawn by `show`.

    `rows` are models, or named tuples of `values_list(…, named=True)` with `id` and the columns of
    `orderings`. Those are the columns that may be asked for, the first by default; rows that are
    equal in it follow their ids, so that a page neither repeats nor skips one. `parameters` are
    further ones that the view itself reads, `key` is the column of the ids. One query.

    Of a `Source` the first page of the whole list is asked without building its query anew.
    """
    _require_known(request, filters, parameters)
    limit, order = _limit(request), _order(request, orderings)
    found: Any
    if isinstance(rows, prepared.Source):
        if request.query_params.keys() <= {"limit", "ordering"}:
            return _shown(_first_page(rows, order, limit), show, order, limit, key)
        found = rows.queryset()
    else:
        found = rows
    text = request.query_params.get("search", "").strip()
    if text and search:
        named = Q()
        for column in search:
            named |= Q(**{f"{column}__icontains": text})
        found = found.filter(named)
    if filters is not None:
        found = _filtered(request, found, filters)
    cursor = request.query_params.get("cursor")
    if cursor is not None:
        found = found.filter(_after(found.model, cursor, order, key))
    return _shown(list(_ordered(found, order, key)[: limit + 1]), show, order, limit, key)


def _first_page(source: prepared.Source, order: str, limit: int) -> list[Any]:
    def build(*arguments: prepared.Argument) -> Any:
        return _ordered(source.build(*arguments), order, "pk")[: limit + 1]

    return prepared.fetch((source.name, order, limit), build, *source.arguments)


def _ordered(rows: Any, order: str, key: str) -> Any:
    return rows.order_by(order, f"-{key}" if order.startswith("-") else key)


def _shown(page: list[Any], show: Callable[[Any], Any], order: str, limit: int, key: str) -> dict[str, Any]:
    more = len(page) > limit
    return {
        "results": [show(row) for row in page[:limit]],
        "next": _cursor(order, page[limit - 1], key) if more else None,
    }
