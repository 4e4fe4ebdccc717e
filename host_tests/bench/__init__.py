"""`make bench`: the same small app on Tally's httpd, on microdot and on bare asyncio, measured in one run."""
