import inngest
from django.contrib.contenttypes.models import ContentType
from django.db import close_old_connections

client = inngest.Inngest(app_id="site")


@client.create_function(fn_id="add", trigger=inngest.TriggerEvent(event="site/e"), retries=0)
def add(ctx: inngest.ContextSync) -> int:
    close_old_connections()
    ContentType.objects.create(app_label="shop", model="book")
    return ContentType.objects.filter(app_label="shop").count()


apps = [(client, [add])]
