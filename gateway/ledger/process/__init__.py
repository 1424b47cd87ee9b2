"""The ledger process: from journals to log to index, and answers to questions.

    integrator  what it does all day
    service     the process: integrates, prunes, keeps the index, answers
    horizon     how far an answer has to know to be whole
    questions   questions over a Unix socket
    answers     one function a question
    client      what the control process asks with

Used from outside: `answers`, `client`, `service`.
"""
