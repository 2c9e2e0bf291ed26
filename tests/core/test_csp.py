"""What browsers may load and run: the policy's text, and that nothing of ours needs more than it gives."""

import hashlib
import re
from pathlib import Path

import pytest
import unfold
from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpResponseBase
from django.test import Client

from tests.conftest import Cast

ROOT = Path(settings.BASE_DIR)
UNFOLD = Path(unfold.__file__).parent / "templates"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "style-src-elem": "'self'",
    "style-src-attr": "'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
# The originals of the templates that ours stand in for (docs/decisions/0006).
ORIGINALS = {
    "unfold/helpers/command.html": "ae6ce324d8536613",
    "unfold/helpers/navigation_header.html": "35139b9d94580be9",
    "unfold/helpers/navigation_user.html": "4c9ba58b3f215326",
    "unfold/helpers/search.html": "91996c27181d14ad",
    "unfold/helpers/theme_switch.html": "c8e659df65f5aa78",
    "unfold/helpers/theme_switch_dropdown.html": "90421e9a3524b57f",
    "unfold/helpers/welcomemsg.html": "e8eab02522ba2319",
    "unfold/layouts/skeleton.html": "66af9f0bb45f98ba",
}
NONCE = re.compile(r" 'nonce-([A-Za-z0-9+/]{22}==)'")

pytestmark = pytest.mark.django_db


def policy_of(answer: HttpResponseBase) -> dict[str, str]:
    return dict(each.split(" ", 1) for each in answer["Content-Security-Policy"].split("; "))


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/login/",
        "/admin/no-such-page/",
        "/no-such-page",
        "/api/docs/",
        "/api/docs/?script=",
        "/api/schema/",
        "/api/v1/secrets",
        "/livez",
        "/static/nexus/components.js",
    ],
)
def test_every_answer_carries_exactly_the_policy(path: str) -> None:
    answer = Client().get(path, follow=True)

    policy = policy_of(answer)
    answer.close()

    policy["style-src-elem"] = NONCE.sub("", policy["style-src-elem"])
    assert policy == POLICY
    assert "Content-Security-Policy-Report-Only" not in answer


def test_whoever_is_signed_in_is_under_the_same_policy(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.users["alice"])

    answers = [client.get(f"/admin/{path}") for path in ("", "services/service/", "no-such-page/")]

    assert [answer.status_code for answer in answers] == [200, 200, 404]
    for answer in answers:
        policy = policy_of(answer)
        policy["style-src-elem"] = NONCE.sub("", policy["style-src-elem"])
        assert policy == POLICY


def test_a_page_of_the_console_has_a_nonce_of_its_own() -> None:
    first, second = (Client().get("/admin/", follow=True) for _ in range(2))

    nonces = [NONCE.findall(policy_of(answer)["style-src-elem"]) for answer in (first, second)]

    assert len(nonces[0]) == len(nonces[1]) == 1
    assert nonces[0] != nonces[1]
    assert f'nonce="{nonces[0][0]}"' in first.content.decode()
    assert nonces[0][0] not in policy_of(first)["script-src"]


def templates() -> list[Path]:
    """Those of ours, wherever they stand."""
    found = [*(ROOT / "templates").rglob("*"), *(ROOT / "apps").rglob("templates/**/*")]
    return sorted(path for path in found if path.suffix in (".html", ".js", ".txt", ".svg"))


def test_no_template_asks_for_more_than_the_policy_gives() -> None:
    forbidden = {
        "a script without src": r"<script(?![^>]*\ssrc=)[^>]*>",
        "a script that is no file": r"<script[^>]*\ssrc=[\"'](?!{)[^\"']*",
        "an event attribute": r"\son[a-z]+\s*=",
        "a javascript: address": r"javascript:",
        "a style element without nonce": r"<style(?![^>]*\snonce=)[^>]*>",
        "an asset of another host": r"\s(?:src|srcset|(?:form)?action|poster)\s*=\s*[\"']?(?:https?:)?//",
        "a style sheet of another host": r"<link[^>]*href\s*=\s*[\"']?(?:https?:)?//",
        "an import from another host": r"(?:url\(|@import)\s*[\"']?(?:https?:)?//",
        "markup out of a value": r"\sx-html\s*=",
        "text that htmx would evaluate": r"\shx-on|[\"']js:",
        "a frame or plug-in": r"<(?:iframe|object|embed|base)\b",
    }

    found = [
        f"{path.relative_to(ROOT)}: {what}: {match.group().strip()}"
        for path in templates()
        for what, pattern in forbidden.items()
        for match in re.finditer(pattern, path.read_text(), re.IGNORECASE)
    ]

    assert len(templates()) >= 9
    assert found == []


def test_no_expression_is_beyond_what_alpine_evaluates_here() -> None:
    """A first sieve; `tests/browser` sees what is left."""
    beyond = re.compile(
        r"=>|;\s*\S|`|\?\.|\.\.\.|\b(?:if|const|let|window|document|localStorage|typeof|new)\b"
    )
    expression = re.compile(
        r"\s(?:x-(?:data|init|show|text|model|if|for|effect|bind|on)\S*?|@[a-z.-]+)=\"([^\"]*)\""
    )

    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in templates()
        for text in expression.findall(re.sub(r"{[{%].*?[%}]}", "", path.read_text()))
        # Text in quotes is no code.
        if beyond.search(re.sub(r"'[^']*'", "''", text))
    ]

    assert found == []


def test_alpine_is_the_file_that_the_notice_names() -> None:
    served = finders.find("unfold/js/alpine/alpine.js")
    first, _, rest = Path(str(served)).read_bytes().partition(b"\n")

    digest = hashlib.sha256(rest).hexdigest()

    assert served == str(ROOT / "static/unfold/js/alpine/alpine.js")
    assert first.startswith(b"/*! @alpinejs/csp ")
    assert digest in (ROOT / "static/NOTICE.md").read_text()
    assert b"new Function(" not in rest
    assert b"AsyncFunction" not in rest


def test_the_originals_of_our_templates_are_those_that_ours_were_made_from() -> None:
    ours = {str(path.relative_to(ROOT / "templates")) for path in (ROOT / "templates/unfold").rglob("*.html")}

    now = {name: hashlib.sha256((UNFOLD / name).read_bytes()).hexdigest()[:16] for name in ORIGINALS}

    assert ours == set(ORIGINALS)
    assert now == ORIGINALS
