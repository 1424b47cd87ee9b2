"""What a gateway's settings say that policies read as facts: a decision of the competent department, and a bound."""

import msgspec

FIVE_YEARS_DAYS = 1827
"""Five calendar years: the most that the policies allow a grant to hold."""


class Settled(msgspec.Struct, frozen=True):
    """What the settings of one gateway settle.

    Args:
        decision: the reference of the competent department's decision by which a region's rules on uses without a
            grant are in force here; "" where there is none, and then they permit nothing.
        longest_grant_days: for how many days a grant may be approved or entered.
    """

    decision: str = ""
    longest_grant_days: int = FIVE_YEARS_DAYS


EXAMINED = Settled("a decision that is taken")
"""What policies are examined under: all that they could permit where everything is decided that can be."""
