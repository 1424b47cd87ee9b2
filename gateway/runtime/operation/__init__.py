"""What an operator does with a gateway: make it, look at it, back it up, speak to it.

    setup           makes a gateway
    recovery        a home copied, and put in place of what was lost
    session         the command line speaks to the control API, here or elsewhere
    status          what runs, what is wrong and what to do
    checking        all that a start needs, without starting
    unreachable     interfaces that cannot be called, for status
    formats         schemas and samples of what people hand in
    calendar        how far the notices of working days reach, for status and check
    standing        everything that stands in a home's state
    replay          a home's recorded uses, decided again under other policies
    pages           the pages of `docs/` that are made from the code
    law             the one of them that says which sentences of the law are proved

Used from outside: `checking`, `formats`, `recovery`, `replay`, `session`, `setup`, `standing`, `status`.
"""
