"""Real faults, by the hundred, against a study of every stage and with worker processes: is anything lost?

    make soak                  # all scenarios, and a table of what was tried and what was lost
    make soak ONLY=kills       # one of them

Every scenario runs in folders of its own, against one reference run that nothing disturbed.
"""
