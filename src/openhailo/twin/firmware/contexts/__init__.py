"""The context switch: stored applications, the state machine and the executor of action lists."""
