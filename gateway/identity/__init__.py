"""Who is calling, proven: credential to `Caller`, tokens, and the keys everything rests on.

    life of a token
      client ──assertion or certificate, DPoP proof──> control plane's token endpoint       assertions, dpop
      ring ──token key──> issuer ──at+jwt, 5 minutes, bound to the key that was shown──>     keyring, tokens
      client ──token, proof──> worker: strict reading, verification, binding ──> Caller      strict, verify, caller
      change feed ──system, key──> worker forgets                                            caller.forget

    strict         one reading of every byte, before any library
    jwk            which public keys are taken, and what each may verify
    signer         what signs, here or in an HSM or KMS
    suite          cipher suites, international and commercial
    keyfiles       key files on disk
    keyring        every key of a gateway, by purpose; rotation
    symmetric      sealed fields, pseudonyms
    sm2            SM2 signatures behind `signer`, where `gmssl` is installed
    tokens         issuing
    verify         verifying, step by step
    issuers        issuers that settings trust besides this gateway
    assertions     client authentication at the token endpoint
    dpop           proofs of possession
    nonces         what proofs must bear: of the whole cluster
    certificates   binding to client certificates
    supplier_certificates  certificates that suppliers are called with: parsed, checked, sealed
    legacy         contracts of existing sharing platforms
    replay         what was used once, shared by a node's workers, or by a cluster's
    caller         credential to `Caller`: what the data plane asks
    accounts       officers' local accounts, and how guesses are slowed
    one_time_codes the second factor of local accounts
    passwords      which passwords are taken; hashing within a budget of memory
    oidc           officers' sign-in at an OpenID provider
    oidc_endpoints that provider as it is reached: metadata, keys, requests
    pairing        what a command line and the gateway both make of a sign-in by a browser
    security_log   counters and a rate-limited log of refusals; budgets of failures

Assurance, weakest first: `legacy` (signed headers without the body), `bearer`, `dpop` (RFC 9449), `mtls` (RFC 8705).
It reaches the policies with every call. What an officer may do is the policies' answer, and no part of this room.
"""
