"""The directory in the state, and its files: sheets, JSON, DCAT, OpenAPI.

    writes       writes of the directory
    rows         the directory as it stands, and the tag of its states
    effects      what a release would change, grant by grant
    validation   whether an entry is one, by article
    file         directory files, read whole or refused whole
    columns      the words of directory spreadsheets
    workbook     .xlsx read as a person sees it, and written as texts
    sheets       which sheet holds what, and what in it is not known
    spreadsheet  entries, departments and purposes from sheets
    handing_over what a supplier has, given to another
    reorganising departments merge, split, end and hand over
    importing    a directory file in one transaction
    exporting    the directory as a file that reads back to the same
    dcat         the directory as DCAT 3
    openapi      an interface proposed from a supplier's document

Used from outside: `dcat`, `effects`, `exporting`, `file`, `importing`, `openapi`, `reorganising`, `rows`, `validation`.
"""
