"""Other servers' configurations as a berth.yaml. Nothing of theirs is executed. Pure."""
