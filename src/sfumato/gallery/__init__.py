"""Pictures on disk: how they are named, written and described. Imports no torch."""
