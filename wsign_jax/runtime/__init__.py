"""What a process sets up before it computes, and several processes as one run."""
