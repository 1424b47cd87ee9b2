"""XML answers, reduced to the granted items as they come.

    tree       which elements and attributes are known
    tags       a start tag, taken apart
    rows       one row: which ranges of it leave
    templates  rows that look as rows before them did, many at a time
    reducer    the whole answer

What leaves:

- The XML declaration, and the elements that the rows stand in, without what stands beside them.
- Of each row its tags, the elements on the way to granted items, and those whole, with the elements and attributes in
  them; but without attributes of the item's own tag, save `xml:` and `xsi:` ones, and without what is in it and is an
  item outside the grant.
- Attributes that are granted items, and what the entry declares of the envelope.
- Declarations of the namespaces that the entry's places name, and of those that a known element is itself in. An item
  that needs another one is refused: without it, it would not be well formed.

Comments, processing instructions and text beside items do not leave; within an item the first two are refused, since
readers differ in what they make of the text around them. A document type is refused, so there are no entities. So is
what has no rows where the entry places them, or rows in which nothing is known (INVARIANT: KNOWN-SHAPE).

Memory is flat in the answer's length: one row or one text of the envelope is held, and what leaves before the first
row (INVARIANT: BOUNDED).
"""
