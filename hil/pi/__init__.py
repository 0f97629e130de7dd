"""A folder for sys.path: `spidev` and `RPi.GPIO` as the bench has them."""
