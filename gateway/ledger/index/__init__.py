"""The index: records as rows, for questions, exports and figures. It can always be rebuilt from the log.

    rows            from entries to rows, one a use
    manifest        which files make up the index, and up to which leaf
    index           Parquet by day and a tail in memory, asked through DuckDB
    connection      a DuckDB of its own, bounded
    retired         files that were merged into others, until nobody reads them
    subject_filter  on which days one person's uses can lie
    unnamed         of which interfaces there are uses that name no person
    queries         questions as values, and the SQL they become
    figures         how much was used, by whom, and what was refused
    plots           figures as pictures
    exports         the records of a question as a file with a signed manifest

Used from outside: `exports`, `figures`, `index`, `manifest`, `plots`, `queries`,
`unnamed`.
"""
