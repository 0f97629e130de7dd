"""One device or protocol each: encode, decode, talk. No policy."""
