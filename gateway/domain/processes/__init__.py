"""The processes of the law, each a table of states and acts, as a grant's life is one (`gateway.domain.lifecycle`).

    table             what a table is made of: states, steps, and who owes what
    cases             one case of a process: which step fits, what it leads to, which clock runs
    statements        what steps have to state that several tables share
    applications      from a need to a grant (Decree 809 Art. 20 to 22; Zhongshan Art. 22)
    verifications     doubts about data, and their answer (Decree 809 Art. 26; Zhongshan Art. 23)
    disputes          consultation, coordination, decision (Decree 809 Art. 28; Zhongshan Art. 37)
    rectifications    a use beyond scope or purpose, set right or ended (Decree 809 Art. 27 ¶2)
    disposals         what was drawn, disposed of as the supplier requires (Decree 809 Art. 27 ¶1)
    incidents         measures, report, examination (Decree 809 Art. 34, 35)
    returns           data returned to a lower level (Decree 809 Art. 24)
    complaints        of anyone: intake, hand-over, reply (Decree 809 Art. 37)
    corrections       orders to correct (Decree 809 Art. 39, 40; Zhongshan Art. 38)
    directory_changes updates of the directory and their examination (Decree 809 Art. 17; Zhongshan Art. 11)
    register          every table by its name

Who may take a step is Cedar's answer, never a table's. How long something may take is a layer's (`clocks.yaml`).

Used from outside: `applications`, `cases`, `complaints`, `corrections`, `directory_changes`, `disposals`, `disputes`,
`incidents`, `rectifications`, `register`, `returns`, `statements`, `table`, `verifications`.
"""
