"""Hypothesis profiles: few examples in every run, many with ``--hypothesis-profile thorough``."""

from hypothesis import settings

settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("everyday")
