"""Who acts: tokens for systems, sessions for officers, and the credentials of both.

    oauth        the token endpoint and what describes it
    sign_in      officers, by a session token, and how they come by one
    credentials  keys, systems' keys of older contracts, passwords: each act decided and recorded

Used from outside: `credentials`, `oauth`, `sign_in`.
"""
