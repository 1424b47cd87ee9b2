"""The directory: departments, systems, officers, purposes, entries and interfaces (Decree 809 Art. 12 to 17).

    routes     departments, purposes, entries and interfaces
    file       the directory as a file, out and in again
    importing  a directory file in one transaction, or refused whole
    reorganising  departments merge, split, end and hand over
    systems    who calls, and who acts

Used from outside: `file`, `importing`, `reorganising`, `routes`, `systems`.
"""
