"""What a stranger, a viewer, nobody and a workload's key get at every door of the management API.

Written out by hand from SPEC 3, one line an operation of the OpenAPI schema: an operation without a
line fails the suite. `mallory` owns another tenant, `vic` views the project.
"""

from dataclasses import dataclass, field
from typing import Any

# Ids in bodies, taken from the world of the test; in the second try, random ones.
TENANT, PROJECT, SERVICE, UMBRELLA = "$tenant", "$project", "$service", "$umbrella"


@dataclass(frozen=True)
class Line:
    """`mallory` and `vic` are the statuses that they get with the ids of what is not theirs."""

    mallory: int
    vic: int
    body: dict[str, Any] | None = field(default=None)


MATRIX: dict[str, Line] = {}
