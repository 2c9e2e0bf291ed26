"""Accessibility by axe-core (WCAG 2, A and AA, and its best practices)."""

from collections.abc import Collection
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Of long tables the first rows: the others are drawn alike, and contrast takes a millisecond a cell.
_ALIKE = ("tbody tr:nth-child(n+7)", "tbody:nth-of-type(n+7)")

_RUN = """async ([context, options]) => (await axe.run(context, options)).violations.map((found) => ({
    id: found.id, impact: found.impact, help: found.help,
    targets: found.nodes.map((node) => node.target.join(" ")),
    why: (found.nodes[0].any.concat(found.nodes[0].all)[0] || {}).message || "",
}))"""


def serious_findings(
    page: Page, *, only: Collection[str] = (), without: Collection[str] = (), beside: Collection[str] = ()
) -> list[str]:
    """Serious and critical findings on the page as it stands, one line each.

    `only` and `without` name rules, `beside` what of the page is left out.
    """
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    options["rules"] = {rule: {"enabled": False} for rule in without}
    # Through the devtools protocol, to which the page's policy does not apply.
    if page.evaluate("typeof axe") != "object":
        page.evaluate(AXE_SCRIPT)
    # axe refuses to leave out what is not there.
    left_out = [each for each in (*_ALIKE, *beside) if page.locator(each).count()]
    context = {"include": ["html"], "exclude": left_out}
    return [
        f"{each['id']} ({each['impact']}), {len(each['targets'])} times: {each['help']};"
        f" {', '.join(each['targets'][:3])}; {each['why']}"
        for each in page.evaluate(_RUN, [context, options])
        if each["impact"] in ("serious", "critical")
    ]
