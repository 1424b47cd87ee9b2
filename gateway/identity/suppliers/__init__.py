"""What the gateway shows a supplier that asks who calls.

    credentials  what is taken as a credential, and how it is sealed
    showing      credentials that are the same at every call
    tokens       bearer tokens by client credentials: fetched once for all, renewed before their end

Secrets are opened by who calls a supplier, and by nobody else; they stand in no record, log, list or answer.

Used from outside: `credentials`, `showing`, `tokens`.
"""
