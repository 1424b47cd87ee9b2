"""Figures, logs and traces of all processes. NO-VALUES holds here: no personal data, no credentials.

    families   every metric: name, unit, labels, words
    metrics    what is counted, and how all processes' counts become one page
    coarse     what tells of uses, in steps
    observing  from the parts of a process to its figures
    due        what falls due
    logs       one JSON object a line
    spans      from a worker to the exporter
    exporter   OpenTelemetry spans to a collector

Used from outside: `coarse`, `due`, `exporter`, `families`, `logs`, `metrics`, `observing`, `spans`.
"""
