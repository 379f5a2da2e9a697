"""Our engine beside others, on the same rows: what a comparison needs, apart from the program that runs it."""
