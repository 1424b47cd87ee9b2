"""Deciding live traffic: slices, verdicts, refusals, quotas, and what officers may do.

    expressions  Cedar's expressions in its JSON form
    conditions   how each condition of a grant is upheld, and told
    building     entries, grants and orders as policies, in Cedar's JSON form
    slices       all that decides what one department may do with one dataset
    engine       slices and verdicts kept, and dropped when the state changes
    deciding     deciding on an event loop
    refusals     a denial in words
    quotas       a grant's calls and rows a day
    convergence  what may not be drawn together
    acts         whether an officer may do an act
    powers       who may do an act
    shadow       a candidate beside the active set, which only counts

Used from outside: `acts`, `building`, `conditions`, `convergence`, `deciding`, `engine`, `expressions`, `powers`,
`quotas`, `refusals`, `shadow`, `slices`.
"""
