"""What a browser complains of while a test uses it."""

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => window.nexusTellViolation(
    `${event.effectiveDirective} blocked ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`));
"""


class Watch:
    """Collects console errors, uncaught exceptions, policy violations and requests to other hosts."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.complaints: list[str] = []

    def over(self, context: BrowserContext) -> None:
        # Both are put in through the devtools protocol, to which no policy applies.
        context.expose_function("nexusTellViolation", self._violation)
        context.add_init_script(_TELL_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", self._exception)
        context.on("request", self._request)

    def expect(self, text: str) -> None:
        """Take back complaints that contain `text`; there must be one.

        For tests that provoke it: the browser tells each answer of 400 and above as an error.
        """
        kept = [complaint for complaint in self.complaints if text not in complaint]
        assert len(kept) < len(self.complaints), f"no complaint holds {text!r}: {self.complaints}"
        self.complaints[:] = kept

    def take(self) -> list[str]:
        """All complaints so far, which are then forgotten."""
        taken = list(self.complaints)
        self.complaints.clear()
        return taken

    def _violation(self, text: str) -> None:
        self.complaints.append(f"policy violation: {text}")

    def _console(self, message: ConsoleMessage) -> None:
        place: Any = message.location
        # Asked for once by the browser itself, where an answer such as a JSON problem names no icon.
        if message.type == "error" and not place["url"].endswith("/favicon.ico"):
            self.complaints.append(f"console: {message.text} ({place['url']}:{place['lineNumber']})")

    def _exception(self, error: WebError) -> None:
        self.complaints.append(f"uncaught: {error.error}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        inside = ("data", "blob", "about")
        if address.scheme not in inside and f"{address.scheme}://{address.netloc}" != self.origin:
            self.complaints.append(f"request to another host: {request.url}")
