"""Control: console and REST under WSGI."""

import os

from nexus.environment import settings_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from nexus.start import require_ready_to_serve  # noqa: E402

require_ready_to_serve()
