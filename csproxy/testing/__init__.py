"""Public helpers for tests of programs that embed csproxy: memory network, simulated clock, sites."""
