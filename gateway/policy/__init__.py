"""The law, the directory, grants and orders as Cedar policies; deciding by them, and explaining.

    policies/ (Cedar files) ──load_layers──> Layers ──┐
                                                      ├─ Slice (one department, one dataset) ──evaluate──> Verdict
    state (entry, grants, orders) ──building────────┘

    law      the static layers, and what policies can see
    live     decides live traffic and officers' acts: slices, verdicts, refusals, quotas
    offline  examines policies without traffic: check, tables, compare, put in force
    proofs   proves sentences of the law of the policies, over every request there can be

- `law.layers` reads and validates the static layers; `live.building` makes entries, grants and orders into policies, in
  Cedar's JSON form; `live.slices` decides; `live.refusals` explains; `live.engine` holds slices and verdicts and drops
  them; `live.deciding` brings it to an event loop.
- Decisions are Cedar's alone. What Python adds is the question: under which grant is this use made? See `live.slices`.
"""

from gateway.policy.law.layers import Layers, default_policies_root, load_layers
from gateway.policy.live.convergence import DrawnBook
from gateway.policy.live.deciding import Decider
from gateway.policy.live.engine import Engine
from gateway.policy.live.quotas import QuotaMeter

__all__ = ["Decider", "DrawnBook", "Engine", "Layers", "QuotaMeter", "default_policies_root", "load_layers"]
