"""What every route of the control plane is made of: one path of an act, one form of bodies, pages and problems.

    acting         authorize, transact, record, commit, hold, answer
    deeds          one act while it is done: found, decided, and only then read or written
    words          what an officer says, sealed into the state so that the record names it by digest
    recorded       an act's record: it stands, was voided, or the state has still to say
    cases          a case while an act moves it
    lanes          one for stops, one for the rest
    services       what the routes need, wired once
    scopes         whose grants, records and figures an officer may see
    bodies         request bodies to domain values, every fault at once
    paging         the parameters of lists by page, and JSON as it goes out
    pages          pages of what one may see, by cursors that tell nothing
    preconditions  `ETag` and `If-Match`
    problems       errors to RFC 9457 responses
    addresses      where a request comes from
    nodes          a request about another node's things goes on to that node
    examples       examples of the OpenAPI document

Used from outside: `acting`, `addresses`, `bodies`, `cases`, `deeds`, `examples`, `lanes`, `nodes`, `pages`, `paging`,
`preconditions`, `problems`, `recorded`, `scopes`, `services`.
"""
