"""The main job on embedded defaults: real HTTP, real policies, real records, over a synthetic population.

population  persons, marriages and companies made by a seeded generator; nobody real
suppliers   three supply departments' service interfaces as HTTP servers on loopback
world       the directory, the demand departments, the officers and the grants
story       what a demand system, a supplier's officer and an auditor do, step by step
sample      the same in a home of one's own: furnished by `gateway init --sample`, played beside `gateway serve`
"""
