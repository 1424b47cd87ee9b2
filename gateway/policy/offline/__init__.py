"""Examining policies without traffic: check, tables, compare, put in force.

    checking      schema, decision tables, articles, policies that never matter
    regional      what is checked of a region's layer
    tables        decision tables
    coverage      which policies and conditions the tables show
    writing       a new layer, and Cedar's own layout
    probing       random calls and acts to try a policy on
    comparing     two sets over everything that stands
    sample_calls  the calls that a grant covers, by kind
    possible      whether a dataset can be obtained: calls of every kind, until one is permitted
    aspects_read  what of a call policies look at
    normal_forms  all that decides in a state, with names replaced
    replaying     recorded uses, decided again under a candidate
    examining     a candidate's check, gains and losses
    authority     whose policies a set changes
    activating    putting a set in force, and keeping an engine at what is

Used from outside: `activating`, `authority`, `checking`, `comparing`, `coverage`, `examining`, `normal_forms`,
`possible`, `probing`, `replaying`, `sample_calls`, `tables`, `writing`.
"""
