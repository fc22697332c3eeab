"""Real servers on loopback for tests: started when first asked for, killed when the test process ends."""
