"""The service: configuration, control loop, workers, recording, command line."""
