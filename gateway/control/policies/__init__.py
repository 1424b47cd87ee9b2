"""Policies on the control plane: what is in force, candidates, and what would change.

    routes      what is in force, and why a call would be denied
    calls       a call that somebody asks about
    activation  putting policies in force, taking them back, shadows
    desk        keeps those in force, examines candidates
    standing    what stands in the state, as a comparison reads it

Used from outside: `activation`, `calls`, `desk`, `routes`, `standing`.
"""
