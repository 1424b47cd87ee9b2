"""Witnesses: other nodes that hold this log to one history, and this node holding theirs.

    witness    the protocol: asking for cosignatures, and giving them
    cosigning  getting this log's checkpoints cosigned, off the path of integration
    mirror     a copy of a log at work that verifies by itself
    adopting   how a copy goes on as a log of its own; what its records tell of acts

Used from outside: `adopting`, `cosigning`, `mirror`, `witness`.
"""
