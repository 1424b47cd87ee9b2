"""The log: a signed Merkle tree over all entries, as C2SP tlog-tiles has it; never two roots for one size.

Arithmetic (`tiles`, `tree`, `proofs`), text (`notes`, `checkpoints`, `decimals`) and files (`files`, `signing`) are
apart; `tiled_log` puts them in the order in which a crash at any point is harmless.

    tiles        which tile holds which hash
    tree         the tree's right edge
    proofs       inclusion and consistency proofs
    notes        signed notes
    checkpoints  checkpoints and cosignatures
    decimals     numbers in text from outside
    bundles      entry bundles as they are served
    at_rest      entry bundles as they lie on disk
    reading      tiles and bundles below `tree/`, read
    files        the same, written
    signed       what `signer.db` holds, read
    signing      `signer.db`: what was signed last, the one place of commit
    tiled_log    entries in, a signed checkpoint out
    record_ids   what a record id and its moment can be
    minimum      the leaf up to which retention has looked through the log
    kept         what stays below it: which leaves, and their entries
    export_names where an export's manifest stands

Used from outside: `at_rest`, `bundles`, `checkpoints`, `decimals`, `export_names`, `files`, `kept`, `minimum`, `notes`,
`proofs`, `reading`, `record_ids`, `signed`, `signing`, `tiled_log`, `tiles`, `tree`.
"""
