"""What an operator does with a gateway: make it, look at it, back it up, speak to it.

    setup           makes a gateway
    status          what runs, what is wrong and what to do
    checking        all that a start needs, without starting
    unreachable     interfaces that cannot be called, for status
    backup          a backup of a home, running or not
    restore         puts one in place of what was lost
    restore_log     the log's part of that
    differences     what a restored state does not have and the log tells of
    api             the control API for the command line
    remote          what shows a session to a gateway elsewhere
    sessions        where a session is kept on a user's machine
    signing_in      how a person at a command line comes by a session
    loopback        the listener that a browser comes back to
    formats         schemas and samples of what people hand in
    officer_tokens  tokens of officers, signed on the spot
    ring_document   a home's key ring as one document
    standing        everything that stands in a home's state
    pages           the pages of `docs/` that are made from the code

Used from outside: `api`, `backup`, `checking`, `differences`, `formats`, `officer_tokens`, `restore`, `ring_document`,
`sessions`, `setup`, `signing_in`, `standing`, `status`.
"""
