"""What the regulation talks about, as frozen values: no I/O, no clock, no framework.

    errors      a refusal's code, status and words
    formulas    texts that a spreadsheet program would take for a formula
    free_text   what people say in their own words, and what may not stand in it
    texts       callers' words beside the log: what a record holds of them, and by what they are proven
    places      where something stands in a request or an answer, and what is read there
    nesting     how deep JSON nests, before a parser reads it
    circles     whose data counts together with a department's own
    classification  the classes of data, and the secrets that are none
    directory   departments, systems, datasets, data items, interfaces, purposes
    recipients  whether a department is one that an entry may be shared with
    regions     which region lies in which
    reorganisation  departments change: what goes where, by which rule
    conditions  what a grant asks of a use, each condition declared once
    header_fields  fields by which services are told who calls
    hosts       whose a supplier's host is, and what of it an interface may reach
    certificates  what suppliers are called with
    credentials   what suppliers are shown of who calls
    grants      what a supplier approved, and its life from issue to disposal
    lifecycle   a grant's life as a table of states and acts
    orders      suspensions and terminations that reach wider than one grant
    processes   applications, verifications, disputes: each a table of states and steps
    proposals   a grant on its way: approved by acts on both sides
    officers    people who act, their roles, and the acts they may ask for
    callers     who calls, and how well that is proven
    verdicts    the answer of a decision: a value, never a truth
    uses        one use of data, from opened to closed, as its record names it
    policies    sets of policies: their files, digest and activation
    state       what one decision reads of the state
    words       what docstrings say of fields, for bodies and options
    changes     what a committed change touches, so that what was kept can be dropped
    calendar    clocks in working days

Times are aware `datetime`s where people set them (grants, orders) and integer Unix milliseconds or nanoseconds,
named so, where machines measure them.
"""
