"""The main job by hand: a service, its key, a secret, and the running API that serves it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, Server, SignIn

VALUE = "typed-by-hand-9fK2"
OTHER_VALUE = "typed-in-its-place-3aQ7"
# A write is in every snapshot within 1.5 s; the rest is a busy machine's.
VISIBLE_SECONDS = 30.0

# Runs in a process of its own, because Django refuses the ORM beside Playwright's loop.
_AGE_SESSION = """
from importlib import import_module
from django.conf import settings
store = import_module(settings.SESSION_ENGINE).SessionStore(session_key=%r)
store["nexus_present_at"] -= 16 * 60
store.save()
"""


def sync(server: Server, key: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{server.url}/api/v1/sync", headers={"X-Nexus-API-Key": key})  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own
        document: dict[str, Any] = json.load(answer)
        return document


def served(server: Server, key: str, secret: str, value: str) -> dict[str, Any]:
    """The secret's members in the snapshot, once they have `value`."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while True:
        members: dict[str, Any] = sync(server, key)["secrets"].get(secret, {})
        if members.get("value") == value:
            return members
        assert time.monotonic() < deadline, f"{secret} is not served as it was written"
        time.sleep(0.1)


def choose(page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=False).first
    option = field.locator("option", has_text=text).first
    field.select_option(value=option.get_attribute("value"))


def leave_for_16_minutes(server: Server, page: Page) -> None:
    cookie = next(each for each in page.context.cookies() if each["name"] == "sessionid")
    subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", _AGE_SESSION % cookie["value"]],
        cwd=ROOT,
        env=os.environ | server.environment,
        check=True,
        capture_output=True,
        timeout=120,
    )


def test_from_a_new_service_to_its_snapshot(server: Server, signed_in_page: SignIn) -> None:
    page = signed_in_page(afresh=True)

    # A service that inherits from an umbrella.
    page.locator("#nav-sidebar-apps").get_by_role("link", name=re.compile("shop$")).click()
    page.get_by_role("link", name="New service").click()
    page.get_by_label("Slug").fill("billing")
    choose(page, "Environment", "production")
    choose(page, "Kind", "Backend")
    choose(page, "Inherits from", "acme/shop/production/common")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="billing")).to_be_visible()

    # Its key, shown once.
    tabs = page.locator("nav.nx-tabs")
    tabs.get_by_role("link", name="Keys").click()
    page.get_by_role("link", name="Issue a key").click()
    page.get_by_role("button", name="Issue the key").click()
    key = page.locator("#shown-value").inner_text().strip()
    assert key.startswith("sk_live_")
    page.get_by_role("link", name="I have copied it").click()
    assert key not in page.content()

    # A secret.
    tabs.get_by_role("link", name="Secrets").click()
    page.get_by_role("link", name="New secret").click()
    page.get_by_label("Key").fill("billing.token")
    page.get_by_label("Value").fill(VALUE)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="billing.token", exact=True)).to_be_visible()
    assert VALUE not in page.content()

    assert served(server, key, "billing.token", VALUE)["source"] == "service"
    inherited = sync(server, key)["secrets"]["database.password"]
    assert inherited["source"] == "umbrella"

    # What is inherited, replaced here.
    page.get_by_role("link", name="Override here: database.password").click()
    expect(page.get_by_label("Key")).to_have_value("database.password")
    page.get_by_label("Value").fill(OTHER_VALUE)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="database.password", exact=True)).to_be_visible()

    assert served(server, key, "database.password", OTHER_VALUE)["source"] == "service"


def test_a_reveal_asks_who_is_there(server: Server, signed_in_page: SignIn) -> None:
    page = signed_in_page(afresh=True)
    service = server.demo["services"]["acme/shop/production/checkout"]["id"]
    key = server.demo["services"]["acme/shop/production/checkout"]["key"]
    value = sync(server, key)["secrets"]["stripe.key"]["value"]
    page.goto(f"/admin/services/service/{service}/change/?tab=secrets")

    # Just logged in: shown at once.
    page.get_by_role("button", name="Reveal: stripe.key").click()
    expect(page.locator("#shown-value")).to_have_text(value)

    # Back at the desk after a quarter of an hour: first the password.
    leave_for_16_minutes(server, page)
    page.goto(f"/admin/services/service/{service}/change/?tab=secrets")
    page.get_by_role("button", name="Reveal: stripe.key").click()
    expect(page).to_have_url(re.compile("/admin/presence/"))
    assert value not in page.content()
    page.locator("input[type=password]").fill(server.operator[1])
    page.get_by_role("button", name="Go on").click()

    page.get_by_role("button", name="Reveal", exact=True).click()
    expect(page.locator("#shown-value")).to_have_text(value)
