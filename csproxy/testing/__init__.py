"""Public helpers for tests of programs that embed csproxy: memory network, simulated clock, sites."""

from csproxy.testing.fault_proxy import FaultProxy
from csproxy.testing.memory import MemoryListener, MemoryNetwork
from csproxy.testing.simulation import DeadlockError, SimulatedLoop, Simulation, TimeLimitError, run_simulated

__all__ = [
    "DeadlockError",
    "FaultProxy",
    "MemoryListener",
    "MemoryNetwork",
    "SimulatedLoop",
    "Simulation",
    "TimeLimitError",
    "run_simulated",
]
