"""Reading sources, cleaning, splitting, checks and the token cache. Knows rows and columns, no tasks."""
