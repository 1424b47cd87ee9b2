"""Processes: routes made from the tables of `gateway.domain.processes`, and what single steps do besides.

    routes         the routes of every process: open, list, show, one a step, comments, attachments, the table
    steps          one step while it is taken: found, decided, fitted, written, recorded
    bodies         what a step has to state, as a request's body
    attachments    which files a case takes, told by their first bytes
    applications   what the steps of an application do besides: proposal, grant
    verifications  what a verification's do: the record that is doubted
    disputes       what a dispute's do: the hold on the grant's records
    owed           what a rectification's and a disposal's do: stop lifted, grant ended, destruction on record
    supervision    what those of incidents, orders to correct and returns of data do
    complaints     what a complaint's do; its intake without an account
    directory_changes  what those of a change of the directory do: the version that is examined
    plain          steps that do little besides
    duties         what waits for an officer, over all processes
    effects        those of every process by its name

Used from outside: `complaints`, `duties`, `routes`.
"""
