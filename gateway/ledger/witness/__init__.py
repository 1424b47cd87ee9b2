"""Witnesses: other nodes that hold this log to one history, and this node holding theirs.

    witness    the protocol: asking for cosignatures, and giving them
    cosigning  getting this log's checkpoints cosigned, off the path of integration
    mirror     a copy of a log at work that verifies by itself

Used from outside: `cosigning`, `mirror`, `witness`.
"""
