"""Commands: from an envelope that anybody may have sent to orders that the loop follows."""
