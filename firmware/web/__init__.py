"""The local web page: a small HTTP server, the day's series, and the page itself in `assets`."""
