"""A kit that kills real training processes where it hurts, and compares what comes out with a run never killed."""
