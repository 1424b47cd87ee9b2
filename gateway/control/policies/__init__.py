"""Policies on the control plane: what is in force, candidates, and what would change.

    routes      what is in force, and why a call would be denied
    calls       a call that somebody asks about
    possible    whether a dataset can ever be obtained
    activation  the routes of activation, rollback, approval by another person, shadows
    authority   who puts which policies in force
    in_force    how policies come to be in force
    desk        keeps those in force, examines candidates
    standing    what stands in the state, as a comparison reads it

Used from outside: `activation`, `calls`, `desk`, `routes`, `standing`.
"""
