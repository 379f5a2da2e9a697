"""The modules of PyTorch that the word-level models build; their specs, one folder up, import no torch."""
