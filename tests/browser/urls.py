from django.urls import path

from nexus.urls import handler404, handler500, urlpatterns
from tests.browser.widgets import stock

__all__ = ["handler404", "handler500", "urlpatterns"]

# First, because the last of ours answers whatever is left.
urlpatterns = [path("stock/", stock.urls), *urlpatterns]
