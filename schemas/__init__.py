"""The vocabulary: record layouts, messages, instruments and settings. Imports nothing of operators or flows."""
