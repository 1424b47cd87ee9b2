"""A home copied, and put in place of what was lost.

backup         a backup of a home, running or not
restore        puts one in place of what was lost
restore_log    the log's part of that
restore_keys   and the keys'
differences    what a restored state does not have and the log tells of
ring_document  a home's key ring as one document
"""
