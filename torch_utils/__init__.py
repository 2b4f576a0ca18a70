"""The ground with torch, but without faces or voices."""
