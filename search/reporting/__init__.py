"""What a person reads: terminal, tables, cards and pages."""
