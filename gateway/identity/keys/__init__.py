"""Every key of a gateway: which are taken, where they lie, what they sign and seal.

    jwk                    which public keys are taken, and what each may verify
    suite                  cipher suites, international and commercial
    sm2                    SM2 signatures behind `signer`, where `gmssl` is installed
    keyfiles               key files on disk
    keyring                every key of a gateway, by purpose; rotation
    symmetric              sealed fields, pseudonyms
    texts                  texts that records name by a digest: sealed with their salts
    supplier_certificates  certificates that suppliers are called with: parsed, checked, sealed

Used from outside: `jwk`, `keyring`, `sm2`, `supplier_certificates`, `symmetric`, `texts`.
"""
