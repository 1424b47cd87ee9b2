"""The law as Cedar: static layers read whole, and what policies can see.

    layers       the law's files, one folder a layer
    scopes       whose layer a layer is, and what of it follows
    positions    where in a Cedar file a fault lies
    documents    the YAML beside policies, and where in it a fault lies
    constants    values that a layer's policies share
    articles     what each article asks, and what answers it
    words        closed lists of words, as the schema's enumerated types
    world        directory, grants and officers as entities; a call as a request
    attributes   which attributes policies look at
    settled      what the settings say that policies read
    calendar     what day it is, for policies
    drawn        what was drawn lately, and which of it policies read
    masks        what a policy lets out only in part
    time_limits  when a verdict can change by time alone

Used from outside: `articles`, `calendar`, `constants`, `documents`, `drawn`, `layers`, `masks`, `positions`, `scopes`,
`settled`, `time_limits`, `words`, `world`.
"""
