"""The object graph and the processes: files are loaded, workers built and supervised here."""
