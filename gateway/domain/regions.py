"""Administrative divisions (GB/T 2260): which region lies in which, read from the codes."""

NATION = "000000"


def region_chain(code: str) -> list[str]:
    """A division code and the codes of what it lies in, narrowest first: 442000, 440000, 000000.

    A code that is not six digits lies in the nation and in nothing else.
    """
    chain = [code]
    if len(code) == 6 and code.isascii() and code.isdigit():
        for kept in (4, 2):
            wider = code[:kept] + "0" * (6 - kept)
            if wider not in (chain[-1], NATION):
                chain.append(wider)
    if code != NATION:
        chain.append(NATION)
    return chain
