"""Access tokens (RFC 9068): issued, and verified step by step.

    issuing  `at+jwt` of five minutes, bound to the key that was shown
    verify   verifying, step by step
    issuers  issuers that settings trust besides this gateway

Used from outside: `issuers`, `issuing`, `verify`.
"""
