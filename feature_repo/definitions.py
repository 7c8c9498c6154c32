"""Feast objects, generated from the schema: a view per group over its table, one service over all of them.

The service carries the schema's hash, so that a store applied with another schema has no such service. Users' rows
are online; items are read offline, when a generation's table is built.
"""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64

from feature_repo.feature import Feature
from feature_repo.schema import SCHEMA, Group

SNAPSHOTS = {"user": "user_snapshots", "history": "user_snapshots", "item": "item_snapshots", "content": "item_content"}
VIEWS: dict[Group, str] = {
    "user": "user_features", "history": "user_history", "item": "item_features", "content": "item_content",
}  # fmt: skip
ONLINE: tuple[Group, ...] = ("user", "history")
UNLIMITED = timedelta(0)  # Feast: no time to live; whoever reads compares ages itself

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def service_name() -> str:
    """Name of the feature service of this schema."""
    return f"recommend_{SCHEMA.hash}"


def view(group: Group, features: Path) -> FeatureView:
    """The view of one group over its table below the `features` folder."""
    source = FileSource(
        name=VIEWS[group],
        path=str(features / SNAPSHOTS[group]),
        timestamp_field="event_timestamp",
        created_timestamp_column="" if group == "content" else "created_timestamp",
    )
    owners = sorted({feature.owner for feature in SCHEMA.group(group)})
    return FeatureView(
        name=VIEWS[group],
        entities=[USER if group in ONLINE else ITEM],
        ttl=UNLIMITED,
        schema=[_field(feature) for feature in SCHEMA.group(group)],
        source=source,
        online=group in ONLINE,
        owner=", ".join(owners),
    )


def objects(features: Path) -> list[Entity | FeatureView | FeatureService]:
    """Everything to apply: entities, views and the service."""
    views = [view(group, features) for group in VIEWS]
    return [USER, ITEM, *views, FeatureService(name=service_name(), features=views)]


def references(*groups: Group) -> list[str]:
    """`view:feature` of the groups, in column order."""
    return [f"{VIEWS[group]}:{feature.name}" for group in groups for feature in SCHEMA.group(group)]


def _field(feature: Feature) -> Field:
    lists = {"vector": Array(Float32), "shares": Array(Float32), "sequence": Array(Int64)}
    kind = lists.get(feature.kind, Float32)
    tags = {"dtype": feature.dtype, "owner": feature.owner, "source": feature.source}
    return Field(name=feature.name, dtype=kind, description=feature.description, tags=tags)
