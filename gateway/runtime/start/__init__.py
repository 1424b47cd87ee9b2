"""What is made sure before a gateway serves, and told to its operator.

    effect        which settings would do nothing, or never match
    exposure      what stands open or ends, by the files that settings name
    modes         files that their owner alone may read
    holders       which processes hold a home
    incarnation   which life a home is in, and whether the state in it is its own
    reconciling   record and act agree again at each start
    adopting      hosts and certificates of earlier versions, taken in
    naming        networks of suppliers that the settings do not name

Used from outside: `adopting`, `effect`, `exposure`, `holders`, `incarnation`, `modes`, `naming`, `reconciling`.
"""
