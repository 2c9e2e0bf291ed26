"""The process in which an archive is tried out: `python -m nexus.backup.scratch FILE`.

It is started by `nexus.backup.rehearsal` with a database of its own and prints one JSON object.
"""

import base64
import json
import os
import sys
from pathlib import Path

import django
from django.conf import settings

from nexus.environment import settings_module


def _add_own_root_key() -> None:
    """Put a new root key before those of the settings: it wraps whatever is restored."""
    from apps.core.crypto import new_key

    given = settings.NEXUS_ROOT_KEY
    if not given and settings.NEXUS_ROOT_KEY_FILE:
        given = Path(settings.NEXUS_ROOT_KEY_FILE).read_text(encoding="ascii").replace("\n", ",")
    own = base64.urlsafe_b64encode(new_key()).decode("ascii").rstrip("=")
    settings.NEXUS_ROOT_KEY = f"{own},{given}"


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = settings_module(sys.argv)
    django.setup()
    from nexus.backup.rehearsal import try_out

    _add_own_root_key()
    print(json.dumps(try_out(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
