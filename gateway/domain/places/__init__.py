"""Places: where something stands in a request or an answer, and what is read there.

    language   a place as a value, and its text
    documents  texts, JSON and XML with one meaning, or not at all
    condition  a free condition as equalities
    reading    what stands at places of a request
    answers    in which of an answer's documents the rows stand, and what stands beside them

Used from outside: `answers`, `documents`, `language`, `reading`.
"""
