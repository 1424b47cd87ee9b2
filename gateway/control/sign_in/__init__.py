"""Who acts: tokens for systems, sessions for officers, and the credentials of both.

    oauth        the token endpoint and what describes it
    sign_in      officers, by a session token, and how they come by one
    possession   sessions that are bound to a key
    by_provider  sign-in at the OpenID provider's pages, and what it gives with a session
    command_line the same for a command line: a browser that comes back to it, or another device
    account      what an officer does with the own account: its password, its sessions, its news
    authenticators  the second factor of a local account
    enrolment    codes by which an owner alone sets a password; another one by two persons
    credentials  keys, systems' keys of older contracts: each act decided and recorded

Used from outside: `by_provider`, `credentials`, `enrolment`, `oauth`, `possession`, `sign_in`.
"""
