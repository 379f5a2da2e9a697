"""A package as somebody else would write it: it uses only what finetune-registry publishes."""
