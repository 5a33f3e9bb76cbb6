"""The server: one application of pages and API, safe by default."""
