"""Who acts: tokens for systems, sessions for officers, and the credentials of both.

    oauth        the token endpoint and what describes it
    sign_in      officers, by a session token, and how they come by one
    account      what an officer does with the own account: its password, its sessions, its news
    enrolment    codes by which an owner alone sets a password; another one by two persons
    credentials  keys, systems' keys of older contracts: each act decided and recorded

Used from outside: `credentials`, `enrolment`, `oauth`, `sign_in`.
"""
