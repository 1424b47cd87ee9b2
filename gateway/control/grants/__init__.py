"""Grants: issue, the acts of a grant's life, wider orders, and figures (Decree 809 Art. 20 to 28, 35, 38).

    routes   issue, renew, list and show
    proposals  a grant on its way: proposed, and approved on both sides by acts
    checks   whether a grant can be issued: every reason against it at once
    life     suspension, lift, termination, closure, disposal, dispute
    stops    what stopping, lifting and ending a grant write
    duties   what a grant's life owes, as cases: rectification and disposal
    bodies   what those acts have to state
    orders   stops that reach wider than one grant
    reach    what a stop would reach, shown before it is given
    figures  what stands, what runs out, what is overdue

Used from outside: `duties`, `figures`, `life`, `orders`, `proposals`, `reach`, `routes`, `stops`.
"""
