"""One real 200 and 304 of `GET /api/v1/sync`, kept in a file for the servers that repeat them."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYNC_PATH = "/api/v1/sync"
KEY_HEADER = "X-Nexus-API-Key"

# The HTTP server writes these itself, for every target alike; repeated by an app they would stand twice.
_OF_THE_SERVER = {"date", "server", "connection", "keep-alive", "transfer-encoding"}

Header = tuple[str, str]


class WrongAnswerError(Exception):
    """A target answered something else than what is to be measured."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[Header]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for other, value in self.headers if other == name), "")


def fetch(port: int, headers: Mapping[str, str], path: str = SYNC_PATH) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
        received = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, received, body)
    finally:
        connection.close()


def _of_the_app(answer: Answer) -> list[Header]:
    return [(name, value) for name, value in answer.headers if name not in _OF_THE_SERVER]


@dataclass(frozen=True)
class Answers:
    """What a server has to send to be comparable: the headers of a 200 and of a 304, and the body."""

    etag: str
    full_headers: list[Header]
    unchanged_headers: list[Header]
    body: bytes

    @classmethod
    def record(cls, port: int, key: str) -> "Answers":
        """Take both answers from a running Nexus. Raises WrongAnswerError when they are not 200 and 304."""
        full = fetch(port, {KEY_HEADER: key})
        etag = full.header("etag")
        if full.status != 200 or not etag or not full.body:
            raise WrongAnswerError(f"GET {SYNC_PATH} gave {full.status}, ETag {etag!r}, {full.body[:300]!r}")
        unchanged = fetch(port, {KEY_HEADER: key, "If-None-Match": etag})
        if unchanged.status != 304 or unchanged.body:
            raise WrongAnswerError(
                f"GET {SYNC_PATH} with its own ETag gave {unchanged.status}, not an empty 304"
            )
        return cls(etag, _of_the_app(full), _of_the_app(unchanged), full.body)

    def save(self, path: Path) -> None:
        path.write_text(
            json.dumps(
                {
                    "etag": self.etag,
                    "full_headers": self.full_headers,
                    "unchanged_headers": self.unchanged_headers,
                    "body": self.body.decode("utf-8"),
                }
            ),
            encoding="utf-8",
        )

    @classmethod
    def load(cls, path: Path) -> "Answers":
        stored = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            etag=stored["etag"],
            full_headers=[(name, value) for name, value in stored["full_headers"]],
            unchanged_headers=[(name, value) for name, value in stored["unchanged_headers"]],
            body=stored["body"].encode("utf-8"),
        )


def verify_repeats(port: int, key: str, answers: Answers, etag: str, *, same_headers: bool) -> None:
    """Raise WrongAnswerError unless the target gives the recorded body, and an empty 304 for `etag`.

    With `same_headers` the headers must agree as well, in name and length: a request id differs from
    answer to answer, and its length is what the wire sees.
    """
    full = fetch(port, {KEY_HEADER: key})
    unchanged = fetch(port, {KEY_HEADER: key, "If-None-Match": etag})
    if (full.status, full.body) != (200, answers.body):
        raise WrongAnswerError(
            f"port {port}: {full.status} with {len(full.body)} bytes is not the recorded answer"
        )
    if (unchanged.status, unchanged.body) != (304, b""):
        raise WrongAnswerError(
            f"port {port}: {unchanged.status} with {len(unchanged.body)} bytes, not an empty 304"
        )
    if same_headers:
        for answer, recorded in ((full, answers.full_headers), (unchanged, answers.unchanged_headers)):
            if _shape(_of_the_app(answer)) != _shape(recorded):
                raise WrongAnswerError(
                    f"port {port}: headers {answer.headers} are not the recorded {recorded}"
                )


def _shape(headers: list[Header]) -> list[tuple[str, int]]:
    return sorted((name, len(value)) for name, value in headers)
