"""What an operator does with a gateway: make it, look at it, back it up, speak to it.

    setup           makes a gateway
    status          what runs, what is wrong and what to do
    backup          a backup of a home, running or not
    api             the control API for the command line
    officer_tokens  tokens of officers, signed on the spot
    ring_document   a home's key ring as one document
    standing        everything that stands in a home's state
    pages           the pages of `docs/` that are made from the code

Used from outside: `api`, `backup`, `officer_tokens`, `ring_document`, `setup`, `standing`, `status`.
"""
