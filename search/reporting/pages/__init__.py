"""Self-contained HTML pages with figures."""
