"""TRANSFORM: values made of others."""

from typing import ClassVar

from flowledger.nodes.options import OBJECT, Schema


class TransformNode:
    """Returns ``template`` rendered; without one, its whole config is the template."""

    config_schema: ClassVar[Schema] = OBJECT
