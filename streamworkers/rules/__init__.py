"""The rule language: conditions on the bars of one symbol, as JSON and as text, checked, and evaluated over arrays."""
