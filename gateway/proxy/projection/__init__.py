"""The answer, reduced to the granted items (INVARIANT: GRANTED-ITEMS-ONLY).

    answers    what reduces an interface's answers, made of its entry: document within document
    places     where each item stands below a row, as a tree of what may pass and what may not
    masks      what is left of an item's value when a policy masks it
    envelope   what an answer says beside its rows: declared members, codes and their meanings
    document   JSON: gathered whole, reduced, written anew; `typed` is its fast way, `levels` what stands beside the
               rows, `parts` a long array in parts, `values` JSON values as they were written
    xml        XML: as it comes, or gathered
    streams    NDJSON and CSV: row by row in constant memory
    projected  what reducing an answer comes to
    codings    content codings undone under a bound; character sets
    shapes     the shape of an answer that an entry does not know, by names alone
    matching   verify mode: match or no match, never a value
    meanings   what a text means to a person who compares it

What passes of a JSON answer:

- Of each row, the granted items at the places the interface's entry names, in the exact text the supplier wrote
  (numbers keep their digits). An item that stands below another (`/address` and `/address/street`) is taken out of it
  where it is not granted.
- Of the envelope, what the entry declares with a type and a bound, and the top-level members it names, of those only
  numbers, booleans, null and plain strings of at most `ENVELOPE_TEXT_BYTES`: an object, a long text, a trace or a
  person's number there would be data around the filter. The registered meaning of the answer's code stands in for it.
- A document within a text (`~json`, `~xml`, `~base64` on the way to the rows), reduced, in the form it stood in.
- Nothing else: unknown members, repeated members but the last, and anything beside the rows is left out.

What is not strict JSON (NaN, leading zeros, lone surrogates, octets that are not UTF-8, trailing text), is nested
deeper than the parser goes, or has no rows where the entry says, is not filterable and does not leave.
"""
