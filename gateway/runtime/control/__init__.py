"""The control process: the control API, the barrier's hub, and what they need of a home.

    control     the control plane, wired
    provider    the OpenID provider that officers sign in at
    console     the pages for officers beside the API, unless the settings leave them out
    readiness   whether uses can be served
    scraping    who may scrape figures
    examining   examining a candidate in a process of its own
    trying      an interface's entry tried with a sample

Used from outside: `control`, `provider`, `scraping`.
"""
