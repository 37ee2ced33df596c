import pytest
from django_site.functions import add, apps
from rounds_in_tests import play_on_a_thread


@pytest.mark.django_db(transaction=True)
def test_functions_share_the_database(gateway_thread):
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.create(app_label="shop", model="pen")
    with gateway_thread.connect(apps):
        assert gateway_thread.invoke(add).output == 2
    assert ContentType.objects.filter(app_label="shop").count() == 2


def test_the_round(gateway_thread):
    play_on_a_thread(gateway_thread)
