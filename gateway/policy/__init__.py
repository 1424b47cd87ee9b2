"""The law, the directory, grants and orders as Cedar policies; deciding by them, and explaining.

    policies/ (Cedar files) ──load_layers──> Layers ──┐
                                                      ├─ Slice (one department, one dataset) ──evaluate──> Verdict
    state (entry, grants, orders) ──building────────┘

- `layers` reads and validates the static layers; `building` makes entries, grants and orders into policies, in
  Cedar's JSON form; `world` shows Cedar the directory and the call; `slices` decides; `refusals` explains;
  `engine` holds slices and verdicts and drops them; `deciding` brings it to an event loop; `convergence` knows what
  was lately drawn; `quotas` counts; `acts` decides what officers may do, `powers` lists who may.
- Decisions are Cedar's alone. What Python adds is the question: under which grant is this use made? See `slices`.
"""

from gateway.policy.law.layers import Layers, default_policies_root, load_layers
from gateway.policy.live.convergence import DrawnBook
from gateway.policy.live.deciding import Decider
from gateway.policy.live.engine import Engine
from gateway.policy.live.quotas import QuotaMeter

__all__ = ["Decider", "DrawnBook", "Engine", "Layers", "QuotaMeter", "default_policies_root", "load_layers"]
