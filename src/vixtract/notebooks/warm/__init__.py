"""Running a notebook in a kernel forked from a process that has the libraries in memory."""
