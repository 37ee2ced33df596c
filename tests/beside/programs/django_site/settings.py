SECRET_KEY = "a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_site"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
