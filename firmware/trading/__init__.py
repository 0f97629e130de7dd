"""Trading with neighbours: who we are, what we believe, what we keep."""
