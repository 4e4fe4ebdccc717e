"""Tests of Tally on the host: pure logic on CPython, the product on the virtual board, journeys in a browser."""
