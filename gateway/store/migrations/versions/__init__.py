"""One file a revision; numbers rise, and a released file is never edited."""
