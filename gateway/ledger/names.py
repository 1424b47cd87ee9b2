"""Names that files bear while they are written."""

WRITING = ".tmp"
