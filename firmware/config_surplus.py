"""`[surplus]`: how a site bends the fuzzy split of surplus energy."""

from typing import Annotated

from pydantic import Field

from control import surplus_shapes as shapes
from firmware.config_models import Fraction, Table

Number = Annotated[float, Field(ge=-1000, le=1000)]
Shapes = tuple[tuple[Number, ...], ...]


class Surplus(Table):
    """`[surplus]`: the membership functions of the fuzzy split, and its weights; see docs/fuzzy.md.

    One list of numbers per term: four for a trapezoid, three for a triangle, mean and sigma for a
    Gaussian.
    """

    price_frac: Shapes = Field(
        shapes.PRICE_FRAC, description="Low, medium, high; fractions of the tariff's range."
    )
    temperature_degc: Shapes = Field(
        shapes.TEMPERATURE_DEGC, description="Very cold, cold, normal, hot, very hot."
    )
    hour: Shapes = Field(shapes.HOUR, description="Midnight, morning, noon, evening; it wraps.")
    interest_frac: Shapes = Field(shapes.INTEREST_FRAC, description="Buyers: low, medium, high.")
    capacity_frac: Shapes = Field(
        shapes.CAPACITY_FRAC, description="Free share of the storage: low, medium, high."
    )
    store: Shapes = Field(shapes.STORE, description="Store: low, medium, high; trapezoids.")
    export: Shapes = Field(shapes.EXPORT, description="Export: low, medium, high; triangles.")
    p2p: Shapes = Field(shapes.P2P, description="Peers: low, medium, high; Gaussians.")
    store_weight: Fraction = Field(1.0, description="What storing counts; 0: never by this split.")
    export_weight: Fraction = Field(1.0, description="What export counts.")
    p2p_weight: Fraction = Field(1.0, description="What selling to peers counts.")
