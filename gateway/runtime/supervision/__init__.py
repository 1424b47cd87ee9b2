"""One process starts the others, watches them and ends them, and none outlives it.

    supervisor      starts, watches, restarts and drains the children
    child           one of them, and its restarts
    watch_dog       which workers must be ended, and why
    heartbeat       a worker's signs of life, and where its loop stands
    parentage       a child ends with its parent
    first_process   the first process of a container reaps

Used from outside: `first_process`, `heartbeat`, `parentage`, `supervisor`.
"""
