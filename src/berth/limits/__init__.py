"""What the kernel lets this process have: CPUs and memory, cgroups and all. Imports no torch."""
