"""Networks that look at pictures for a metric; each is loaded from a file and named in the result."""
