"""Host-side commands of Tally: one module each, `main(argv=None) -> int`, run as `python -m scripts.NAME`."""
