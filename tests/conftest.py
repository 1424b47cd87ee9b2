"""What every test shares: a reproducible search for counterexamples, without time limits on single examples."""

from hypothesis import settings

settings.register_profile("gateway", derandomize=True, deadline=None)
settings.load_profile("gateway")
