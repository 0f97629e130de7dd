"""Training of the forecasting networks: development machine only, needs the extra [train]."""
