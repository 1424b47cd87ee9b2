"""Proving policies over every request there can be, with Cedar's symbolic compiler and a solver.

    theorems         what is claimed of a layer: `<layer>/theorems.yaml`
    solver           the programs: `cedar` with its feature `analyze`, and cvc5; one question and its answer
    questions        what a theorem, and what every policy, asks the solver
    counterexamples  an answer that refutes, as a case that people read and as a row of a decision table
    proving          all questions of a set of policies, side by side
    never            what is asked about one department and one dataset: that no use there can be is permitted
    ever             whether a dataset can ever be obtained: an example, or a proof
    kept             what they came to, kept by a digest of what they rest on

A theorem says of whatever is permitted that something holds of it. Cedar's rule is that one forbid outweighs every
permit, so entries and orders, which are built into forbids, can only take away; and a grant is built into a permit. So
what holds of the static policies together with one permit of everything holds whatever grants, orders and entries
stand. What only the built policies hold is claimed of those of `offline.probing.built_of_every_shape`, in the names of
its sample.

Used from outside: `ever`, `kept`, `proving`, `questions`, `solver`, `theorems`.
"""
