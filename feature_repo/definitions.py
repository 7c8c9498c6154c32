"""Feast objects, generated from the schema: one view per entity over its snapshots, one service over both.

The service carries the schema's hash, so that a store applied with another schema has no such service.
"""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32

from feature_repo.schema import SCHEMA, Feature, Group

SNAPSHOTS = {"user": "user_snapshots", "item": "item_snapshots"}
VIEWS = {"user": "user_features", "item": "item_features"}
KEYS = {"user": "user_id", "item": "item_id"}
UNLIMITED = timedelta(0)  # Feast: no time to live; whoever reads compares ages itself

USER = Entity(name="user", join_keys=[KEYS["user"]], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=[KEYS["item"]], value_type=ValueType.STRING)


def service_name() -> str:
    """Name of the feature service of this schema."""
    return f"recommend_{SCHEMA.hash}"


def view(group: Group, features: Path) -> FeatureView:
    """The view of one group over its snapshots below the `features` folder."""
    source = FileSource(
        name=SNAPSHOTS[group],
        path=str(features / SNAPSHOTS[group]),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    return FeatureView(
        name=VIEWS[group],
        entities=[USER if group == "user" else ITEM],
        ttl=UNLIMITED,
        schema=[_field(feature) for feature in SCHEMA.group(group)],
        source=source,
        online=True,
    )


def objects(features: Path) -> list[Entity | FeatureView | FeatureService]:
    """Everything to apply: entities, views and the service."""
    views = [view("user", features), view("item", features)]
    return [USER, ITEM, *views, FeatureService(name=service_name(), features=views)]


def references(group: Group) -> list[str]:
    """`view:feature` of one group, in column order."""
    return [f"{VIEWS[group]}:{feature.name}" for feature in SCHEMA.group(group)]


def _field(feature: Feature) -> Field:
    kind = Array(Float32) if feature.kind == "vector" else Float32
    return Field(name=feature.name, dtype=kind, description=feature.description)
