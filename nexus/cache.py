"""How values of the cache are written in Redis."""

import json
from typing import Any


class JsonSerializer:
    """JSON in place of Django's pickle: who writes into Redis must not run code here."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
