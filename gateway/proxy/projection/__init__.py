"""The answer, reduced to the granted items (INVARIANT: GRANTED-ITEMS-ONLY).

    places    where each item stands below a row, as a tree of what may pass and what may not
    masks     what is left of an item's value when a policy masks it
    document  JSON: gathered whole, reduced, written anew
    streams   NDJSON and CSV: row by row in constant memory
    codings   content codings undone under a bound; character sets
    matching  verify mode: match or no match, never a value
    meanings  what a text means to a person who compares it

What passes of a JSON answer:

- Of each row, the granted items at the places the interface's entry names, in the exact text the supplier wrote
  (numbers keep their digits). An item that stands below another (`/address` and `/address/street`) is taken out of it
  where it is not granted.
- Of the envelope, the top-level members the entry names, and of those only numbers, booleans, null and strings of at
  most `ENVELOPE_TEXT_BYTES`: an object or a long text there could carry data around the filter.
- Nothing else: unknown members, repeated members but the last, and anything beside the rows is left out.

What is not strict JSON (NaN, leading zeros, lone surrogates, octets that are not UTF-8, trailing text), is nested
deeper than the parser goes, or has no rows where the entry says, is not filterable and does not leave.
"""
