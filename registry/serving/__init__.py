"""A run as a service: micro-batching, limits before work, an HTTP interface and a page to try it."""
