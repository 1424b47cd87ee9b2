"""Who is calling, proven: credential to `Caller`, tokens, and the keys everything rests on.

    life of a token
      client ──assertion or certificate, DPoP proof──> control plane's token endpoint       assertions, dpop
      ring ──token key──> issuer ──at+jwt, 5 minutes, bound to the key that was shown──>     keyring, tokens
      client ──token, proof──> worker: strict reading, verification, binding ──> Caller      strict, verify, caller
      change feed ──system, key──> worker forgets                                            caller.forget

    strict    one reading of every byte, before any library
    signer    what signs, here or in an HSM or KMS
    keys      every key of a gateway: which are taken, where they lie, what they sign and seal
    tokens    issued, and verified step by step
    callers   credential to `Caller`
    suppliers what suppliers are shown of who calls
    officers  officers sign in

Assurance, weakest first: `legacy` (signed headers without the body), `bearer`, `dpop` (RFC 9449), `mtls` (RFC 8705).
It reaches the policies with every call. What an officer may do is the policies' answer, and no part of this room.
"""
