"""Any SQL database as a catalogue, by URL."""
