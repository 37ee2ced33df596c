"""A Django project whose worker is a management command.

    pip install django
    inngest-connect gateway          # in another terminal
    python examples/django_shop/manage.py runconnect
    curl http://127.0.0.1:8288/invoke/shop-charge -d '{"data": {"order": 7, "amount": 42}}'

The function writes to the database, ``orders.sqlite3`` beside this file.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
