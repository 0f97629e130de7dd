"""The points of the default membership functions of the fuzzy split (see docs/fuzzy.md).

Trapezoids are (a, b, c, d), triangles (a, b, c), Gaussians (mean, sigma), one for each term.
"""

Points = tuple[tuple[float, ...], ...]

PRICE_FRAC: Points = ((0.0, 0.0, 0.3, 0.4), (0.2, 0.3, 0.7, 0.8), (0.6, 0.7, 1.0, 1.0))
TEMPERATURE_DEGC: Points = (
    (-40.0, -40.0, -10.0, -5.0),
    (-15.0, -10.0, 15.0, 20.0),
    (10.0, 15.0, 29.0, 32.0),  # alone from 20 to 26 degC: comfort after ASHRAE 55
    (26.0, 29.0, 39.0, 42.0),
    (36.0, 39.0, 50.0, 50.0),
)
HOUR: Points = ((-6.0, 0.0, 6.0), (0.0, 6.0, 12.0), (6.0, 12.0, 18.0), (12.0, 18.0, 24.0))
INTEREST_FRAC: Points = ((0.0, 0.0, 0.5), (0.0, 0.5, 1.0), (0.5, 1.0, 1.0))
CAPACITY_FRAC: Points = ((0.0, 0.0, 0.3, 0.4), (0.2, 0.3, 0.7, 0.8), (0.6, 0.7, 1.0, 1.0))
STORE: Points = ((-0.4, -0.1, 0.1, 0.4), (0.1, 0.4, 0.6, 0.9), (0.6, 0.9, 1.1, 1.4))
EXPORT: Points = ((-0.5, 0.0, 0.5), (0.0, 0.5, 1.0), (0.5, 1.0, 1.5))
P2P: Points = ((0.0, 0.2), (0.5, 0.2), (1.0, 0.2))
