"""Where a file comes from: its record, its signature, the log of a job, and the rules that a job keeps to."""
