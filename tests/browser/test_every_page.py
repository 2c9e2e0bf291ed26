"""Every page that the demo's operator can reach by links, in light and in dark.

`NEXUS_SCREENSHOTS=folder` keeps a picture of each page and theme.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from django.urls import Resolver404, resolve
from playwright.sync_api import Error, Page

from tests.browser.axe import serious_findings
from tests.browser.conftest import SignIn
from tests.browser.watch import Watch

# With fewer the crawler has lost its way: lists, pages and forms of each thing that the console shows.
PATTERNS_AT_LEAST = 15
# Two pages of a kind: a second one often shows what the first one lacks (an umbrella, an empty list).
PAGES_A_PATTERN = 2
# Of lists sorted or filtered, one of each list is enough.
PAGES_A_PATTERN_WITH_QUERY = 1
# They say where on a page one is, or came from; a page differs little by them.
_PLACES = {"_changelist_filters", "_facets", "o", "p", "q", "next", "page"}

# Swagger UI nests its buttons; that is theirs to mend.
_NOT_OURS = {"docs": {"nested-interactive"}}


def test_every_page_is_whole(signed_in_page: SignIn, watch: Watch) -> None:
    page = signed_in_page(afresh=True)
    findings: list[str] = []
    seen: Counter[str] = Counter()
    coloured: set[str] = set()

    for name, path in crawl(page, seen):
        # Contrast takes most of the time, and a second page of a kind has the colours of the first.
        colours = name not in coloured
        coloured.add(name)
        found = look_at(page, path, name, watch, colours=colours)
        findings += [f"{path} ({name}): {finding}" for finding in found]

    patterns = {name.split()[0] for name in seen}
    assert len(patterns) >= PATTERNS_AT_LEAST, f"only {sorted(patterns)}"
    assert not findings, f"{len(findings)} findings on {sum(seen.values())} pages:\n" + "\n".join(findings)


def test_what_strangers_see_is_whole(new_page: Callable[..., Page], watch: Watch) -> None:
    page = new_page()

    findings = []
    for path, name in (("/admin/login/", "login"), ("/api/docs/", "docs")):
        findings += [f"{path}: {finding}" for finding in look_at(page, path, name, watch)]

    assert not findings, "\n".join(findings)


def crawl(page: Page, seen: Counter[str]) -> Iterator[tuple[str, str]]:
    """Addresses to look at, with the names of their patterns. Links are read from the page in between."""
    queue, queued, with_query = deque(["/admin/"]), {"/admin/"}, Counter[str]()
    while queue:
        path = queue.popleft()
        address = urlsplit(path)
        name = pattern_of(address.path)
        if name is None or name.endswith(("logout", "jsi18n", "schema")):
            continue
        tab = dict(parse_qsl(address.query)).get("tab", "")
        kind = f"{name} {tab}".strip()
        plain = not set(dict(parse_qsl(address.query))) - {"tab"}
        count, bound = (seen, PAGES_A_PATTERN) if plain else (with_query, PAGES_A_PATTERN_WITH_QUERY)
        if count[kind] >= bound:
            continue
        count[kind] += 1
        yield kind, path
        for link in links_of(page):
            if link not in queued:
                queued.add(link)
                queue.append(link)


def links_of(page: Page) -> list[str]:
    """Addresses of this server on the page, those without a query first, as paths."""
    here = urlsplit(page.url)
    found = []
    for link in page.eval_on_selector_all("a[href]", "all => all.map((one) => one.href)"):
        address = urlsplit(link)
        if (address.scheme, address.netloc) == (here.scheme, here.netloc):
            query = dict(parse_qsl(address.query))
            if query and not set(query) - _PLACES and "next" not in query:
                continue
            found.append(address.path + (f"?{address.query}" if address.query else ""))
    return sorted(set(found), key=lambda path: ("?" in path, path))


def pattern_of(path: str) -> str | None:
    """The name of the address's pattern in the product's own URLs; None for what is no page of it."""
    try:
        return resolve(path).view_name or None
    except Resolver404:
        return None


def look_at(page: Page, path: str, name: str, watch: Watch, *, colours: bool = True) -> list[str]:
    """What is wrong with the page at `path`, which stays open."""
    without: Collection[str] = _NOT_OURS.get(name, set()) | (set() if colours else {"color-contrast"})
    try:
        answer = page.goto(path)
    except Error as error:
        # A file to keep, such as an export: it has no page.
        if "Download is starting" in error.message:
            return watch.take()
        raise
    # What Alpine has not drawn yet is hidden; Swagger UI draws once it has the schema.
    page.wait_for_selector("html:not([x-cloak])")
    if name == "docs":
        page.wait_for_selector(".opblock")
    found = []
    if answer is None or answer.status != 200:
        found.append(f"answered {answer.status if answer else 'nothing'}")
    if not page.title().strip():
        found.append("has no title")
    too_wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if too_wide > 0:
        found.append(f"is {too_wide} px wider than the window")
    # The sidebar is the same everywhere: the first page answers for it.
    beside = () if path == "/admin/" else ("#nav-sidebar",)
    found += [f"light: {each}" for each in serious_findings(page, without=without, beside=beside)]
    picture(page, name, "light")
    if page.evaluate("typeof Alpine") == "object":
        # As the theme switch does it; what is not colour is the same in both.
        page.evaluate("Alpine.$data(document.documentElement).adminTheme = 'dark'")
        page.wait_for_selector("html.dark")
        found += [f"dark: {each}" for each in serious_findings(page, only=["color-contrast"], beside=beside)]
        picture(page, name, "dark")
        page.evaluate("Alpine.$data(document.documentElement).adminTheme = 'light'")
    return found + watch.take()


def picture(page: Page, name: str, theme: str) -> None:
    if folder := os.environ.get("NEXUS_SCREENSHOTS"):
        number = len(list(Path(folder).glob("*.png"))) if Path(folder).is_dir() else 0
        page.screenshot(
            path=Path(folder) / f"{number:03}-{re.sub('[^a-z0-9]+', '-', name)}-{theme}.png", full_page=True
        )
