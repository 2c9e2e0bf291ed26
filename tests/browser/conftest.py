"""A real server and a real browser.

Tests here talk to the server from outside, as people do. Playwright's loop runs in the test's own
thread, where Django therefore refuses the ORM: no test here uses it, nor pytest-django's database.

    def test_something(signed_in_page: SignIn) -> None:
        page = signed_in_page()  # the demo's operator
        page.goto("/admin/")

Every page fails its test on a console error, an uncaught exception, a violation of the policy or a
request to another host; `watch.expect("status of 404")` takes back one that the test provokes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.watch import Watch
from tests.plugins.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
# Migrating and making the demo's thirty days takes some 15 s on an idle machine with two processors.
READY_SECONDS = 180.0
# What an action, a navigation or an expectation may take on a machine that is not idle.
PATIENCE_SECONDS = 30.0

_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    # Chromium's shared memory is 64 MiB in most containers.
    "--disable-dev-shm-usage",
    # What is no address of this machine does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


# The pages are the same on either database, and a browser takes a minute: once is enough, on what
# production uses.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    if ours and config.getoption("backing") != "postgresql":
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


@dataclass(frozen=True)
class Server:
    """A running Nexus, its `demo.json`, and what a command beside it needs to reach the same state."""

    url: str
    demo: Any
    log: Path
    environment: dict[str, str]

    @property
    def operator(self) -> tuple[str, str]:
        return self.demo["operator"]["email"], self.demo["operator"]["password"]


class SignIn(Protocol):
    def __call__(
        self,
        email: str | None = None,
        password: str | None = None,
        *,
        afresh: bool = False,
        theme: str = "light",
        width: int = 1280,
    ) -> Page: ...


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Nexus with the demo, on a database of its own beside that of the suite."""
    folder, port = tmp_path_factory.mktemp("browser"), free_port()
    url = f"http://127.0.0.1:{port}"
    suite = urlsplit(os.environ["DATABASE_URL"])
    name = "nexus_browser_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
        "NEXUS_VAR": str(folder),
        "NEXUS_BIND": f"127.0.0.1:{port}",
        "DATABASE_URL": suite._replace(path=f"/{name}").geturl(),
    }
    log = folder / "log"
    _make_database(suite.geturl(), name)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.serve", str(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        _wait_until_ready(process, url, log)
        yield Server(url, json.loads((folder / "demo.json").read_text()), log, environment)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _drop_database(suite.geturl(), name)


def _make_database(url: str, name: str) -> None:
    _drop_database(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())


def _drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        said = log.read_text(errors="replace")[-3000:]
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - our own
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)


# For the package, not the session: while Playwright's loop runs, Django refuses the ORM to all tests
# in this thread, and others come after these.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = next(
        (found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None
    )
    assert program, "chromium is not installed: `sh tests/provision.sh chromium`."
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def watch(server: Server) -> Iterator[Watch]:
    """What the test's pages complained of; anything left at the end fails it."""
    watch, logged = Watch(server.url), server.log.stat().st_size
    yield watch
    said = server.log.read_text(errors="replace")[logged:][-3000:]
    assert not watch.complaints, "\n".join([*watch.complaints, said])


@pytest.fixture
def new_page(browser: Browser, server: Server, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Opens a page nobody is signed in on, as a browser of its own: `new_page(theme="dark", width=400)`."""
    contexts = []

    def open_page(*, theme: str = "light", width: int = 1280, storage: Any = None) -> Page:
        context = browser.new_context(
            base_url=server.url,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            storage_state=storage,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        watch.over(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def _sessions() -> dict[str, Any]:
    """Cookies by e-mail: logging in for each test would take a second each."""
    return {}


@pytest.fixture
def signed_in_page(server: Server, new_page: Callable[..., Page], _sessions: dict[str, Any]) -> SignIn:
    """Opens a page on which somebody is signed in, by default the demo's operator.

    The session is shared between tests. One that logs out, or that needs a proof of presence of this
    very minute, asks for one of its own: `signed_in_page(afresh=True)`.
    """

    def open_page(
        email: str | None = None,
        password: str | None = None,
        *,
        afresh: bool = False,
        theme: str = "light",
        width: int = 1280,
    ) -> Page:
        if email is None or password is None:
            email, password = server.operator
        if not afresh and email in _sessions:
            return new_page(theme=theme, width=width, storage=_sessions[email])
        page = new_page(theme=theme, width=width)
        log_in(page, email, password)
        if not afresh:
            _sessions[email] = page.context.storage_state()
        return page

    return open_page


def settle(page: Page) -> None:
    """Wait until the page that a click or a key led to has loaded, and answers to keys.

    Its address changes before; `goto` and `reload` wait by themselves.
    """
    page.wait_for_load_state()
    # Alpine takes this away when all of the page's parts have begun.
    page.wait_for_selector("html:not([x-cloak])")


def log_in(page: Page, email: str, password: str) -> None:
    """Fill whatever form `/admin/` leads to, and arrive in the console."""
    page.goto("/admin/")
    page.locator("input[type=email], input[name=login], input[name=username]").first.fill(email)
    field = page.locator("input[type=password]").first
    field.fill(password)
    with page.expect_navigation():
        field.press("Enter")
    arrived = urlsplit(page.url).path
    told = page.locator("body").inner_text()[:500]
    assert arrived.startswith("/admin/") and "login" not in arrived, f"arrived at {arrived}: {told}"
