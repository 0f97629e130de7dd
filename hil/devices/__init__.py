"""The simulated field devices, written from the vendors' documents, not from drivers/."""
