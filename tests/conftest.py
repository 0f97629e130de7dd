"""Property tests: the same examples in every run of the gate, and no deadline on a busy machine.

`pytest --hypothesis-profile=search` draws new ones.
"""

from hypothesis import settings

settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("gate")
