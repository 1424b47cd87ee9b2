"""Where supply departments' services stand, and what they are called with: hosts, certificates and credentials.

    hosts         hosts: claimed, proved, confirmed, withdrawn
    certificates  certificates: stored, listed, withdrawn
    credentials   what suppliers are shown of who calls: stored, listed, withdrawn
    trials        an interface's entry tried with an answer, before callers do
    tried         what such a trial tells, and what makes it
    checks        what is asked of the network before a host is believed
    probing       how often a department may have it asked

Used from outside: `certificates`, `checks`, `credentials`, `hosts`, `trials`, `tried`.
"""
