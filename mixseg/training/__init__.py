"""From settings to a run: data, network, method, optimizer and trainer are composed here."""
