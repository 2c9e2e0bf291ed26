"""Delivery in front; what is not its own goes to Django's WSGI handler in a thread pool."""

import os

from nexus.environment import settings_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module())

from django.core.wsgi import get_wsgi_application

_control = get_wsgi_application()

from nexus.delivery.app import DeliveryApp  # noqa: E402
from nexus.delivery.bridge import WSGIBridge  # noqa: E402
from nexus.start import require_ready_to_serve  # noqa: E402

require_ready_to_serve()

application = DeliveryApp(otherwise=WSGIBridge(_control))
