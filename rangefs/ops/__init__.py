"""For operators: figures, the control socket, notifications, logs."""
