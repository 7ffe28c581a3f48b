"""The settings that a process makes before it computes, and several processes as one run."""
