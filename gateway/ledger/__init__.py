r"""The ledger: every use on record, provable for three years (Decree 809 Art. 29).

An auditor who trusts nobody can prove that a record stood there and that none was removed or changed; a crash loses
nothing that was answered. This text specifies what lies on disk, byte by byte; the modules say the rest.

Life of a record

    UseJournal.opened      journal.entries   canonical bytes with a salt, made once
      -> writer thread     journal.writer    one write and one fdatasync for all that wait; then the waiters are told
      -> durable           journal.segments  `durable` names the sequence up to which every frame is synced
    Integrator.step        journal.segments  reads what is confirmed, writer after writer: this is leaf order
      -> TiledLog.commit   log.tiled_log     leaf hashes, tiles, root; signed; compared and swapped in signer.db
      -> LogFiles          log.files         tiles, bundles synced together, put in place; `checkpoint` renamed
      -> Index.add         index             one row a use; it can be found
    Integrator             process           a segment that is wholly in the log goes

Layout below `ledger/`

    journal/<writer>/<first sequence, 20 digits>.journal   segments
    journal/<writer>/durable, lock, *.tmp, *.broken        confirmed sequence; lock; being made; kept by a repair until
                                                           the first record in it is pruned
    tree/checkpoint, tree/cosigned, tree/minimum-index     what is served beside the tiles
    tree/tile/...                                          hash tiles and bundles, see `log.files`
    tree/kept                                              which leaves below `minimum-index` stay, see `log.kept`
    tree/pruning.json, tree/kept.next                      a prune under way
    signer.db                                              what was signed last, see `signing`
    archive.json                                           how far the object store came, see `archive.archiving`
    index/manifest.json, index/date=YYYY-MM-DD/*.parquet   the index, see `index.manifest`; beside each `.subjects`

A segment (integers little-endian; the file is preallocated with zeros)

    8    magic `SGJRNL1\n`
    .    frames, one after the other; the first is the opening, each further one is an entry

A frame

    4    length n of the payload; 0 is the preallocated end
    4    CRC-32 (zlib) of the payload, continued from the frame before; the opening's from the CRC-32 of the magic
    n    the payload: an entry of at most 65,535 bytes; the opening at most 16 MiB

The opening is JSON: `v` (1), `writer`, `run` (the writer's start), `first` (sequence of the first entry), `chain` (the
CRC-32 at which the segment before this ended), `open` ([record id, retention years] of the uses open then). So the
newest segment alone says which uses were open when a writer died; each of them gets one `recovered`.

`durable` is the confirmed sequence, uint64 big-endian, and the same with every bit turned. It is written after the
sync has returned and never before. What is broken at or below it is corruption: it is named and nothing starts. What
is broken above it is a torn tail: a `.broken` copy is kept, the whole frames are rewritten to a new file and synced. It
stands before the first segment: where it is missing beside one, or its halves do not agree, that is corruption too.

An entry is canonical JSON (`journal.entries`). All have `v`, `kind`, `id`, `time` (Unix ns), `retain_until`, `salt`:

    use.opened    request, trace, subject?, use{what the verdict and the caller fix}; `v` is 2: purpose is a registered
                  name, purpose, scenario and operator else `sealed:` and a digest (`gateway.domain.texts`); in `v` 1
                  they are the caller's own words
    use.closed    bytes, digest?, duration_us, end, items (released), rows, status; `id` is that of its opening
    use.refused   as use.opened, with code, articles and near (grants that came near, and what failed) in `use`
    recovered     `id` is that of its opening: the use was open when its writer died
    prune         first, end (leaves), officer, and step: begun (rule, plan: digest, kept: digest of what stays, and
                  kept_entries, gone_entries), in the log before anything goes; done (intent: the id of the begun one,
                  kept, freed_bytes) or failed (intent, code, reason) after it
    others        an act's own fields (`journal.acts`), and of what an officer says in it `sealed:` and a digest (in
                  entries of before the words themselves); effect, storage, destruction, order, grant, directory,
                  policy, key, export, consultation (a reading, or an officer's sign-in: act `signIn`, method)

A list of names (items, policies) that does not fit is replaced by two words: `(N items)`, and `sha256:` with the digest
of the list as JSON.

A record id is `run-number`: 12 characters of the writer's start (8 of its second, base32hex, then 4 random), a count.

The log is C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-witness and tlog-proof to the letter;
at rest, bundles have the form `log.at_rest` specifies, and are served in theirs.

An optimisation names its benchmark: `tests/bench/ledger_*.py`. Formats change with their `v` or magic, never quietly.

The rooms, and what stands beside them:

    journal   what makes a record durable
    log       the signed tree over all entries
    retention what may go from it, and when
    witness   others hold this log to one history, and this node holds theirs
    index     records as rows, for questions, exports and figures
    archive   the log on an object store as well, under object lock
    verify    the verifier: it reads the formats and writes none
    process   the process that integrates and answers
    durable   files that stand when a call returns
    names     names that files bear while they are written

Invariants upheld here: RECORD-FIRST (`journal.uses`, `journal.writer`), APPEND-ONLY (`durable`, `log.files`,
`retention.retention`), NEVER-FORKED (`log.signing`, `log.tiled_log`, `witness.cosigning`, `process.service`), NO-VALUES
(`journal.entries`).
"""
