"""Give grants the id that addresses and documents name them by."""

from typing import Any

from django.db import migrations, models

import apps.core.ids


def fill(registry: Any, schema_editor: Any) -> None:
    grants = registry.get_model("services", "ServiceGrant")
    rows = grants.objects.using(schema_editor.connection.alias)
    for pk in list(rows.filter(public_id=None).values_list("pk", flat=True)):
        rows.filter(pk=pk).update(public_id=apps.core.ids.uuid7())


class Migration(migrations.Migration):
    dependencies = [
        ("services", "0002_workload_identity"),
    ]

    operations = [
        migrations.AddField(
            model_name="servicegrant",
            name="public_id",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="servicegrant",
            name="public_id",
            field=models.UUIDField(default=apps.core.ids.uuid7, editable=False, unique=True),
        ),
    ]
