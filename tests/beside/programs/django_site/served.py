"""Functions in a module that imports models."""

from django.contrib.contenttypes.models import ContentType
from shop import apps

assert ContentType._meta.app_label == "contenttypes"
__all__ = ["apps"]
