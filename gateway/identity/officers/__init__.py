"""Officers sign in: by an account of this gateway, or at an OpenID provider.

    accounts        local accounts, and how guesses are slowed
    one_time_codes  their second factor (RFC 6238)
    passwords       which passwords are taken; hashing within a budget of memory
    oidc            sign-in at an OpenID provider
    oidc_endpoints  that provider as it is reached: metadata, keys, requests
    pairing         what a command line and the gateway both make of a sign-in by a browser

Used from outside: `accounts`, `oidc`, `one_time_codes`, `pairing`, `passwords`.
"""
