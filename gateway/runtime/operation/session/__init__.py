"""The command line speaks to the control API, in this home or elsewhere.

api             the control API for the command line
officer_tokens  tokens of officers, signed on the spot
remote          what shows a session to a gateway elsewhere
sessions        where a session is kept on a user's machine
signing_in      how a person at a command line comes by a session
loopback        the listener that a browser comes back to
"""
